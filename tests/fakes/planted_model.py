"""A model whose answer is known, and its data; as a program, a whole run.

`python -m tests.fakes.planted_model --gin_file=...` is `v2meow train`, for recipes
that name this file as `__main__`.
"""

import sys
import time

import jax
import jax.numpy as jnp
import numpy as np

TRUTH = np.array([1.0, -2.0, 0.5], np.float32)


class LinearModel:
  """y = x w, with noise in the step and a counter beside the parameters."""

  def init(self, rng, batch):
    w = jax.random.normal(rng, (batch['x'].shape[-1],))
    return {'params': {'w': w}, 'counter': {'steps': jnp.zeros(())}}

  def describe(self):
    return {'model': 'LinearModel'}

  def train_loss(self, params, extras, batch, rng):
    x = batch['x']
    if rng is not None:
      x = x + 0.01 * jax.random.normal(rng, x.shape)
      extras = {'counter': {'steps': extras['counter']['steps'] + 1}}
    loss = jnp.mean((x @ params['w'] - batch['y']) ** 2)
    return loss, ({'rmse': jnp.sqrt(loss)}, extras)


def batches(start_step, shard=(0, 1), seconds=0.0):
  """Batch k is a function of k; each takes some seconds to make."""
  index, count = shard
  mine = slice(index * 8 // count, (index + 1) * 8 // count)
  step = start_step
  while True:
    time.sleep(seconds)
    x = np.random.default_rng(step).normal(size=(8, 3)).astype(np.float32)
    names = [f'example {step}-{row}'.encode() for row in range(8)]
    batch = {'x': x, 'y': x @ TRUTH, 'example_ids': np.array(names, 'S64')}
    yield {key: value[mine] for key, value in batch.items()}
    step += 1


if __name__ == '__main__':
  from v2meow_jax.cli import main

  sys.argv.insert(1, 'train')
  main.run()
