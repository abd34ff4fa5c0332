"""k-means: Lloyd's iterations, with empty clusters refilled.

The iterations run on all devices; the start, k-means++ or random rows, is drawn
on the host. Rows may be a file that is mapped into memory; `kmeans_stream` is
for those that no disk holds.
"""

from __future__ import annotations

from collections.abc import Mapping
import dataclasses
import pathlib
from typing import Any

import jax
import numpy as np

from v2meow_jax import progress
from v2meow_jax.clusters import kmeans_assign
from v2meow_jax.clusters import snapshots

# Looked at at once: rows may lie in a file.
_ROWS_AT_ONCE = 65_536


@dataclasses.dataclass(frozen=True)
class Clusters:
  """The result of `fit`.

  Attributes:
    centroids: float32[k, dim].
    inertia: Sum over rows of the squared distance to their centroid.
    usage: int64[k], rows of each centroid.
    moved: Root mean square of how far the centroids went in the last
      iteration; 0 when it converged.
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
  """Lloyd's algorithm, on all devices of this process.

  A cluster without rows moves to a row that is far from its centroid. Stops
  early when no centroid moves.

  Args:
    rows: float[n, dim], n >= k.
    k: Clusters.
    rng: A JAX key.
    num_iterations: At most.
    init: See `start`.
    start_rows: So many rows, drawn, are looked at for the start; None: all.
    show_progress: Draw a bar.
    state_file: A safetensors file to go on from and to keep each iteration in;
      a run that goes on ends, to the bit, where one that was not interrupted
      does.
    identity: JSON data of what must be the same in a run that goes on, such as
      `k`, the seed and the origin of the rows.

  Returns:
    The clusters; the same rows, key and number of devices give the same
    clusters, another number of devices the same up to rounding.

  Raises:
    ValueError: Fewer rows than clusters, rows that are not finite, or an
      unknown `init`.
    snapshots.SnapshotError: `state_file` is damaged or of another run.
  """
  rows = np.asarray(rows, np.float32)
  identity = identity or {}
  start_rng, refill_rng = jax.random.split(rng)
  done, moved = 0, 0.0
  kept = snapshots.read(state_file, identity=identity) if state_file else None
  if kept:
    centroids = kept[0]['centroids']
    done, moved = kept[1]['iterations'], kept[1]['moved']
  else:
    some = _some(rows, start_rows, start_rng)
    centroids = start(some, k, rng=start_rng, init=init)
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
  found = kmeans_assign.tally(rows, centroids)
  return Clusters(
    centroids=centroids,
    inertia=float(found.distance.sum(dtype=np.float64)),
    usage=found.counts,
    moved=moved,
  )


def _some(rows: np.ndarray, count: int | None, rng: jax.Array) -> np.ndarray:
  """`count` rows, drawn; all of them, where there are not more."""
  if count is None or count >= len(rows):
    return rows
  # Another draw than that of the start, which has the same key.
  rng = jax.random.fold_in(rng, count)
  chosen = jax.random.choice(rng, len(rows), (count,), replace=False)
  return rows[np.sort(np.asarray(chosen))]


def start(rows: np.ndarray, k: int, *, rng: jax.Array, init: str) -> np.ndarray:
  """Rows to begin with, drawn on the host.

  Args:
    rows: float32[n, dim], n >= k.
    k: Clusters.
    rng: A JAX key.
    init: 'k-means++' (Arthur and Vassilvitskii 2007), which goes through the
      rows k times, or 'random' rows.

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
  """Root mean square of the distances between centroids, by pairs."""
  return float(np.sqrt(((after - before) ** 2).sum(1, np.float64).mean()))


def _step(
  rows: np.ndarray, centroids: np.ndarray, rng: jax.Array
) -> np.ndarray:
  """One assignment and one update: float32[k, dim]."""
  found = kmeans_assign.tally(rows, centroids)
  moved = found.sums / np.maximum(found.counts, 1)[:, None]
  moved = moved.astype(np.float32)
  empty = np.flatnonzero(found.counts == 0)
  if len(empty) and found.distance.sum() > 0:
    moved[empty] = rows[draw(found.distance, len(empty), rng)]
  elif len(empty):
    moved[empty] = centroids[empty]
  return moved


def draw(weights: np.ndarray, count: int, rng: jax.Array) -> np.ndarray:
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
  first = draw(np.ones(len(rows)), 1, rng)[0]
  chosen = [first]
  nearest = np.maximum(norms - 2 * (rows @ rows[first]) + norms[first], 0)
  for i in range(1, k):
    weights = nearest if nearest.sum() > 0 else np.ones(len(rows))
    candidates = draw(weights, num_candidates, jax.random.fold_in(rng, i))
    distance = norms[:, None] - 2 * (rows @ rows[candidates].T)
    distance = np.maximum(distance + norms[candidates], 0)
    lowered = np.minimum(nearest[:, None], distance)
    best = lowered.sum(0).argmin()
    chosen.append(candidates[best])
    nearest = lowered[:, best]
  return rows[np.array(chosen)]
