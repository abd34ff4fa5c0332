"""How frames are clustered: in mini-batches that go by, or all of them at once.

`token_fitting` is given one of these; recipes choose it and its numbers.
"""

from __future__ import annotations

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
  """`kmeans_stream`: any number of frames, in memory that a block bounds.

  Attributes:
    init: 'k-means++' or 'random', see `kmeans.start`; of the first block.
    batch_rows: After which the centroids move. ours: 8 a cluster, of 1024.
    num_passes: Over all clips, each of which runs the encoder again. ours: one;
      thousands of hours are hundreds of thousands of frames a cluster.
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
  ) -> kmeans_stream.State:
    """Clusters what `blocks` gives.

    Args:
      blocks: See `kmeans_stream.Blocks`.
      k: Clusters.
      seed: Of the start and of what refills empty clusters.
      state_dir: Folder to go on from and to keep the state in.
      save_every: Blocks from one save to the next.
      context: JSON data of what else must be the same in a run that goes on.
      on_inertia: Told, now and then, the mean squared distance so far.

    Returns:
      Clusters, for `kmeans_report`.

    Raises:
      ValueError, snapshots.SnapshotError: As `kmeans_stream.fit`.
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
  """`kmeans`: full iterations over all frames, which wait on a local disk.

  The encoder hears each clip once. A frame of 1024 numbers takes 4 kB of disk:
  an hour at 25 Hz 370 MB.

  Attributes:
    init: 'k-means++' or 'random', see `kmeans.start`.
    num_iterations: At most; it ends when no centroid moves. ours: 50, after
      which little moves.
    start_rows: Frames that are drawn to start from. ours: 16 a cluster, of
      1024; a start from them is as good as from all.
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
    """As `MiniBatch.fit`; what is kept is each block and each iteration."""
    del save_every, on_inertia  # Every block is kept; `kmeans` shows a bar.
    identity = {
      'k': k,
      'seed': seed,
      'init': self.init,
      'start_rows': self.start_rows,
      **context,
    }
    with tempfile.TemporaryDirectory() as folder:
      rows = _gathered(blocks, state_dir or pathlib.Path(folder), context)
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


def _gathered(
  blocks: kmeans_stream.Blocks,
  folder: pathlib.Path,
  identity: Mapping[str, Any],
) -> np.ndarray:
  """float32[n, dim] of one pass, in a file; a pass that was cut goes on."""
  file, state_file = folder / 'rows.float32', folder / 'rows.safetensors'
  kept = snapshots.read(state_file, identity=identity)
  state = kept[1] if kept else {'count': 0, 'dim': 1, 'position': 0}
  whole = 4 * state['count'] * state['dim']
  with file.open('r+b' if kept and file.exists() else 'w+b') as f:
    if f.seek(0, os.SEEK_END) < whole:
      raise snapshots.SnapshotError(
        f'{file} is damaged: it is shorter than the {whole} bytes that'
        f' {state_file.name} tells of; remove both to begin anew.'
      )
    f.truncate(whole)
    f.seek(whole)
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
