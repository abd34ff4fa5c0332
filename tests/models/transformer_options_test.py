"""Options of training change its cost, not what is trained."""

import dataclasses
import functools

from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.fakes import jaxprs
from tests.fakes import tiny_transformer
from tests.fakes import token_stage
from v2meow_jax.models.blocks import layer_stacking

pytestmark = pytest.mark.slow

CONFIG = dataclasses.replace(
  tiny_transformer.EVERYTHING,
  emb_dim=8,
  num_heads=2,
  head_dim=4,
  mlp_dim=8,
  num_encoder_layers=1,
)
# Of the gradient's root mean square, float32.
TOLERANCE = 1e-5


def model_with(**options):
  config = dataclasses.replace(CONFIG, **options)
  return token_stage.make(tiny_transformer.MIXED, config)


@functools.cache
def random_params():
  """Of `CONFIG`, large enough for every weight to count."""
  model = model_with()
  shapes = jax.eval_shape(
    model.module.init, jax.random.key(0), model.example_batch(1)
  )
  rng = np.random.default_rng(0)
  return jax.tree.map(
    lambda s: rng.normal(0, 0.3, s.shape).astype(np.float32),
    nn.meta.unbox(shapes)['params'],
  )


@functools.cache
def loss_and_gradient(dropout_seed=None, **options):
  """The gradient always of layers apart."""
  model = model_with(**options)
  rng = None if dropout_seed is None else jax.random.key(dropout_seed)
  batch = tiny_transformer.random_batch(model)

  def loss(params):
    return model.train_loss(params, {}, batch, rng)[0]

  change = layer_stacking.stack if model.network.scan_layers else dict
  value, gradient = jax.jit(jax.value_and_grad(loss))(change(random_params()))
  return float(value), layer_stacking.unstack(gradient)


def assert_close(ours, wanted, tolerance=TOLERANCE):
  assert ours[0] == pytest.approx(wanted[0], rel=tolerance)
  paths = jax.tree_util.tree_leaves_with_path(ours[1])
  for (path, x), y in zip(paths, jax.tree.leaves(wanted[1]), strict=True):
    size = np.sqrt(np.mean(np.square(y)))
    error = np.abs(x - y).max() / size
    assert error < tolerance, (jax.tree_util.keystr(path), error)


@pytest.mark.parametrize('option', ['remat', 'fused_attention'])
def test_loss_and_gradient_are_those_without_the_option(option):
  assert_close(
    loss_and_gradient(dropout_seed=3, **{option: True}),
    loss_and_gradient(dropout_seed=3),
  )


def test_scanned_layers_give_the_loss_and_gradient_of_layers_apart():
  assert_close(
    loss_and_gradient(scan_layers=True, remat=True), loss_and_gradient()
  )


def test_stacked_layers_have_an_axis_that_is_named():
  model = model_with(scan_layers=True)
  shapes = jax.eval_shape(
    model.module.init, jax.random.key(0), model.example_batch(1)
  )
  params = nn.meta.unbox(shapes)['params']
  stacked = jax.eval_shape(layer_stacking.stack, random_params())
  assert jax.tree.map(jnp.shape, params) == jax.tree.map(jnp.shape, stacked)
  names = nn.get_partition_spec(shapes)['params']
  for stack in ('encoder', 'decoder'):
    for spec in jax.tree.leaves(names[stack]):
      assert spec[0] == 'layers' and None not in tuple(spec), spec


def larger(**options):
  """The loss of a model whose layers outweigh the rest, and its parameters."""
  model = model_with(num_decoder_layers=8, **options)
  batch = tiny_transformer.random_batch(model, batch_size=64)
  shapes = jax.eval_shape(model.module.init, jax.random.key(0), batch)
  params = nn.meta.unbox(shapes)['params']
  return lambda p: model.train_loss(p, {}, batch, None)[0], params


@pytest.mark.parametrize('scan_layers', [False, True])
def test_remat_keeps_less_for_the_gradient(scan_layers):
  def kept_bytes(remat):
    loss, params = larger(remat=remat, scan_layers=scan_layers)
    backward = jax.eval_shape(lambda p: jax.vjp(loss, p)[1], params)
    return sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(backward))

  assert kept_bytes(remat=True) < 0.5 * kept_bytes(remat=False)


def test_remat_lowers_the_memory_of_a_compiled_gradient():
  # Of scanned layers: of others XLA's compiler for the CPU orders the work so
  # that little is saved.
  def temporary_bytes(remat):
    loss, params = larger(remat=remat, scan_layers=True)
    compiled = jax.jit(jax.grad(loss)).lower(params).compile()
    return compiled.memory_analysis().temp_size_in_bytes

  assert temporary_bytes(remat=True) < 0.5 * temporary_bytes(remat=False)


def test_bfloat16_loses_its_rounding_and_nothing_else():
  loss, gradient = loss_and_gradient(dtype='bfloat16')
  wanted, wanted_gradient = loss_and_gradient()
  # bfloat16 keeps 8 bits, so one rounding is 2^-9 = 0.002 of a value; this
  # many of them in a row stay below 16 of one.
  assert loss == pytest.approx(wanted, rel=16 * 2**-9)
  for x, y in zip(
    jax.tree.leaves(gradient), jax.tree.leaves(wanted_gradient), strict=True
  ):
    assert x.dtype == jnp.float32
    cosine = np.vdot(x, y) / np.linalg.norm(x) / np.linalg.norm(y)
    assert cosine > 0.99


def test_bfloat16_parameters_are_float32_and_so_is_every_softmax():
  model = model_with(dtype='bfloat16')
  batch = tiny_transformer.random_batch(model)
  shapes = jax.eval_shape(model.module.init, jax.random.key(0), batch)
  for leaf in jax.tree.leaves(shapes):
    assert leaf.dtype == jnp.float32
  jaxpr = jax.make_jaxpr(lambda p: model.train_loss(p, {}, batch, None))(
    random_params()
  )
  types = jaxprs.operand_types(jaxpr.jaxpr)
  # Attention: once in the encoder, twice in each decoder layer. And the loss.
  assert len(types['exp']) >= 6
  assert set(types['exp']) == {jnp.dtype(jnp.float32)}
  assert jnp.bfloat16 in types['dot_general']
  assert jnp.float32 not in types['dot_general']
