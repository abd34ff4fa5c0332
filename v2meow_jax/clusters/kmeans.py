"""k-means by Lloyd's iterations, with empty clusters refilled.

The iterations run on all devices; the host draws the start, k-means++ or random
rows. Rows may be a memory-mapped file; `kmeans_stream` is for more rows than a
disk holds.
"""

from collections.abc import Mapping
import dataclasses
import pathlib
from typing import Any

import jax
import numpy as np

from v2meow_jax import progress
from v2meow_jax.clusters import kmeans_assign
from v2meow_jax.clusters import snapshots

# Rows to check for NaN at once: they may be a file.
_ROWS_AT_ONCE = 65_536


@dataclasses.dataclass(frozen=True)
class Clusters:
  """The result of `fit`.

  Attributes:
    centroids: Centres of the clusters, float32[k, dim].
    inertia: Sum over rows of the squared distance to their centroid.
    usage: Number of rows of each centroid, int64[k].
    moved: Root mean square movement of the centroids in the last iteration; 0
      after convergence.
  """

  centroids: np.ndarray
  inertia: float
  usage: np.ndarray
  moved: float


def fit(
  rows: np.ndarray,
  k: int,
  *,
  rng: jax.Array,
  num_iterations: int = 50,
  init: str = 'k-means++',
  start_rows: int | None = None,
  show_progress: bool = False,
  state_file: pathlib.Path | None = None,
  identity: Mapping[str, Any] | None = None,
) -> Clusters:
  """Runs Lloyd's algorithm on all devices of this process.

  A cluster without rows moves to a row that is far from its centroid. Stops
  early if no centroid moves. Equal rows, key and number of devices give equal
  clusters; another number of devices gives the same up to rounding.

  Args:
    rows: Rows to cluster, float[n, dim], n >= k.
    k: Number of clusters.
    rng: Key of the start and the refilling.
    num_iterations: Largest number of iterations.
    init: Kind of `start`.
    start_rows: Number of random rows to start from; None: all.
    show_progress: Whether to draw a bar.
    state_file: Safetensors file of the last iteration, to resume from; a resumed
      run ends bit-equal to an uninterrupted one.
    identity: JSON data that must be equal in a resumed run, such as `k`, the
      seed and the origin of the rows.

  Returns:
    The clusters.

  Raises:
    ValueError: Fewer rows than clusters, rows that are not finite, or an
      unknown `init`.
    snapshots.SnapshotError: `state_file` is damaged or of another run.
  """
  rows = np.asarray(rows, np.float32)
  identity = identity or {}
  start_rng, refill_rng = jax.random.split(rng)
  done, moved = 0, 0.0
  snapshot = state_file and snapshots.read(state_file, identity=identity)
  if snapshot:
    centroids = snapshot[0]['centroids']
    done, moved = snapshot[1]['iterations'], snapshot[1]['moved']
  else:
    sample = _sample(rows, start_rows, start_rng)
    centroids = start(sample, k, rng=start_rng, init=init)
  with progress.bar(
    total=num_iterations,
    initial=done,
    desc='k-means',
    disable=not show_progress,
  ) as bar:
    for i in range(done, num_iterations):
      if i and not moved:
        break
      before = centroids
      centroids = _step(rows, before, jax.random.fold_in(refill_rng, i))
      moved = distance_moved(before, centroids)
      if state_file:
        snapshots.write(
          state_file,
          {'centroids': centroids},
          identity=identity,
          progress={'iterations': i + 1, 'moved': moved},
        )
      bar.update()
  assignment = kmeans_assign.assign(rows, centroids)
  return Clusters(
    centroids=centroids,
    inertia=float(assignment.distance.sum(dtype=np.float64)),
    usage=assignment.counts,
    moved=moved,
  )


