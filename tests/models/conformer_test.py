"""The ParallelConformer: where inputs stand, its convolution, and bad sizes."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.fakes import parallel_stage
from v2meow_jax import specs
from v2meow_jax.models import conformer

pytestmark = pytest.mark.slow


def test_a_frame_takes_the_inputs_of_its_time():
  params, batch = parallel_stage.params(), parallel_stage.batch(2)
  module = parallel_stage.SIZES.module(parallel_stage.STAGE)
  condition = jax.jit(functools.partial(module.apply, method='condition'))
  total = condition({'params': params}, batch)
  melody = np.asarray(params['token_embedding'])[batch['encoder_inputs_melody']]
  style = batch['encoder_inputs_style']
  style = style / np.sqrt((style**2).mean(-1, keepdims=True) + 1e-8)
  adaptor = params['adaptors_style']
  style = style @ np.asarray(adaptor['kernel']) + np.asarray(adaptor['bias'])
  # Two frames of sound, at 10 Hz, for each of melody, at 5 Hz.
  np.testing.assert_allclose(
    total, np.repeat(melody, 2, 1) + style, rtol=1e-5, atol=1e-5
  )


def test_what_is_hidden_adds_nothing():
  params, batch = parallel_stage.params(), parallel_stage.batch(2)
  module = parallel_stage.SIZES.module(parallel_stage.STAGE)
  embed = functools.partial(module.apply, {'params': params}, method='_embed')
  ids = batch['decoder_target_tokens'].copy()
  table = np.asarray(params['token_embedding'])
  ids[:, 30:33] = specs.MASK_ID  # Frame 10, all of it.
  ids[:, 35] = specs.MASK_ID  # The last level of frame 11.
  found = np.asarray(embed(ids, 20, 3))
  np.testing.assert_array_equal(found[:, 10], np.zeros_like(found[:, 10]))
  wanted = table[ids[:, 33]] + table[ids[:, 34]]
  np.testing.assert_allclose(found[:, 11], wanted, rtol=1e-6)


def test_masked_frames_are_told_by_their_neighbours_on_both_sides():
  params, batch = parallel_stage.params(), parallel_stage.batch(1)
  run = jax.jit(parallel_stage.SIZES.module(parallel_stage.STAGE).apply)

  def logits(ids):
    outputs = run({'params': params}, {**batch, 'decoder_input_tokens': ids})
    return np.asarray(outputs['code_logits']).reshape(20, 3, 8)

  ids = batch['decoder_target_tokens'].copy()
  ids[0, 30:33] = specs.MASK_ID  # Frame 10.
  before = logits(ids)
  for place in (0, 59):
    other = ids.copy()
    other[0, place] = ids[0, place] + (1 if ids[0, place] % 8 < 7 else -1)
    assert (logits(other)[10] != before[10]).any()


def test_the_convolution_is_that_of_lax():
  module = conformer.GatedConvolution(kernel_size=5, dtype=jnp.dtype('float32'))
  x = jax.random.normal(jax.random.key(0), (2, 9, 6))
  variables = jax.jit(module.init)(jax.random.key(1), x)
  values = jax.tree.map(
    lambda p: p.value,
    variables['params'],
    is_leaf=lambda p: hasattr(p, 'value'),
  )
  gated = jax.nn.sigmoid(x @ values['wi_0']) * (x @ values['wi_1'])
  y = jax.lax.conv_general_dilated(
    gated,
    values['kernel'][:, None],
    window_strides=(1,),
    padding='SAME',
    dimension_numbers=('NWC', 'WIO', 'NWC'),
    feature_group_count=6,
  )
  y = y * jax.lax.rsqrt(jnp.mean(y**2, -1, keepdims=True) + 1e-6)
  wanted = (y * jax.nn.sigmoid(y)) @ values['wo']
  np.testing.assert_allclose(
    jax.jit(module.apply)(variables, x), wanted, rtol=1e-4, atol=1e-5
  )


@functools.cache
def gradient(config):
  module, batch = config.module(parallel_stage.STAGE), parallel_stage.batch(2)

  def total(p):
    return (module.apply({'params': p}, batch)['code_logits'] ** 2).sum()

  return jax.jit(jax.grad(total))(parallel_stage.params())


@pytest.mark.parametrize('option', ['remat', 'fused_attention'])
def test_what_saves_memory_has_the_same_gradient(option):
  plain = gradient(parallel_stage.SIZES)
  again = gradient(dataclasses.replace(parallel_stage.SIZES, **{option: True}))
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4),
    plain,
    again,
  )


@pytest.mark.parametrize(
  ('change', 'names'),
  [
    ({'kernel_size': 4}, 'kernel_size is 4'),
    ({'num_layers': 0}, 'num_layers'),
    ({'dtype': 'int8'}, 'dtype'),
  ],
)
def test_sizes_that_cannot_be_are_refused_by_name(change, names):
  with pytest.raises(ValueError, match=names):
    dataclasses.replace(parallel_stage.SIZES, **change)


def test_a_continuous_target_is_refused_by_name():
  frames = specs.FeatureSpec(name='latents', dim=4, rate_hz=10.0)
  stage = dataclasses.replace(parallel_stage.STAGE, target=frames)
  with pytest.raises(ValueError, match="continuous stream 'latents'"):
    parallel_stage.SIZES.module(stage)
