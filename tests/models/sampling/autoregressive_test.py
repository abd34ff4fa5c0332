"""Sampling: caches, keys, prefixes, legal ids."""

import dataclasses
import re

from flax.core import meta
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.fakes import tiny_transformer
from tests.fakes import token_stage
from v2meow_jax import tokens
from v2meow_jax.models.blocks import layer_stacking
from v2meow_jax.models.sampling import autoregressive
from v2meow_jax.models.sampling import options

pytestmark = pytest.mark.slow

make, random_batch = tiny_transformer.make, tiny_transformer.random_batch
MIXED, TOKENS = tiny_transformer.MIXED, tiny_transformer.TOKENS
BOTH_KINDS = tiny_transformer.BOTH_KINDS

GREEDY = options.Sampling(temperature=0.0)


@pytest.fixture(autouse=True, scope='module')
def short_caches():
  """Caches from 16 on: every path within 30 ids."""
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(autoregressive, '_FIRST_CACHE_LENGTH', 16)
    autoregressive.sample.clear_cache()
    yield
  autoregressive.sample.clear_cache()


def inputs_of(model, batch_size=2):
  spec = model.spec
  batch = random_batch(model, batch_size)
  if model.network.num_encoder_layers:
    return {k: v for k, v in batch.items() if k.startswith('encoder')}
  start = model.decoder_length - model.target_length
  ids = batch['decoder_target_tokens'][:, :start]
  return {f'encoder_inputs_{spec.inputs[0].name}': ids}


