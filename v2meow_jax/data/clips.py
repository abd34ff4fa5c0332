"""Batches of captioned clips: what joint embeddings are trained on."""

from __future__ import annotations

import abc
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from concurrent import futures
import functools
import itertools
import pathlib
from typing import Any

import numpy as np

from v2meow_jax import media
from v2meow_jax.data import order
from v2meow_jax.files import manifests

Row = Mapping[str, np.ndarray]
_MOST_IDS = 5


class _Captioned(abc.ABC):
  """Shuffled batches of one split of a manifest, as `batches(start_step)`.

  Batch k depends on the seed and k alone, so that a run resumes with
  `batches(step)`, and `batches(step, (index, count))` gives one process its
  slice of the rows.
  """

  def __init__(
    self,
    manifest: str | pathlib.Path | Sequence[str | pathlib.Path],
    *,
    batch_size: int,
    seed: int,
    split: str,
  ):
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
    self._clips = clips
    self._batch_size = batch_size
    self._seed = seed
    self._epochs = order.Epochs(len(clips), seed)

  def __len__(self) -> int:
    """Clips in the split."""
    return len(self._clips)

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

  def _chosen(self, rows: range, step: int) -> np.ndarray:
    """Numbers of the clips in some rows of the batch of a step."""
    epoch, number = divmod(step, len(self) // self._batch_size)
    first = epoch * len(self) + number * self._batch_size
    return self._epochs(first + np.array(rows))

  @abc.abstractmethod
  def _batch(self, rows: range, step: int) -> dict[str, np.ndarray]:
    """Some rows of the batch of a step."""


class CaptionBatches(_Captioned):
  """Batches of whole clips, each read once; their features stay in memory."""

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
    super().__init__(manifest, batch_size=batch_size, seed=seed, split=split)
    rows = [
      features(read(pathlib.Path(c.path)), c.caption or '') for c in self._clips
    ]
    self.arrays = {name: np.stack([r[name] for r in rows]) for name in rows[0]}

  def _batch(self, rows: range, step: int) -> dict[str, np.ndarray]:
    chosen = self._chosen(rows, step)
    return {name: x[chosen] for name, x in self.arrays.items()}


class CaptionCrops(_Captioned):
  """Batches of crops, another of each clip in every epoch, read when needed."""

  def __init__(
    self,
    manifest: str | pathlib.Path | Sequence[str | pathlib.Path],
    *,
    batch_size: int,
    seed: int,
    split: str,
    crop_seconds: float,
    read: Callable[[pathlib.Path], media.Audio],
    features: Callable[[media.Audio, str], Row],
    num_threads: int = 4,
  ):
    """Reads the manifest only.

    Args:
      manifest: See `manifests.read`; every clip of the split has a caption.
      batch_size: Clips in a batch, at most those of the split.
      seed: Of the order and of the crops.
      split: Which clips.
      crop_seconds: How much of a clip's music; of a shorter one all.
      read: From a clip's path to its music.
      features: From a crop and the clip's caption to one row of each array.
      num_threads: That read and compute features side by side.

    Raises:
      ValueError: As `CaptionBatches`.
    """
    super().__init__(manifest, batch_size=batch_size, seed=seed, split=split)
    self._crop_seconds = crop_seconds
    self._read = read
    self._features = features
    self._threads = futures.ThreadPoolExecutor(num_threads)

  def _batch(self, rows: range, step: int) -> dict[str, np.ndarray]:
    # All are drawn, so that a row does not depend on who asks for it.
    rng = np.random.default_rng([self._seed, step])
    places = rng.random(self._batch_size)[rows]
    chosen = [self._clips[i] for i in self._chosen(rows, step)]
    found = list(self._threads.map(self._row, chosen, places))
    return {name: np.stack([r[name] for r in found]) for name in found[0]}

  def _row(self, clip: manifests.Clip, place: float) -> Row:
    audio = self._read(pathlib.Path(clip.path))
    length = round(self._crop_seconds * audio.rate_hz)
    start = int(place * (max(0, len(audio.samples) - length) + 1))
    crop = media.Audio(
      samples=audio.samples[start : start + length], rate_hz=audio.rate_hz
    )
    return self._features(crop, clip.caption or '')
