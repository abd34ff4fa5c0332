"""The network: T5 parity, causality, axes, biases."""

import dataclasses

from flax import linen as nn
from flax.core import meta
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.fakes import tiny_transformer
from v2meow_jax.models import position_bias

pytestmark = pytest.mark.slow

SIZES, EVERYTHING = tiny_transformer.SIZES, tiny_transformer.EVERYTHING
MIXED, TOKENS = tiny_transformer.MIXED, tiny_transformer.TOKENS
PICTURE, MELODY = tiny_transformer.PICTURE, tiny_transformer.MELODY
STYLE, SOUND = tiny_transformer.STYLE, tiny_transformer.SOUND
DECODER_ONLY = tiny_transformer.DECODER_ONLY
BOTH_KINDS = tiny_transformer.BOTH_KINDS
make, logits = tiny_transformer.make, tiny_transformer.logits
random_batch = tiny_transformer.random_batch


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
  np.testing.assert_array_equal(position_bias.toeplitz(diagonals, 4)[0], wanted)


def test_a_new_time_bias_prefers_the_keys_of_the_same_time():
  bias = position_bias.TimeBias(2, 32, 128, 25.0)
  times = (np.arange(50) + 0.5) / 25
  table = bias.init(jax.random.key(0), times, times)
  values = bias.apply(meta.unbox(table), times, times).dense()
  np.testing.assert_array_equal(values.argmax(-1), [range(50)] * 2)
  # The first head reaches 0.01 s: 5 frames of 40 ms earlier is -20.
  assert values[0, 25, 20] == pytest.approx(-20.0)


def test_keys_of_the_whole_clip_share_one_bucket_whatever_the_time():
  bias = position_bias.TimeBias(2, 32, 128, 25.0)
  times = (np.arange(50) + 0.5) / 25
  keys = np.array([0.5, np.nan])
  table = meta.unbox(bias.init(jax.random.key(0), times, keys))
  table['params']['embedding'] = table['params']['embedding'].at[:, -1].set(7)
  values = np.asarray(bias.apply(table, times, keys).dense())
  np.testing.assert_array_equal(values[:, :, 1], 7.0)
  assert np.all(values[:, :, 0] <= 0)
