"""k-means in JAX: Lloyd's iterations in chunks, with empty clusters refilled."""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

_ROWS_AT_ONCE = 8192


@dataclasses.dataclass(frozen=True)
class Clusters:
  """The result of `fit`.

  Attributes:
    centroids: float32[k, dim].
    inertia: Sum over rows of the squared distance to their centroid.
    usage: int64[k], rows of each centroid.
  """

  centroids: np.ndarray
  inertia: float
  usage: np.ndarray


@jax.jit
def _nearest(
  rows: jax.Array, centroids: jax.Array
) -> tuple[jax.Array, jax.Array]:
  """int32[n] nearest centroid and float32[n] squared distance to it."""
  scores = rows @ centroids.T - 0.5 * jnp.sum(centroids**2, -1)
  index = jnp.argmax(scores, -1)
  distance = jnp.sum((rows - centroids[index]) ** 2, -1)
  return index.astype(jnp.int32), distance


@functools.partial(jax.jit, static_argnames='k')
def _sums(
  rows: jax.Array, index: jax.Array, k: int
) -> tuple[jax.Array, jax.Array]:
  """float32[k, dim] sums and int32[k] counts of each cluster's rows."""
  sums = jax.ops.segment_sum(rows, index, k)
  return sums, jnp.bincount(index, length=k)


def assign(
  rows: np.ndarray, centroids: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  """The nearest centroid of each row.

  Args:
    rows: float[n, dim].
    centroids: float[k, dim].

  Returns:
    int32[n] indices and float32[n] squared distances.
  """
  centroids = jnp.asarray(centroids, jnp.float32)
  parts = [
    _nearest(jnp.asarray(chunk, jnp.float32), centroids)
    for chunk in _chunks(rows)
  ]
  index, distance = zip(*parts, strict=True)
  return np.concatenate(index), np.concatenate(distance)


def _chunks(rows: np.ndarray) -> list[np.ndarray]:
  starts = range(0, max(len(rows), 1), _ROWS_AT_ONCE)
  return [rows[i : i + _ROWS_AT_ONCE] for i in starts]


def fit(
  rows: np.ndarray,
  k: int,
  *,
  rng: jax.Array,
  num_iterations: int = 50,
  init: str = 'k-means++',
) -> Clusters:
  """Lloyd's algorithm.

  A cluster without rows moves to a row that is far from its centroid. Stops
  early when no centroid moves.

  Args:
    rows: float[n, dim], n >= k.
    k: Clusters.
    rng: A JAX key.
    num_iterations: At most.
    init: 'k-means++' (Arthur and Vassilvitskii 2007) or 'random' rows.

  Returns:
    The clusters; the same rows and key give the same clusters.

  Raises:
    ValueError: Fewer rows than clusters, rows that are not finite, or an
      unknown `init`.
  """
  rows = np.asarray(rows, np.float32)
  if len(rows) < k:
    raise ValueError(
      f'{len(rows)} rows cannot form {k} clusters; give more rows or ask for'
      ' fewer clusters.'
    )
  if not np.isfinite(rows).all():
    raise ValueError('rows hold NaN or infinity; k-means needs finite numbers.')
  starts = {'k-means++': _plus_plus, 'random': _random_rows}
  if init not in starts:
    raise ValueError(f'init is {init!r}; wanted one of {sorted(starts)}.')
  start_rng, refill_rng = jax.random.split(rng)
  centroids = starts[init](rows, k, start_rng)
  for i in range(num_iterations):
    moved = _step(rows, centroids, jax.random.fold_in(refill_rng, i))
    done = np.array_equal(moved, centroids)
    centroids = moved
    if done:
      break
  index, distance = assign(rows, centroids)
  return Clusters(
    centroids=centroids,
    inertia=float(distance.sum(dtype=np.float64)),
    usage=np.bincount(index, minlength=k),
  )


def _step(
  rows: np.ndarray, centroids: np.ndarray, rng: jax.Array
) -> np.ndarray:
  """One assignment and one update: float32[k, dim]."""
  k = len(centroids)
  index, distance = assign(rows, centroids)
  sums = np.zeros(centroids.shape, np.float64)
  counts = np.zeros(k, np.int64)
  for chunk, chunk_index in zip(_chunks(rows), _chunks(index), strict=True):
    chunk_sums, chunk_counts = _sums(
      jnp.asarray(chunk), jnp.asarray(chunk_index), k
    )
    sums += np.asarray(chunk_sums)
    counts += np.asarray(chunk_counts)
  moved = (sums / np.maximum(counts, 1)[:, None]).astype(np.float32)
  empty = np.flatnonzero(counts == 0)
  if len(empty) and distance.sum() > 0:
    moved[empty] = rows[_draw(distance, len(empty), rng)]
  elif len(empty):
    moved[empty] = centroids[empty]
  return moved


def _draw(weights: np.ndarray, count: int, rng: jax.Array) -> np.ndarray:
  """`count` indices, each drawn in proportion to its weight."""
  sums = np.cumsum(weights, dtype=np.float64)
  points = np.asarray(jax.random.uniform(rng, (count,)), np.float64) * sums[-1]
  return np.minimum(np.searchsorted(sums, points, 'right'), len(weights) - 1)


def _random_rows(rows: np.ndarray, k: int, rng: jax.Array) -> np.ndarray:
  chosen = jax.random.choice(rng, len(rows), (k,), replace=False)
  return rows[np.asarray(chosen)]


def _plus_plus(rows: np.ndarray, k: int, rng: jax.Array) -> np.ndarray:
  """Rows drawn one by one in proportion to the squared distance to the set.

  Of a few candidates the one that lowers the inertia most is kept.
  """
  num_candidates = 2 + int(np.log(k))
  norms = (rows**2).sum(1)
  first = _draw(np.ones(len(rows)), 1, rng)[0]
  chosen = [first]
  nearest = np.maximum(norms - 2 * rows @ rows[first] + norms[first], 0)
  for i in range(1, k):
    weights = nearest if nearest.sum() > 0 else np.ones(len(rows))
    candidates = _draw(weights, num_candidates, jax.random.fold_in(rng, i))
    distance = norms[:, None] - 2 * rows @ rows[candidates].T
    distance = np.maximum(distance + norms[candidates], 0)
    lowered = np.minimum(nearest[:, None], distance)
    best = lowered.sum(0).argmin()
    chosen.append(candidates[best])
    nearest = lowered[:, best]
  return rows[np.array(chosen)]
