"""Losses of pairs and their gradients, by closed forms and on split rows.

`python -m tests.fakes.split_pairs` prints, as json, by how much those on the
devices of a mesh differ, and what a device needs for them.
"""

import json

import jax
import jax.numpy as jnp
import numpy as np

from v2meow_jax.models.objectives import pair_losses
from v2meow_jax.training import mesh as mesh_lib

FORMS = ('info_nce', 'sigmoid')
DIM = 16


def pairs(count, seed=0):
  """Unit rows of two kinds, the first times a scale; some are left out."""
  rng = np.random.default_rng(seed)
  x, y = (
    row / np.linalg.norm(row, axis=1, keepdims=True)
    for row in rng.normal(size=(2, count, DIM))
  )
  weights = (rng.uniform(size=count) > 0.2).astype(np.float32)
  return (5 * x).astype(np.float32), y.astype(np.float32), weights


def closed_form(form, x, y, weights, bias=0.0):
  """Mean of the losses over the pairs that count, and its gradients."""
  x, y = x.astype(np.float64), y.astype(np.float64)
  kept = np.flatnonzero(weights)
  count = len(kept)
  scores = x[kept] @ y[kept].T + bias
  own = np.eye(count)
  if form == 'info_nce':
    rows = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    columns = np.exp(scores) / np.exp(scores).sum(0)
    losses = -(np.log(rows) + np.log(columns)).diagonal() / 2
    slopes = (rows + columns - 2 * own) / (2 * count)
  else:
    match = 2 * own - 1
    losses = np.log1p(np.exp(-match * scores)).sum(1)
    slopes = (1 / (1 + np.exp(-scores)) - own) / count
  grads = np.zeros((2, *x.shape))
  grads[0, kept] = slopes @ y[kept]
  grads[1, kept] = slopes.T @ x[kept]
  return losses.mean(), (*grads, slopes.sum())


def mean_loss(form, split=None):
  """The same of `pair_losses`, a function of arrays."""

  def loss(x, y, weights, bias):
    if form == 'info_nce':
      rows = pair_losses.info_nce_rows(x, y, weights, split)
    else:
      rows = pair_losses.sigmoid_rows(x, y, bias, weights, split)
    return rows.sum() / weights.sum()

  return jax.value_and_grad(loss, (0, 1, 3))


def dense_loss(x, y, weights, bias):
  """InfoNCE with the whole matrix, as a measure of what it takes."""
  del weights, bias
  scores = jnp.einsum('nd,md->nm', x, y, precision='highest')
  rows, columns = (jax.nn.logsumexp(scores, axis) for axis in (0, 1))
  return ((rows + columns) / 2 - scores.diagonal()).mean()


def largest_difference(got, wanted):
  """Largest difference of losses and of gradients, against their size."""
  (loss, grads), (true_loss, true_grads) = got, wanted
  worst = abs(float(loss) - true_loss) / max(1, abs(true_loss))
  for some, true in zip(grads, true_grads, strict=True):
    size = max(np.abs(true).max(), 1e-2)
    worst = max(worst, np.abs(np.asarray(some, np.float64) - true).max() / size)
  return float(worst)


def _bytes(function, count, split):
  """Temporary memory of one device, by XLA's own analysis."""
  rows = jax.sharding.NamedSharding(
    split.mesh, jax.sharding.PartitionSpec(split.names)
  )
  x = jax.ShapeDtypeStruct((count, DIM), np.float32, sharding=rows)
  weights = jax.ShapeDtypeStruct((count,), np.float32, sharding=rows)
  bias = jax.ShapeDtypeStruct((), np.float32)
  compiled = jax.jit(function).lower(x, x, weights, bias).compile()
  return compiled.memory_analysis().temp_size_in_bytes


def main():
  mesh = mesh_lib.make_mesh(data=2, fsdp=4)
  split = pair_losses.RowSplit(mesh, ('data', 'fsdp'))
  pair_losses.BLOCK_ROWS = 7
  differences = {}
  for form in FORMS:
    x, y, weights = pairs(96)
    bias = jnp.float32(-1.5 if form == 'sigmoid' else 0.0)
    found = jax.jit(mean_loss(form, split))(x, y, weights, bias)
    wanted = closed_form(form, x, y, weights, float(bias))
    if form == 'info_nce':
      found, wanted = ((loss, grads[:2]) for loss, grads in (found, wanted))
    differences[form] = largest_difference(found, wanted)
  x, y, weights = pairs(96)
  hits = jax.jit(pair_losses.is_nearest, static_argnums=3)(x, y, weights, split)
  scores = np.where(weights > 0, x @ y.T, -np.inf)
  best = scores.argmax(1) == np.arange(96)
  pair_losses.BLOCK_ROWS = 64
  counts = (1024, 2048, 4096)
  functions = {form: mean_loss(form, split) for form in FORMS}
  functions['dense'] = jax.value_and_grad(dense_loss, (0, 1))
  found = {
    'differences': differences,
    'nearest': bool((np.asarray(hits) == best)[weights > 0].all()),
    'bytes': {
      name: [_bytes(function, count, split) for count in counts]
      for name, function in functions.items()
    },
  }
  print(json.dumps(found))


if __name__ == '__main__':
  main()
