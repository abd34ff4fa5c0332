"""Times and FLOPs against sums by hand."""

import jax
import jax.numpy as jnp
import pytest

from tests.training import mesh_losses
from v2meow_jax.training import goodput


class Time:
  """A clock that is set by hand."""

  now = 0.0

  def __call__(self):
    return self.now


def test_time_that_is_no_step_is_told_apart():
  time = Time()
  clock = goodput.Clock(time)
  with clock.on('start'):
    time.now = 10.0
  clock.window()
  time.now = 13.0
  with clock.on('data'):
    time.now = 14.0
  with clock.on('eval'):
    time.now = 20.0
  # 3 s of steps and 1 s of waiting for data; the evaluation counts in neither.
  assert clock.window() == (4.0, 1.0)
  assert clock.goodput() == pytest.approx(3 / 20)
  time.now = 22.0
  assert clock.window() == (2.0, 0.0)


def test_products_are_counted_as_often_as_they_run():
  def network(x, w):
    def layer(x, w):
      return jnp.tanh(x @ w), None

    x, _ = jax.lax.scan(layer, x, w)
    return jax.jit(lambda y: y @ y.T)(x).sum()

  x, w = jnp.zeros((5, 8)), jnp.zeros((3, 8, 8))
  wanted = 3 * 2 * 5 * 8 * 8 + 2 * 5 * 5 * 8
  assert goodput.matmul_flops(network, x, w) == wanted


def test_a_convolution_is_a_product_per_output():
  def convolve(x, w):
    return jax.lax.conv_general_dilated(
      x, w, (2,), 'SAME', dimension_numbers=('NWC', 'WIO', 'NWC')
    )

  x, w = jnp.zeros((4, 16, 6)), jnp.zeros((5, 6, 7))
  assert goodput.matmul_flops(convolve, x, w) == 2 * 4 * 8 * 7 * 5 * 6


def test_a_transformer_costs_what_its_layers_do():
  model, sizes = mesh_losses.MODEL, mesh_losses.SIZES
  batch = next(mesh_losses.batches(0))
  params = jax.eval_shape(model.init, jax.random.key(0), batch)['params']
  counted = goodput.matmul_flops(
    lambda p, b: model.train_loss(p, {}, b, None)[0], params, batch
  )
  rows, reads, writes = mesh_losses.ROWS, 4, 8
  d, heads = sizes.emb_dim, sizes.num_heads * sizes.head_dim
  mlp = 3 * d * sizes.mlp_dim
  encoder = reads * (4 * d * heads + mlp) + 2 * reads**2 * heads
  own = writes * (4 * d * heads + mlp) + 2 * writes**2 * heads
  cross = 2 * d * heads * (reads + writes) + 2 * reads * writes * heads
  ends = reads * 6 * d + writes * d * mesh_losses.STAGE.vocab_size
  wanted = 2 * rows * (encoder + own + cross + ends)
  assert counted == pytest.approx(wanted, rel=0.02)


def test_the_peak_of_an_unknown_chip_is_unknown():
  assert goodput.peak_flops() is None
