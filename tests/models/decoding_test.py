"""Sampling: caches, keys, prefixes, legal ids."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.models import transformer_test
from v2meow_jax import tokens
from v2meow_jax.models import decoding

make, random_batch = transformer_test.make, transformer_test.random_batch
MIXED = transformer_test.MIXED
BOTH_KINDS = transformer_test.BOTH_KINDS


@pytest.fixture(autouse=True, scope='module')
def short_blocks():
  """Blocks of 7 and caches from 16 on: every path within 30 ids."""
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(decoding, 'BLOCK_STEPS', 7)
    patch.setattr(decoding, '_FIRST_CACHE_LENGTH', 16)
    decoding.sample.clear_cache()
    yield
  decoding.sample.clear_cache()


def inputs_of(model, batch_size=2):
  spec = model.spec
  batch = random_batch(model, batch_size)
  if model.config.num_encoder_layers:
    return {k: v for k, v in batch.items() if k.startswith('encoder')}
  start = model.decoder_length - model.target_length
  ids = batch['decoder_target_tokens'][:, :start]
  return {f'encoder_inputs_{spec.inputs[0].name}': ids}


def forced(model, params, inputs, ids):
  """Logits of the target given `ids`, without any cache."""
  sequence = ids
  batch = inputs
  if not model.config.num_encoder_layers:
    prompt = inputs[f'encoder_inputs_{model.spec.inputs[0].name}']
    sequence, batch = np.concatenate([prompt, ids], 1), {}
  read = np.pad(sequence, ((0, 0), (1, 0)))[:, :-1]
  batch = model.example_batch(len(ids)) | batch
  batch['decoder_input_tokens'] = read
  logits = transformer_test.logits(model, params, batch)
  masks = tokens.level_masks(model.spec, model.spec.target)
  masks = np.tile(masks, (ids.shape[1] // len(masks), 1))
  return np.where(masks, logits, -np.inf)


def sample(model, params, inputs, *, batch_size=2, temperature=1.0, **kwargs):
  rngs = kwargs.pop('rngs', jax.random.split(jax.random.key(5), batch_size))
  return np.asarray(
    model.sample_batch(params, inputs, rngs, temperature=temperature, **kwargs)
  )


@BOTH_KINDS
def test_temperature_zero_is_the_argmax_of_uncached_logits(spec, config):
  model, params = make(spec, config)
  inputs = inputs_of(model)
  ids = sample(model, params, inputs, temperature=0.0)
  np.testing.assert_array_equal(
    ids, forced(model, params, inputs, ids).argmax(-1)
  )


@BOTH_KINDS
@pytest.mark.parametrize('prefix_frames', [0, 1])
def test_cached_logits_equal_uncached_ones(
  spec, config, prefix_frames, monkeypatch
):
  model, params = make(spec, config)
  inputs = inputs_of(model)
  seen = {}

  def draw(logits, rngs, position, temperature, top_k):
    jax.debug.callback(
      lambda p, x: seen.__setitem__(int(p), np.asarray(x)), position, logits
    )
    return original(logits, rngs, position, temperature, top_k)

  original = decoding.draw
  monkeypatch.setattr(decoding, 'draw', draw)
  decoding.sample.clear_cache()
  targets = random_batch(model)['decoder_target_tokens'][:, -30:]
  start = 3 * prefix_frames
  ids = sample(model, params, inputs, prefix=targets[:, :start])
  jax.effects_barrier()
  decoding.sample.clear_cache()
  assert sorted(seen) == list(range(start, 30))
  wanted = forced(model, params, inputs, ids)
  for position, logits in seen.items():
    row = wanted[:, position]
    legal = row[np.isfinite(row)].reshape(2, -1)
    np.testing.assert_allclose(logits, legal, atol=2e-5, rtol=1e-5)


def test_a_row_does_not_depend_on_its_batch():
  model, params = make()
  inputs = inputs_of(model, 4)
  rngs = jax.random.split(jax.random.key(5), 4)
  together = sample(model, params, inputs, rngs=rngs)
  alone = [
    sample(
      model,
      params,
      {k: v[i : i + 1] for k, v in inputs.items()},
      rngs=rngs[i : i + 1],
    )[0]
    for i in range(4)
  ]
  np.testing.assert_array_equal(together, alone)
  order = np.array([2, 0, 3, 1])
  moved = {k: v[order] for k, v in inputs.items()}
  permuted = sample(model, params, moved, rngs=rngs[order])
  np.testing.assert_array_equal(permuted, together[order])


def test_the_length_of_a_block_does_not_change_what_is_drawn(monkeypatch):
  model, params = make()
  inputs = inputs_of(model)
  before = sample(model, params, inputs)
  monkeypatch.setattr(decoding, 'BLOCK_STEPS', 50)
  decoding.sample.clear_cache()
  after = sample(model, params, inputs)
  decoding.sample.clear_cache()
  np.testing.assert_array_equal(before, after)


@BOTH_KINDS
def test_a_prefix_is_kept_and_continued_as_if_it_had_been_drawn(spec, config):
  model, params = make(spec, config)
  inputs = inputs_of(model)
  whole = sample(model, params, inputs)
  again = sample(model, params, inputs, prefix=whole[:, :12])
  np.testing.assert_array_equal(again, whole)
  other = (whole[:, :12] // 24) * 24 + 2
  kept = sample(model, params, inputs, prefix=other)
  np.testing.assert_array_equal(kept[:, :12], other)


def test_stopping_early_gives_the_beginning_of_the_whole():
  model, params = make()
  inputs = inputs_of(model)
  whole = sample(model, params, inputs)
  short = sample(model, params, inputs, num_frames=4)
  np.testing.assert_array_equal(short, whole[:, :12])


@pytest.mark.parametrize('temperature', [0.0, 1.0, 100.0])
def test_every_id_stands_at_its_own_level(temperature):
  model, params = make()
  ids = sample(model, params, inputs_of(model), temperature=temperature)
  codes = tokens.ids_to_codes(ids, MIXED, MIXED.target)
  assert codes.shape == (2, 10, 3)
  if temperature > 1:
    assert len(np.unique(codes)) > 12


def test_draws_follow_the_softmax_at_the_temperature():
  logits = jnp.tile(jnp.array([0.0, 1.0, 2.0]), (20_000, 1))
  rngs = jax.random.split(jax.random.key(0), 20_000)
  codes = decoding.draw(logits, rngs, jnp.int32(3), jnp.float32(0.5), None)
  seen = np.bincount(codes, minlength=3) / 20_000
  wanted = np.exp([0.0, 2.0, 4.0]) / np.exp([0.0, 2.0, 4.0]).sum()
  np.testing.assert_allclose(seen, wanted, atol=0.01)


def test_top_k_draws_only_among_the_k_most_likely():
  logits = jnp.tile(jnp.array([0.0, 1.0, 2.0, 0.5]), (500, 1))
  rngs = jax.random.split(jax.random.key(0), 500)
  codes = decoding.draw(logits, rngs, jnp.int32(0), jnp.float32(10.0), 2)
  assert set(np.asarray(codes).tolist()) == {1, 2}


def test_what_does_not_fit_is_refused_by_name():
  model, params = make()
  inputs = inputs_of(model)
  with pytest.raises(ValueError, match='multiple of 3'):
    sample(model, params, inputs, prefix=np.zeros((2, 4), int))
  with pytest.raises(ValueError, match='num_frames is 11'):
    sample(model, params, inputs, num_frames=11)
  with pytest.raises(ValueError, match='top_k is 25'):
    sample(model, params, inputs, top_k=25)
  with pytest.raises(ValueError, match=r"'encoder_inputs_picture'.*\[3, 4, 6"):
    sample(model, params, inputs, batch_size=3)
