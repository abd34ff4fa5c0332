"""Patches of a frame are positions that differ in content and in place."""

import dataclasses

from flax.core import meta
import jax
import jax.numpy as jnp
import numpy as np

from tests.fakes import tiny_transformer
from v2meow_jax import specs
from v2meow_jax.models.adaptors import linear
from v2meow_jax.models.adaptors import positions

PATCHES = specs.FeatureSpec(name='patches', dim=3, rate_hz=2.0, num_positions=4)


def test_patches_come_out_in_order_and_each_knows_its_place():
  adaptor = linear.LinearAdaptor(8, jnp.float32, num_positions=4)
  x = np.random.default_rng(0).normal(size=(2, 5, 4, 3)).astype(np.float32)
  params = meta.unbox(adaptor.init(jax.random.key(0), x))['params']
  y = adaptor.apply({'params': params}, x)
  assert y.shape == (2, 20, 8)
  wanted = x[1, 3, 2] @ params['kernel'] + params['bias'] + params['places'][2]
  np.testing.assert_allclose(y[1, 3 * 4 + 2], wanted, rtol=1e-5)


def test_a_stage_encodes_every_patch_at_the_time_of_its_frame():
  spec = dataclasses.replace(
    tiny_transformer.MIXED, inputs=(PATCHES, tiny_transformer.STYLE)
  )
  times = positions.encoder_layout(spec).times
  np.testing.assert_allclose(times[:-1], np.repeat([0.25, 0.75, 1.25, 1.75], 4))
  model = tiny_transformer.token_stage.make(spec, tiny_transformer.SIZES)
  batch = model.example_batch(2)
  assert batch['encoder_inputs_patches'].shape == (2, 4, 4, 3)
  params = jax.eval_shape(model.init, jax.random.key(0), batch)['params']
  encoded = jax.eval_shape(
    lambda p: model.outputs(p, batch, ('encoded',)), params
  )['encoded']
  assert encoded.shape == (2, 17, 32) and model.encoder_length == 17
