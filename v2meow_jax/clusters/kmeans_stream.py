"""Mini-batch k-means, for rows that do not fit into memory.

Web-scale k-means of Sculley 2010 (Algorithm 1,
https://doi.org/10.1145/1772690.1772862): every row of a batch finds its nearest
centroid, then each centroid moves towards its rows at a rate of one over the
rows it has had. All rows of a batch at once, that is the mean of all rows that
a centroid has had:

  c <- c + n / (N + n) (m - c),

for n rows of mean m after N earlier ones. Ours: N begins anew with each pass,
which forgets where the centroids started, and centroids of little use are moved
to rows that are far from theirs.
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

# blocks(epoch, position) gives blocks of rows, float32[n, dim], each with the
# position behind it, > 0: what a later call needs to go on from there. From
# position 0 it gives a whole pass; equal arguments give equal blocks.
Blocks = Callable[[int, int], Iterable[tuple[np.ndarray, int]]]

# ours: a start from so many rows a cluster is as good as from all of them.
_STARTING_ROWS = 16
# ours: use is looked at after so many rows a cluster, and less than this share
# of an equal one, here a row or none, is too little. More would take centroids
# away from what is rare: of a tenth of an equal share, one look in two thousand
# sees so little.
_WINDOW_ROWS = 100
_LEAST_SHARE = 0.02


@dataclasses.dataclass(frozen=True, kw_only=True)
class State:
  """Clusters of the rows so far.

  Attributes:
    centroids: float64[k, dim].
    counts: int64[k], rows of this pass that each centroid is the mean of.
    recent: int64[k], rows of each since low use was last looked at.
    epoch: Passes that are done.
    position: In the pass that follows, see `Blocks`.
    step: Batches so far, of all passes.
    repaired: Centroids that were moved for their low use, of all passes.
    num_rows: Of this pass.
    inertia: Sum over the rows of this pass of the squared distance to their
      centroid, before it moved towards them: of rows that this pass had not
      seen.
    moved: Root mean square of how far the centroids went in the last batch.
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

  def next_pass(self) -> State:
    """The state in which a pass begins."""
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
  on_batch: Callable[[State], None] = lambda state: None,
) -> State:
  """Clusters rows that come block by block, several times over.

  The result follows from the blocks, the seed and the number of devices. With a
  `state_file`, a run that was interrupted goes on from there and ends, to the
  bit, where it would have ended.

  Args:
    blocks: Where rows come from; the first block holds k rows or more.
    k: Clusters.
    seed: Of the start and of the repairs.
    num_passes: Over all blocks.
    batch_rows: After which the centroids move; of many rows a cluster the
      steps are steadier, of few they are more.
    init: See `kmeans.start`; from rows of the first block.
    state_file: A safetensors file to go on from and to keep the state in.
    save_every: Blocks from one save to the next; a pass ends with one.
    context: JSON data of what else must be the same in a run that goes on,
      such as the origin of the rows.
    on_batch: Called with the state after each batch.

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


def update(state: State, rows: np.ndarray, *, seed: int) -> State:
  """One batch: float[n, dim] rows move the centroids.

  Raises:
    ValueError: Rows are of another width, or not finite.
  """
  k, dim = state.centroids.shape
  if rows.shape[1] != dim:
    raise ValueError(
      f'rows are of {rows.shape[1]} numbers, the centroids of {dim}; cluster'
      ' rows of one kind, and go on from their own state.'
    )
  if not np.isfinite(rows).all():
    raise ValueError(
      f'rows of batch {state.step} hold NaN or infinity; k-means needs finite'
      ' numbers.'
    )
  found = kmeans_assign.tally(rows, state.centroids)
  counts = state.counts + found.counts
  rate = found.counts / np.maximum(counts, 1)
  means = found.sums / np.maximum(found.counts, 1)[:, None]
  centroids = state.centroids + rate[:, None] * (means - state.centroids)
  recent = state.recent + found.counts
  repaired = state.repaired
  if recent.sum() >= _WINDOW_ROWS * k:
    low = np.flatnonzero(recent < _LEAST_SHARE * recent.sum() / k)
    if len(low) and found.distance.any():
      rng = jax.random.fold_in(jax.random.key(seed), state.step)
      centroids[low] = rows[kmeans.draw(found.distance, len(low), rng)]
      # It is the mean of this one row.
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
    inertia=state.inertia + float(found.distance.sum(dtype=np.float64)),
    moved=kmeans.distance_moved(state.centroids, centroids),
  )


def _start(rows: np.ndarray, k: int, *, seed: int, init: str) -> State:
  """Centroids from rows of the first block."""
  chosen = np.random.default_rng(seed).permutation(len(rows))
  rows = np.asarray(rows[chosen[: _STARTING_ROWS * k]], np.float32)
  # The keys of repairs are this one folded with a step.
  rng = jax.random.split(jax.random.key(seed))[0]
  centroids = kmeans.start(rows, k, rng=rng, init=init)
  return State(
    centroids=centroids.astype(np.float64),
    counts=np.zeros(k, np.int64),
    recent=np.zeros(k, np.int64),
  )


_ARRAYS = ('centroids', 'counts', 'recent')


def save(path: pathlib.Path, state: State, identity: Mapping[str, Any]) -> None:
  """Keeps a state, see `snapshots.write`."""
  fields = vars(state)
  snapshots.write(
    path,
    {name: fields[name] for name in _ARRAYS},
    identity=identity,
    progress={k: v for k, v in fields.items() if k not in _ARRAYS},
  )


def load(path: pathlib.Path, identity: Mapping[str, Any]) -> State | None:
  """The state of a file, None where there is none; see `snapshots.read`."""
  found = snapshots.read(path, identity=identity)
  return None if found is None else State(**found[0], **found[1])
