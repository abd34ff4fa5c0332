"""Mini-batch k-means, for rows that do not fit into memory.

Web-scale k-means of Sculley 2010 (Algorithm 1,
https://doi.org/10.1145/1772690.1772862): each centroid moves towards its rows of
a batch at a rate of one over the number of its rows so far, so that it is their
mean:

  c <- c + n / (N + n) (m - c),

for n rows of mean m after N earlier ones. Ours: N restarts with each pass, which
forgets the first centroids, and centroids of little use move to rows that are
far from theirs.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
import dataclasses
import pathlib
from typing import Any

import jax
import numpy as np

from v2meow_jax.clusters import kmeans
from v2meow_jax.clusters import kmeans_assign
from v2meow_jax.clusters import snapshots

# blocks(epoch, position) iterates over blocks of rows, float32[n, dim], each with
# the position after it, > 0, to resume from. Position 0 is the start of a pass;
# equal arguments give equal blocks.
Blocks = Callable[[int, int], Iterable[tuple[np.ndarray, int]]]

# ours: a start from so many rows per cluster is as good as from all of them.
_STARTING_ROWS = 16
# ours: checks use after so many rows per cluster; less than this share of an
# equal one, here at most a row, is too little. A larger share would take
# centroids away from rare rows: with a tenth of an equal share, one check in two
# thousand counts so few.
_WINDOW_ROWS = 100
_LEAST_SHARE = 0.02


@dataclasses.dataclass(frozen=True, kw_only=True)
class StreamClusters:
  """Clusters of the rows so far.

  Attributes:
    centroids: Centres of the clusters, float64[k, dim].
    counts: Number of rows of this pass in the mean of each centroid, int64[k].
    recent: Number of rows of each since the last check of use, int64[k].
    epoch: Number of finished passes.
    position: Position in the next pass, see `Blocks`.
    step: Number of batches so far, of all passes.
    repaired: Number of centroids moved for low use, of all passes.
    num_rows: Number of rows of this pass.
    inertia: Sum over the rows of this pass of the squared distance to their
      centroid before it moved towards them.
    moved: Root mean square movement of the centroids in the last batch.
  """

  centroids: np.ndarray
  counts: np.ndarray
  recent: np.ndarray
  epoch: int = 0
  position: int = 0
  step: int = 0
  repaired: int = 0
  num_rows: int = 0
  inertia: float = 0.0
  moved: float = 0.0

  def next_pass(self) -> StreamClusters:
    """Resets what is counted per pass."""
    return dataclasses.replace(
      self, counts=np.zeros_like(self.counts), num_rows=0, inertia=0.0
    )


def fit(
  blocks: Blocks,
  k: int,
  *,
  seed: int,
  num_passes: int = 3,
  batch_rows: int = 8192,
  init: str = 'k-means++',
  state_file: pathlib.Path | None = None,
  save_every: int = 1,
  context: Mapping[str, Any] | None = None,
  on_batch: Callable[[StreamClusters], None] = lambda state: None,
) -> StreamClusters:
  """Clusters blocks of rows in several passes.

  Blocks, seed and number of devices determine the result, also of a run that
  resumes from a `state_file`.

  Args:
    blocks: Source of rows, at least k in the first block.
    k: Number of clusters.
    seed: Seed of the start and of the repairs.
    num_passes: Number of passes over all blocks.
    batch_rows: Number of rows per step; more give fewer, steadier steps.
    init: Kind of `kmeans.start` from rows of the first block.
    state_file: Safetensors file of the state, to resume from.
    save_every: Number of blocks between saves; each pass ends with one.
    context: JSON data that must be equal in a resumed run, such as the origin of
      the rows.
    on_batch: Callback for the state after each batch.

  Returns:
    The state after the last pass.

  Raises:
    ValueError: The first block is too small, rows are not finite, or widths
      differ.
    snapshots.SnapshotError: `state_file` is damaged or of another run.
  """
  if num_passes < 1:
    raise ValueError(f'num_passes is {num_passes}; wanted at least 1.')
  identity = {
    'k': k,
    'seed': seed,
    'batch_rows': batch_rows,
    'init': init,
    **(context or {}),
  }
  state = load(state_file, identity) if state_file else None
  while state is None or state.epoch < num_passes:
    epoch, position = (state.epoch, state.position) if state else (0, 0)
    if state and not position:
      state = state.next_pass()
    for number, (rows, after) in enumerate(blocks(epoch, position), 1):
      if state is None:
        state = _start(rows, k, seed=seed, init=init)
      for first in range(0, len(rows), batch_rows):
        state = update(state, rows[first : first + batch_rows], seed=seed)
        on_batch(state)
      state = dataclasses.replace(state, position=after)
      if state_file and number % save_every == 0:
        save(state_file, state, identity)
    if state is None:
      raise ValueError('there are no rows to cluster: `blocks` gave no block.')
    state = dataclasses.replace(state, epoch=epoch + 1, position=0)
    if state_file:
      save(state_file, state, identity)
  return state


def update(
  state: StreamClusters, rows: np.ndarray, *, seed: int
) -> StreamClusters:
  """Moves the centroids by a batch of rows, float[n, dim].

  Raises:
    ValueError: Rows are of another width, or not finite.
  """
  k, dim = state.centroids.shape
  if rows.shape[1] != dim:
    raise ValueError(
      f'rows are of {rows.shape[1]} numbers, the centroids of {dim}; cluster'
      ' rows of one kind, and resume from their own state.'
    )
  if not np.isfinite(rows).all():
    raise ValueError(
      f'rows of batch {state.step} hold NaN or infinity; k-means needs finite'
      ' numbers.'
    )
  batch = kmeans_assign.assign(rows, state.centroids)
  counts = state.counts + batch.counts
  rate = batch.counts / np.maximum(counts, 1)
  means = batch.sums / np.maximum(batch.counts, 1)[:, None]
  centroids = state.centroids + rate[:, None] * (means - state.centroids)
  recent = state.recent + batch.counts
  repaired = state.repaired
  if recent.sum() >= _WINDOW_ROWS * k:
    low = np.flatnonzero(recent < _LEAST_SHARE * recent.sum() / k)
    if len(low) and batch.distance.any():
      rng = jax.random.fold_in(jax.random.key(seed), state.step)
      centroids[low] = rows[kmeans.draw(batch.distance, len(low), rng)]
      # Each is the mean of this one row.
      counts[low] = 1
      repaired += len(low)
    recent = np.zeros_like(recent)
  return dataclasses.replace(
    state,
    centroids=centroids,
    counts=counts,
    recent=recent,
    step=state.step + 1,
    repaired=repaired,
    num_rows=state.num_rows + len(rows),
    inertia=state.inertia + float(batch.distance.sum(dtype=np.float64)),
    moved=kmeans.distance_moved(state.centroids, centroids),
  )


def _start(rows: np.ndarray, k: int, *, seed: int, init: str) -> StreamClusters:
  """Starts from rows of the first block."""
  order = np.random.default_rng(seed).permutation(len(rows))
  rows = np.asarray(rows[order[: _STARTING_ROWS * k]], np.float32)
  # The keys of repairs are this one folded with a step.
  rng = jax.random.split(jax.random.key(seed))[0]
  centroids = kmeans.start(rows, k, rng=rng, init=init)
  return StreamClusters(
    centroids=centroids.astype(np.float64),
    counts=np.zeros(k, np.int64),
    recent=np.zeros(k, np.int64),
  )


_ARRAYS = ('centroids', 'counts', 'recent')


def save(
  path: pathlib.Path, state: StreamClusters, identity: Mapping[str, Any]
) -> None:
  """Saves a state, see `snapshots.write`."""
  fields = vars(state)
  snapshots.write(
    path,
    {name: fields[name] for name in _ARRAYS},
    identity=identity,
    progress={k: v for k, v in fields.items() if k not in _ARRAYS},
  )


def load(
  path: pathlib.Path, identity: Mapping[str, Any]
) -> StreamClusters | None:
  """Loads a state, None without a file; see `snapshots.read`."""
  snapshot = snapshots.read(path, identity=identity)
  return snapshot and StreamClusters(**snapshot[0], **snapshot[1])
