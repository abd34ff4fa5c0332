"""Microbatches add up to the batch, and need less memory."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from v2meow_jax.models.objectives import losses
from v2meow_jax.training import accumulation

WIDTH = 256


class WeightedModel:
  """A wide network under a mean over ids with weights, and a running sum."""

  def train_loss(self, params, extras, batch, rng):
    del rng
    hidden = jnp.tanh(batch['x'] @ params['into'])
    error = (hidden @ params['out'] - batch['y']) ** 2
    loss = losses.weighted_mean(error, batch['decoder_loss_weights'])
    seen = extras['seen'] * 2 + batch['x'].sum()
    return loss, ({'error': loss}, {'seen': seen})


@pytest.fixture(scope='module')
def setting():
  rng = np.random.default_rng(0)
  params = {
    'into': rng.normal(size=(3, WIDTH)) * 0.3,
    'out': rng.normal(size=WIDTH) * 0.1,
  }
  batch = {
    'x': rng.normal(size=(64, 20, 3)),
    'y': rng.normal(size=(64, 20)),
    'decoder_loss_weights': rng.integers(0, 2, size=(64, 20)),
  }
  # Microbatches of very different weight.
  batch['decoder_loss_weights'][::4, 1:] = 0
  params, batch = jax.tree.map(jnp.float32, (params, batch))
  compiled = {}
  for count in (1, 4):
    run = jax.jit(
      lambda p, e, b, k, n=count: accumulation.loss_and_gradient(
        WeightedModel(), p, e, b, k, n
      )
    )
    args = (params, {'seen': jnp.float32(0)}, batch, jax.random.key(0))
    program = run.lower(*args).compile()
    compiled[count] = program, program(*args)
  return batch, compiled


def test_loss_and_gradient_are_those_of_the_whole_batch(setting):
  _, compiled = setting
  loss, metrics, _, grads = compiled[4][1]
  wanted_loss, wanted_metrics, _, wanted_grads = compiled[1][1]
  np.testing.assert_allclose(loss, wanted_loss, rtol=1e-5)
  np.testing.assert_allclose(
    metrics['error'], wanted_metrics['error'], rtol=1e-5
  )
  for name, grad in grads.items():
    np.testing.assert_allclose(
      grad, wanted_grads[name], rtol=1e-4, atol=1e-7, err_msg=name
    )


def test_extras_go_from_one_microbatch_to_the_next(setting):
  batch, compiled = setting
  seen = 0.0
  for i in range(4):
    seen = 2 * seen + float(batch['x'][i::4].sum())
  np.testing.assert_allclose(compiled[4][1][2]['seen'], seen, rtol=1e-4)


def test_microbatches_need_less_memory(setting):
  _, compiled = setting
  sizes = {
    count: program.memory_analysis().temp_size_in_bytes
    for count, (program, _) in compiled.items()
  }
  assert sizes[4] < 0.5 * sizes[1], sizes


def test_rows_that_do_not_divide_are_refused():
  with pytest.raises(ValueError, match='num_microbatches'):
    accumulation.loss_and_gradient(
      WeightedModel(), {}, {}, {'x': np.zeros((3, 1))}, jax.random.key(0), 2
    )