def forced(model, params, inputs, ids):
  """Logits of the target given `ids`, without any cache."""
  sequence = ids
  batch = inputs
  if not model.network.num_encoder_layers:
    prompt = inputs[f'encoder_inputs_{model.spec.inputs[0].name}']
    sequence, batch = np.concatenate([prompt, ids], 1), {}
  read = np.pad(sequence, ((0, 0), (1, 0)))[:, :-1]
  batch = model.example_batch(len(ids)) | batch
  batch['decoder_input_tokens'] = read
  logits = tiny_transformer.logits(model, params, batch)
  masks = token_stage.level_masks(model.spec)
  masks = np.tile(masks, (ids.shape[1] // len(masks), 1))
  return np.where(masks, logits, -np.inf)


def sample(model, params, inputs, *, batch_size=2, sampling=None, **kwargs):
  rngs = kwargs.pop('rngs', jax.random.split(jax.random.key(5), batch_size))
  return np.asarray(
    model.sample_batch(
      params, inputs, rngs, sampling or options.Sampling(), **kwargs
    )
  )


def sample_and_logits(model, params, inputs, monkeypatch, **kwargs):
  """What was drawn, and float32[2, drawn, 24] from which, in order."""
  seen = {}

  def draw(logits, rngs, position, sampling):
    jax.debug.callback(
      lambda p, x: seen.__setitem__(int(p), np.asarray(x)), position, logits
    )
    return original(logits, rngs, position, sampling)

  original = autoregressive.draw
  with monkeypatch.context() as patch:
    patch.setattr(autoregressive, 'draw', draw)
    autoregressive.sample.clear_cache()
    ids = sample(model, params, inputs, **kwargs)
    jax.effects_barrier()
  autoregressive.sample.clear_cache()
  assert sorted(seen) == list(range(30 - len(seen), 30))
  return ids, np.stack([seen[p] for p in sorted(seen)], 1)


def legal(logits):
  """Of the ids that may stand at each position: float32[2, 30, 24]."""
  return logits[np.isfinite(logits)].reshape(2, 30, 24)


@BOTH_KINDS
def test_temperature_zero_is_the_argmax_of_uncached_logits(spec, config):
  model, params = make(spec, config)
  inputs = inputs_of(model)
  ids = sample(model, params, inputs, sampling=GREEDY)
  np.testing.assert_array_equal(
    ids, forced(model, params, inputs, ids).argmax(-1)
  )


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
  ids = sample(
    model,
    params,
    inputs_of(model),
    sampling=options.Sampling(temperature=temperature),
  )
  codes = tokens.IdSpace(MIXED).ids_to_codes(ids, MIXED.target)
  assert codes.shape == (2, 10, 3)
  if temperature > 1:
    assert len(np.unique(codes)) > 12


def test_draws_follow_the_softmax_at_the_temperature():
  logits = jnp.tile(jnp.array([0.0, 1.0, 2.0]), (20_000, 1))
  rngs = jax.random.split(jax.random.key(0), 20_000)
  codes = autoregressive.draw(
    logits, rngs, jnp.int32(3), options.Sampling(temperature=0.5)
  )
  seen = np.bincount(codes, minlength=3) / 20_000
  wanted = np.exp([0.0, 2.0, 4.0]) / np.exp([0.0, 2.0, 4.0]).sum()
  np.testing.assert_allclose(seen, wanted, atol=0.01)


def test_top_k_draws_only_among_the_k_most_likely():
  logits = jnp.tile(jnp.array([0.0, 1.0, 2.0, 0.5]), (500, 1))
  rngs = jax.random.split(jax.random.key(0), 500)
  codes = autoregressive.draw(
    logits, rngs, jnp.int32(0), options.Sampling(temperature=10.0, top_k=2)
  )
  assert set(np.asarray(codes).tolist()) == {1, 2}


def test_stacked_layers_are_taken_apart_to_sample():
  model, params = make()
  scanned = token_stage.make(
    model.spec, dataclasses.replace(model.network, scan_layers=True)
  )
  inputs = inputs_of(model)
  np.testing.assert_array_equal(
    sample(scanned, layer_stacking.stack(params), inputs),
    sample(model, params, inputs),
  )


@pytest.mark.parametrize('batch_size', [1, 2])
def test_no_step_copies_the_cache_or_a_weight(batch_size):
  model = make(TOKENS, tiny_transformer.DECODER_ONLY)[0]
  shapes = jax.eval_shape(
    model.module.init, jax.random.key(0), model.example_batch(1)
  )
  lowered = autoregressive.sample.lower(
    model.module,
    meta.unbox(shapes)['params'],
    None,
    jnp.zeros((batch_size, 10), jnp.int32),
    jnp.zeros((batch_size, 0), jnp.int32),
    jax.random.split(jax.random.key(0), batch_size),
    options.Sampling(),
    length=30,
  )
  hlo = lowered.compile().as_text()
  # Two layers, whose matrices begin with 32 * 32 numbers.
  for length in (16, 32, 40):
    cache = f'f32[{batch_size * 4},{length},8]'
    loops = loops_that_carry(hlo, cache)
    assert loops, f'nothing carries {cache}'
    for loop in loops:
      copied = re.findall(r'= f32\[([\d,]+)\]\S* copy(?:-start)?\(', loop)
      sizes = [np.prod([int(n) for n in dims.split(',')]) for dims in copied]
      # No more than a row of scores.
      assert max(sizes, default=0) <= batch_size * 4 * length, copied


def test_the_logits_of_one_level_are_cut_out_once():
  one_level = dataclasses.replace(TOKENS.target, num_codebooks=1)
  spec = dataclasses.replace(TOKENS, target=one_level)
  model = make(spec, tiny_transformer.DECODER_ONLY)[0]
  shapes = jax.eval_shape(
    model.module.init, jax.random.key(0), model.example_batch(1)
  )
  lowered = autoregressive.sample.lower(
    model.module,
    meta.unbox(shapes)['params'],
    None,
    jnp.zeros((1, 10), jnp.int32),
    jnp.zeros((1, 0), jnp.int32),
    jax.random.split(jax.random.key(0), 1),
    options.Sampling(),
    length=10,
  )
  loops = loops_that_carry(lowered.compile().as_text(), 'f32[4,20,8]')
  assert loops
  for loop in loops:
    # Rows of the 24 codes, of width 32, are made outside and only read.
    made = re.findall(r'= f32\[24,32\]\S* ([\w-]+)', loop)
    assert set(made) <= {'parameter', 'get-tuple-element'}


def loops_that_carry(hlo, shape):
  """Text of the body of each such loop, with all that it calls."""
  computations = {
    found[1]: found[0]
    for found in re.finditer(
      r'^(?:ENTRY )?%?([\w.-]+) \(.*?^\}', hlo, re.M | re.S
    )
  }
  loops = []
  for carried, body in re.findall(
    r'= (\(.*?\)) while\(.*?body=%?([\w.-]+)', hlo
  ):
    if shape not in carried:
      continue
    reached, todo = set(), [body]
    while todo:
      name = todo.pop()
      if name not in reached:
        reached.add(name)
        called = r'(?:calls|to_apply|body|condition)=%?([\w.-]+)'
        todo += re.findall(called, computations[name])
    loops.append('\n'.join(computations[name] for name in reached))
  return loops


def test_what_does_not_fit_is_refused_by_name():
  model, params = make()
  inputs = inputs_of(model)
  with pytest.raises(ValueError, match='multiple of 3'):
    sample(model, params, inputs, prefix=np.zeros((2, 4), int))
  with pytest.raises(ValueError, match='num_frames is 11'):
    sample(model, params, inputs, num_frames=11)
  with pytest.raises(ValueError, match='top_k is 25'):
    sample(model, params, inputs, sampling=options.Sampling(top_k=25))
  with pytest.raises(ValueError, match=r"'encoder_inputs_picture'.*\[3, 4, 6"):
    sample(model, params, inputs, batch_size=3)


# These forget what was compiled, so they are the last.


@BOTH_KINDS
@pytest.mark.parametrize('prefix_frames', [0, 1])
def test_cached_logits_equal_uncached_ones(
  spec, config, prefix_frames, monkeypatch
):
  model, params = make(spec, config)
  inputs = inputs_of(model)
  targets = random_batch(model)['decoder_target_tokens'][:, -30:]
  start = 3 * prefix_frames
  ids, seen = sample_and_logits(
    model, params, inputs, monkeypatch, prefix=targets[:, :start]
  )
  wanted = legal(forced(model, params, inputs, ids))[:, start:]
  np.testing.assert_allclose(seen, wanted, atol=2e-5, rtol=1e-5)


def test_the_growth_of_the_cache_does_not_change_what_is_drawn(monkeypatch):
  model, params = make()
  inputs = inputs_of(model)
  before = sample(model, params, inputs)
  monkeypatch.setattr(autoregressive, '_FIRST_CACHE_LENGTH', 64)
  autoregressive.sample.clear_cache()
  after = sample(model, params, inputs)
  autoregressive.sample.clear_cache()
  np.testing.assert_array_equal(before, after)


def test_bfloat16_differs_with_a_cache_no_more_than_from_float32(monkeypatch):
  model, params = make()
  config = dataclasses.replace(model.network, dtype='bfloat16')
  half = token_stage.make(model.spec, config)
  inputs = inputs_of(model)
  ids, seen = sample_and_logits(half, params, inputs, monkeypatch)
  wanted = legal(forced(half, params, inputs, ids))
  exact = legal(forced(model, params, inputs, ids))
  rounding = np.sqrt(np.mean((wanted - exact) ** 2))
  assert 0 < rounding < 0.1 * exact.std()
  assert np.sqrt(np.mean((seen - wanted) ** 2)) < 2 * rounding
