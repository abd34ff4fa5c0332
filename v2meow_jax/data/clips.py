"""Batches of captioned clips: what the style embedding is trained on."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
import json
import pathlib
from typing import Any

import numpy as np

Row = Mapping[str, np.ndarray]


class CaptionBatches:
  """Shuffled batches of one split of a manifest, as `batches(start_step)`.

  A manifest is a file of JSON lines, each with 'path' (relative to the
  manifest), 'caption' and 'split'. Every clip is read once; its features stay
  in memory. Batch k depends on the seed and k alone, so that a run resumes
  with `batches(step)`.
  """

  def __init__(
    self,
    manifest: str | pathlib.Path,
    *,
    batch_size: int,
    seed: int,
    split: str,
    read: Callable[[pathlib.Path], Any],
    features: Callable[[Any, str], Row],
  ):
    """Reads the split.

    Args:
      manifest: Path of the JSON lines.
      batch_size: Clips in a batch, at most those of the split.
      seed: Of the order.
      split: Which clips.
      read: From a clip's path to its music.
      features: From a clip's music and caption to one row of each array.

    Raises:
      ValueError: A line is not what is described above, or the split has fewer
        clips than a batch.
    """
    self._seed = seed
    self._batch_size = batch_size
    manifest = pathlib.Path(manifest)
    rows = [
      features(read(manifest.parent / clip['path']), clip['caption'])
      for clip in _clips(manifest)
      if clip['split'] == split
    ]
    if batch_size < 1 or len(rows) < batch_size:
      raise ValueError(
        f'split {split!r} of {manifest} has {len(rows)} clips for batches of'
        f' {batch_size}; give more clips or a batch_size from 1 to'
        f' {len(rows)}.'
      )
    self.arrays = {name: np.stack([r[name] for r in rows]) for name in rows[0]}

  def __len__(self) -> int:
    """Clips in the split."""
    return len(next(iter(self.arrays.values())))

  def __call__(self, start_step: int) -> Iterator[dict[str, np.ndarray]]:
    """Endless batches from `start_step` on; no clip twice in an epoch."""
    per_epoch = len(self) // self._batch_size
    step = start_step
    while True:
      epoch, position = divmod(step, per_epoch)
      order = np.random.default_rng([self._seed, epoch]).permutation(len(self))
      first = position * self._batch_size
      chosen = order[first : first + self._batch_size]
      yield {name: x[chosen] for name, x in self.arrays.items()}
      step += 1


def _clips(manifest: pathlib.Path) -> Iterator[dict[str, str]]:
  """The lines of a manifest, checked."""
  with manifest.open(encoding='utf-8') as lines:
    for number, line in enumerate(lines, 1):
      if not line.strip():
        continue
      try:
        clip = json.loads(line)
        missing = {'path', 'caption', 'split'} - set(clip)
      except (ValueError, TypeError) as error:
        raise ValueError(
          f'{manifest}, line {number} is not a JSON object: {error}.'
        ) from error
      if missing:
        raise ValueError(
          f'{manifest}, line {number} lacks {sorted(missing)}; every clip'
          " needs 'path', 'caption' and 'split'."
        )
      yield clip
