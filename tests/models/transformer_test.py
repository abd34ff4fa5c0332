"""The network: T5 parity, causality, axes, biases."""

import dataclasses
import functools

from flax import linen as nn
from flax.core import meta
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from v2meow_jax import specs
from v2meow_jax.models import position_bias
from v2meow_jax.models import sequence_model
from v2meow_jax.models import transformer

pytestmark = pytest.mark.slow

SIZES = transformer.TransformerConfig(
  emb_dim=32,
  num_heads=4,
  head_dim=8,
  mlp_dim=48,
  num_encoder_layers=2,
  num_decoder_layers=2,
)
EVERYTHING = dataclasses.replace(
  SIZES, time_bias=True, level_embedding=True, dropout_rate=0.1
)
PICTURE = specs.FeatureSpec(name='picture', dim=6, rate_hz=2.0)
STYLE = specs.FeatureSpec(name='style', dim=5, rate_hz=0.0)
MELODY = specs.TokenSpec(name='melody', codebook_size=16, rate_hz=5.0)
SOUND = specs.TokenSpec(
  name='sound', codebook_size=24, rate_hz=5.0, num_codebooks=3
)
MIXED = specs.StageSpec(
  name='mixed', inputs=(PICTURE, MELODY, STYLE), target=SOUND, crop_seconds=2
)
TOKENS = specs.StageSpec(
  name='tokens', inputs=(MELODY,), target=SOUND, crop_seconds=2
)


@functools.cache
def make(spec=MIXED, config=EVERYTHING):
  kind = (
    sequence_model.EncoderDecoderModel
    if config.num_encoder_layers
    else sequence_model.DecoderOnlyModel
  )
  model = kind(spec, config)
  variables = model.init(jax.random.key(0), model.example_batch(1))
  return model, meta.unbox(variables)['params']


@functools.cache
def _compiled_logits(model):
  return jax.jit(model.logits)


def logits(model, params, batch):
  """Of the target, given the true ids; compiled once for each model."""
  return np.asarray(_compiled_logits(model)(params, batch))


def random_batch(model, batch_size=2, seed=0):
  """Legal ids everywhere, and normal features."""
  rng = np.random.default_rng(seed)
  spec = model.spec

  def ids(stream):
    shape = (batch_size, stream.length(spec.crop_seconds))
    level = np.arange(shape[1]) % stream.num_codebooks
    codes = rng.integers(0, stream.codebook_size, shape)
    return spec.id_offset(stream) + level * stream.codebook_size + codes

  batch = model.example_inputs(batch_size)
  for s in spec.inputs:
    name = f'encoder_inputs_{s.name}'
    if isinstance(s, specs.TokenSpec):
      batch[name] = ids(s).astype(np.int32)
    else:
      batch[name] = rng.normal(size=batch[name].shape).astype(np.float32)
  targets = ids(spec.target).astype(np.int32)
  weights = np.ones(targets.shape, np.float32)
  if not model.config.num_encoder_layers:
    names = [f'encoder_inputs_{s.name}' for s in spec.token_inputs]
    prompt = np.concatenate([batch.pop(n) for n in names], 1)
    targets = np.concatenate([prompt, targets], 1)
    weights = np.pad(weights, ((0, 0), (prompt.shape[1], 0)))
  read = np.pad(targets, ((0, 0), (1, 0)))[:, :-1]
  return batch | {
    'decoder_input_tokens': read,
    'decoder_target_tokens': targets,
    'decoder_loss_weights': weights,
  }


DECODER_ONLY = dataclasses.replace(SIZES, num_encoder_layers=0)
BOTH_KINDS = pytest.mark.parametrize(
  ('spec', 'config'),
  [(MIXED, EVERYTHING), (TOKENS, DECODER_ONLY)],
  ids=['encoder_decoder', 'decoder_only'],
)


@BOTH_KINDS
def test_a_target_token_does_not_see_its_own_future(spec, config):
  model, params = make(spec, config)
  batch = random_batch(model)
  before = logits(model, params, batch)
  changed = 11
  read = batch['decoder_input_tokens'].copy()
  start = read.shape[1] - before.shape[1]
  read[:, start + changed :] = 3
  after = logits(model, params, batch | {'decoder_input_tokens': read})
  np.testing.assert_array_equal(before[:, :changed], after[:, :changed])
  assert not np.allclose(before[:, changed], after[:, changed])


@BOTH_KINDS
def test_every_parameter_names_its_axes(spec, config):
  model = make(spec, config)[0]
  shapes = jax.eval_shape(model.init, jax.random.key(0), model.example_batch(1))
  leaves = jax.tree_util.tree_leaves_with_path(nn.get_partition_spec(shapes))
  assert leaves
  for path, names in leaves:
    assert len(names) and None not in tuple(names), jax.tree_util.keystr(path)


def test_every_input_reaches_the_logits():
  model, params = make()
  batch = random_batch(model)
  before = logits(model, params, batch)
  for s in MIXED.inputs:
    name = f'encoder_inputs_{s.name}'
    changed = np.roll(batch[name], 1, axis=0)
    after = logits(model, params, batch | {name: changed})
    assert not np.allclose(before, after), name


def test_no_rng_means_no_dropout_and_an_rng_means_some():
  model, params = make()
  batch = random_batch(model)
  train_loss = jax.jit(model.train_loss)
  losses = [train_loss(params, {}, batch, None)[0] for _ in range(2)]
  assert losses[0] == losses[1]
  dropped = train_loss(params, {}, batch, jax.random.key(1))[0]
  assert dropped != losses[0]


def test_time_bias_without_an_encoder_is_refused():
  with pytest.raises(ValueError, match='time_bias'):
    dataclasses.replace(DECODER_ONLY, time_bias=True)


def test_a_matrix_of_diagonals_is_constant_along_them():
  diagonals = jnp.arange(7.0)[None]
  wanted = [[3 + key - query for key in range(4)] for query in range(4)]
  np.testing.assert_array_equal(position_bias.toeplitz(diagonals)[0], wanted)


def test_a_new_time_bias_prefers_the_keys_of_the_same_time():
  bias = position_bias.TimeBias(2, 32, 128, 25.0)
  times = (np.arange(50) + 0.5) / 25
  table = bias.init(jax.random.key(0), times, times)
  values = bias.apply(meta.unbox(table), times, times)
  np.testing.assert_array_equal(values.argmax(-1), [range(50)] * 2)
  # The first head reaches 0.01 s: 5 frames of 40 ms earlier is -20.
  assert values[0, 25, 20] == pytest.approx(-20.0)


def test_keys_of_the_whole_clip_share_one_bucket_whatever_the_time():
  bias = position_bias.TimeBias(2, 32, 128, 25.0)
  times = (np.arange(50) + 0.5) / 25
  keys = np.array([0.5, np.nan])
  table = meta.unbox(bias.init(jax.random.key(0), times, keys))
  table['params']['embedding'] = table['params']['embedding'].at[:, -1].set(7)
  values = np.asarray(bias.apply(table, times, keys))
  np.testing.assert_array_equal(values[:, :, 1], 7.0)
  assert np.all(values[:, :, 0] <= 0)
