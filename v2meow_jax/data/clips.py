"""Batches of captioned clips: what the style embedding is trained on."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
import functools
import itertools
import pathlib
from typing import Any

import numpy as np

from v2meow_jax.data import manifests
from v2meow_jax.data import order

Row = Mapping[str, np.ndarray]
_MOST_IDS = 5


class CaptionBatches:
  """Shuffled batches of one split of a manifest, as `batches(start_step)`.

  Every clip is read once; its features stay in memory. Batch k depends on the
  seed and k alone, so that a run resumes with `batches(step)`, and
  `batches(step, (index, count))` gives one process its slice of the rows.
  """

  def __init__(
    self,
    manifest: str | pathlib.Path | Sequence[str | pathlib.Path],
    *,
    batch_size: int,
    seed: int,
    split: str,
    read: Callable[[pathlib.Path], Any],
    features: Callable[[Any, str], Row],
  ):
    """Reads the split.

    Args:
      manifest: See `manifests.read`; every clip of the split has a caption.
      batch_size: Clips in a batch, at most those of the split.
      seed: Of the order.
      split: Which clips.
      read: From a clip's path to its music.
      features: From a clip's music and caption to one row of each array.

    Raises:
      ValueError: The manifest is malformed, a clip has no caption, or the split
        has fewer clips than a batch.
    """
    clips = manifests.read(manifest, split)
    silent = [clip.id for clip in clips if not clip.caption]
    if silent:
      raise ValueError(
        f'{len(silent)} clips of split {split!r} in {manifest} have no'
        f' caption: {silent[:_MOST_IDS]}; give each a "caption".'
      )
    if not 1 <= batch_size <= len(clips):
      raise ValueError(
        f'split {split!r} of {manifest} has {len(clips)} clips for batches of'
        f' {batch_size}; give more clips or a batch_size from 1 to'
        f' {len(clips)}.'
      )
    self._batch_size = batch_size
    self._epochs = order.Epochs(len(clips), seed)
    rows = [features(read(pathlib.Path(c.path)), c.caption) for c in clips]
    self.arrays = {name: np.stack([r[name] for r in rows]) for name in rows[0]}

  def __len__(self) -> int:
    """Clips in the split."""
    return len(next(iter(self.arrays.values())))

  def __call__(
    self, start_step: int = 0, shard: tuple[int, int] = (0, 1)
  ) -> Iterator[dict[str, np.ndarray]]:
    """Endless batches from `start_step` on; no clip twice in an epoch.

    An epoch is whole batches, lest a clip be its own negative where two meet:
    the clips left over stay out of it, others each time.

    Args:
      start_step: Of the first batch.
      shard: See `order.shard_rows`.

    Returns:
      An iterator of {name: array[rows, ...]}.
    """
    rows = order.shard_rows(self._batch_size, shard)
    return map(
      functools.partial(self._batch, rows), itertools.count(start_step)
    )

  def _batch(self, rows: range, step: int) -> dict[str, np.ndarray]:
    epoch, number = divmod(step, len(self) // self._batch_size)
    first = epoch * len(self) + number * self._batch_size
    chosen = self._epochs(first + np.array(rows))
    return {name: x[chosen] for name, x in self.arrays.items()}
