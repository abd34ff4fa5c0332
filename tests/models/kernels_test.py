"""Kernels in int8 are what they were to half a step, and the rest is floats."""

import copy
import re

from flax.core import meta
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.fakes import parallel_stage
from tests.fakes import tiny_transformer
from tests.fakes import token_stage
from v2meow_jax.files import tensors
from v2meow_jax.models.blocks import kernels
from v2meow_jax.models.blocks import layer_stacking


def params_of(model):
  """Random numbers of the shapes of a model, which need no compiling."""
  rng = np.random.default_rng(0)
  shapes = jax.eval_shape(model.init, jax.random.key(0), model.example_batch(1))
  return jax.tree.map(
    lambda leaf: rng.standard_normal(leaf.shape, leaf.dtype),
    meta.unbox(shapes)['params'],
  )


def transformer_params():
  spec, config = tiny_transformer.MIXED, tiny_transformer.EVERYTHING
  return layer_stacking.unstack(params_of(token_stage.make(spec, config)))


def layer(params):
  return params['decoder_0']


def test_every_kernel_of_both_networks_is_int8_and_nothing_else():
  # What a network makes a product with has two axes or more, one of which is the
  # width of the stream; tables that are looked up, or added, have names.
  tables = r'embedding|adaptors|bias|norm|kernel'
  for params in (transformer_params(), params_of(parallel_stage.make())):
    stored = tensors.flatten(kernels.quantised(params))
    for name in tensors.flatten(params):
      if re.search(tables, name):
        assert stored[name].dtype == np.float16
      else:
        assert stored[f'{name}/int8'].dtype == np.int8
        assert stored[f'{name}/scale'].dtype == np.float32


def test_no_weight_moves_by_more_than_half_a_step_of_its_channel():
  params = transformer_params()
  params['decoder_0']['mlp']['wi_0'] = (
    np.asarray(params['decoder_0']['mlp']['wi_0']) * 1e-6
  )  # Beyond float16, if scales were.
  dead = np.array(layer(params)['mlp']['wo'])
  dead[:, 3] = 0
  params['decoder_0']['mlp']['wo'] = dead
  back = kernels.dequantised(kernels.quantised(params))
  for name, axes in kernels.SUMMED_AXES.items():
    place = next(p for p in tensors.flatten(params) if p.endswith('/' + name)
                 or p == name)  # fmt: skip
    before = tensors.flatten(params)[place]
    after = tensors.flatten(back)[place]
    step = np.abs(before).max(axes, keepdims=True) / 127
    assert (np.abs(after - before) <= step / 2 * 1.0001).all(), name
    assert after.dtype == np.float32
  assert not back['decoder_0']['mlp']['wo'][:, 3].any()


def test_a_scale_may_be_applied_after_the_product():
  # So that a channel of an output is one scale times a product with integers.
  params = layer(transformer_params())
  x = jax.random.normal(jax.random.key(0), (5, 32))
  stored = kernels.quantised(params)
  back = kernels.dequantised(stored)
  pair = stored['attention']['query']
  whole = jnp.einsum('bm,mhd->bhd', x, back['attention']['query'])
  apart = jnp.einsum('bm,mhd->bhd', x, pair['int8'].astype(jnp.float32))
  np.testing.assert_allclose(apart * pair['scale'], whole, rtol=1e-4, atol=1e-5)


def test_weights_that_do_not_fit_are_named():
  params = {'mlp': {'wo': np.ones((6, 4), np.float32)}}
  stored = kernels.quantised(params)
  pair = stored['mlp']['wo']
  assert list(pair['scale'].shape) == [1, 4]
  for change in (
    {'scale': np.ones((1, 5), np.float32)},
    {'scale': np.ones((6, 1), np.float32)},
    {'scale': np.ones((1, 4), np.float16)},
    {'scale': np.full((1, 4), np.nan, np.float32)},
    {'int8': np.ones((6, 4), np.int16)},
    {'more': np.ones((6, 4), np.int8)},
  ):
    wrong = copy.deepcopy(stored)
    wrong['mlp']['wo'] = {**pair, **change}
    with pytest.raises(ValueError, match=r'^mlp/wo holds .*float32\[1, 4\]'):
      kernels.dequantised(wrong)
  with pytest.raises(ValueError, match='^mlp/wo holds'):
    kernels.dequantised({'mlp': {'wo': {'int8': pair['int8']}}})
  with pytest.raises(ValueError, match='^mlp/token holds'):
    kernels.dequantised({'mlp': {'token': pair}})
  with pytest.raises(ValueError, match='^mlp/wo is of int8; wanted floats'):
    kernels.dequantised({'mlp': {'wo': pair['int8']}})
