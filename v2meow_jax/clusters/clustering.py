"""Ways to cluster frames, for recipes: in mini-batches, or all of them at once."""

from collections.abc import Callable
from collections.abc import Mapping
import dataclasses
import os
import pathlib
import tempfile
from typing import Any

import jax
import numpy as np

from v2meow_jax.clusters import kmeans
from v2meow_jax.clusters import kmeans_stream
from v2meow_jax.clusters import snapshots


@dataclasses.dataclass(frozen=True, kw_only=True)
class MiniBatch:
  """Clusters any number of frames with `kmeans_stream`, block by block.

  Attributes:
    init: Start of `kmeans.start`, 'k-means++' or 'random', on the first block.
    batch_rows: Number of rows per step. ours: 8 per cluster, of 1024.
    num_passes: Number of passes over all clips, each of which runs the encoder
      again. ours: one; thousands of hours hold hundreds of thousands of frames
      per cluster.
  """

  init: str = 'k-means++'
  batch_rows: int = 8192
  num_passes: int = 1

  def fit(
    self,
    blocks: kmeans_stream.Blocks,
    k: int,
    *,
    seed: int,
    state_dir: pathlib.Path | None,
    save_every: int,
    context: Mapping[str, Any],
    on_inertia: Callable[[float], None],
  ) -> kmeans_stream.StreamClusters:
    """Clusters the rows of blocks.

    Args:
      blocks: Source of rows.
      k: Number of clusters.
      seed: Seed of the start and of the refilling of empty clusters.
      state_dir: Folder of the state, to resume from.
      save_every: Number of blocks between saves.
      context: JSON data that must be equal in a resumed run.
      on_inertia: Callback for the mean squared distance so far.

    Returns:
      Clusters, for `kmeans_report`.

    Raises:
      ValueError, snapshots.SnapshotError: `kmeans_stream.fit` raised it.
    """
    return kmeans_stream.fit(
      blocks,
      k,
      seed=seed,
      num_passes=self.num_passes,
      batch_rows=self.batch_rows,
      init=self.init,
      state_file=state_dir / 'clusters.safetensors' if state_dir else None,
      save_every=save_every,
      context=context,
      on_batch=lambda state: on_inertia(state.inertia / state.num_rows),
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Lloyd:
  """Clusters all frames with `kmeans`, from a file on a local disk.

  The encoder runs once per clip. A frame of 1024 numbers takes 4 kB of disk, an
  hour at 25 Hz 370 MB.

  Attributes:
    init: Start of `kmeans.start`, 'k-means++' or 'random'.
    num_iterations: Largest number of iterations, fewer if no centroid moves.
      ours: 50, after which little moves.
    start_rows: Number of random frames to start from. ours: 16 per cluster, of
      1024; as good a start as from all.
  """

  init: str = 'k-means++'
  num_iterations: int = 50
  start_rows: int = 16_384
  num_passes: int = dataclasses.field(default=1, init=False)

  def fit(
    self,
    blocks: kmeans_stream.Blocks,
    k: int,
    *,
    seed: int,
    state_dir: pathlib.Path | None,
    save_every: int,
    context: Mapping[str, Any],
    on_inertia: Callable[[float], None],
  ) -> kmeans.Clusters:
    """Clusters as `MiniBatch.fit`; saves each block and each iteration."""
    del save_every, on_inertia  # Saves every block; `kmeans` shows a bar.
    identity = {
      'k': k,
      'seed': seed,
      'init': self.init,
      'start_rows': self.start_rows,
      **context,
    }
    with tempfile.TemporaryDirectory() as folder:
      rows = _gather(blocks, state_dir or pathlib.Path(folder), context)
      return kmeans.fit(
        rows,
        k,
        rng=jax.random.key(seed),
        num_iterations=self.num_iterations,
        init=self.init,
        start_rows=self.start_rows,
        show_progress=True,
        state_file=state_dir / 'lloyd.safetensors' if state_dir else None,
        identity=identity,
      )


def _gather(
  blocks: kmeans_stream.Blocks,
  folder: pathlib.Path,
  identity: Mapping[str, Any],
) -> np.ndarray:
  """Collects float32[n, dim] of one pass in a file, resuming an earlier one."""
  file, state_file = folder / 'rows.float32', folder / 'rows.safetensors'
  snapshot = snapshots.read(state_file, identity=identity)
  state = snapshot[1] if snapshot else {'count': 0, 'dim': 1, 'position': 0}
  size = 4 * state['count'] * state['dim']
  with file.open('r+b' if snapshot and file.exists() else 'w+b') as f:
    if f.seek(0, os.SEEK_END) < size:
      raise snapshots.SnapshotError(
        f'{file} is damaged: it is shorter than the {size} bytes of'
        f' {state_file.name}; remove both to start again.'
      )
    f.truncate(size)
    f.seek(size)
    for rows, position in blocks(0, state['position']):
      f.write(np.ascontiguousarray(rows, np.float32))
      f.flush()
      os.fsync(f.fileno())
      state = {
        'count': state['count'] + len(rows),
        'dim': rows.shape[1],
        'position': position,
      }
      snapshots.write(state_file, {}, identity=identity, progress=state)
  if not state['count']:
    raise ValueError('there are no rows to cluster: `blocks` gave no block.')
  shape = state['count'], state['dim']
  return np.memmap(file, np.float32, 'r', shape=shape)