def _sample(rows: np.ndarray, count: int | None, rng: jax.Array) -> np.ndarray:
  """Draws `count` rows; returns all if there are no more."""
  if count is None or count >= len(rows):
    return rows
  # A key other than that of the start.
  rng = jax.random.fold_in(rng, count)
  index = jax.random.choice(rng, len(rows), (count,), replace=False)
  return rows[np.sort(np.asarray(index))]


def start(rows: np.ndarray, k: int, *, rng: jax.Array, init: str) -> np.ndarray:
  """Draws the first centroids from rows, on the host.

  Args:
    rows: Rows to cluster, float32[n, dim], n >= k.
    k: Number of clusters.
    rng: Key of the draw.
    init: 'k-means++' (Arthur and Vassilvitskii 2007), which reads the rows k
      times, or 'random' rows.

  Returns:
    float32[k, dim].

  Raises:
    ValueError: Fewer rows than clusters, rows that are not finite, or an
      unknown `init`.
  """
  if len(rows) < k:
    raise ValueError(
      f'{len(rows)} rows cannot form {k} clusters; give more rows or ask for'
      ' fewer clusters.'
    )
  if not all(
    np.isfinite(rows[i : i + _ROWS_AT_ONCE]).all()
    for i in range(0, len(rows), _ROWS_AT_ONCE)
  ):
    raise ValueError('rows hold NaN or infinity; k-means needs finite numbers.')
  starts = {'k-means++': _plus_plus, 'random': _random_rows}
  if init not in starts:
    raise ValueError(f'init is {init!r}; wanted one of {sorted(starts)}.')
  return starts[init](rows, k, rng)


def distance_moved(before: np.ndarray, after: np.ndarray) -> float:
  """Root mean square distance between pairs of centroids."""
  return float(np.sqrt(((after - before) ** 2).sum(1, np.float64).mean()))


def _step(
  rows: np.ndarray, centroids: np.ndarray, rng: jax.Array
) -> np.ndarray:
  """Assigns rows and returns the updated centroids, float32[k, dim]."""
  assignment = kmeans_assign.assign(rows, centroids)
  means = assignment.sums / np.maximum(assignment.counts, 1)[:, None]
  means = means.astype(np.float32)
  empty = np.flatnonzero(assignment.counts == 0)
  if len(empty) and assignment.distance.sum() > 0:
    means[empty] = rows[draw(assignment.distance, len(empty), rng)]
  elif len(empty):
    means[empty] = centroids[empty]
  return means


def draw(weights: np.ndarray, count: int, rng: jax.Array) -> np.ndarray:
  """Draws `count` indices in proportion to their weights."""
  sums = np.cumsum(weights, dtype=np.float64)
  points = np.asarray(jax.random.uniform(rng, (count,)), np.float64) * sums[-1]
  return np.minimum(np.searchsorted(sums, points, 'right'), len(weights) - 1)


def _random_rows(rows: np.ndarray, k: int, rng: jax.Array) -> np.ndarray:
  index = jax.random.choice(rng, len(rows), (k,), replace=False)
  return rows[np.asarray(index)]


def _plus_plus(rows: np.ndarray, k: int, rng: jax.Array) -> np.ndarray:
  """Draws rows one by one in proportion to the squared distance to the set.

  Keeps the best of a few candidates, which lowers the inertia most.
  """
  num_candidates = 2 + int(np.log(k))
  norms = (rows**2).sum(1)
  first = draw(np.ones(len(rows)), 1, rng)[0]
  indices = [first]
  nearest = np.maximum(norms - 2 * (rows @ rows[first]) + norms[first], 0)
  for i in range(1, k):
    weights = nearest if nearest.sum() > 0 else np.ones(len(rows))
    candidates = draw(weights, num_candidates, jax.random.fold_in(rng, i))
    distance = norms[:, None] - 2 * (rows @ rows[candidates].T)
    distance = np.maximum(distance + norms[candidates], 0)
    lowered = np.minimum(nearest[:, None], distance)
    best = lowered.sum(0).argmin()
    indices.append(candidates[best])
    nearest = lowered[:, best]
  return rows[np.array(indices)]
