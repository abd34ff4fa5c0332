"""Batches of captioned clips, to train joint embeddings."""

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
from v2meow_jax.files import paths

Row = Mapping[str, np.ndarray]
_MOST_IDS = 5


class _Captioned(abc.ABC):
  """Shuffled batches of one split of a manifest.

  Batch k depends on seed and k alone, so training resumes at any step.
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
    bare = [clip.id for clip in clips if not clip.caption]
    if bare:
      raise ValueError(
        f'{len(bare)} clips of split {split!r} in {manifest} have no'
        f' caption: {bare[:_MOST_IDS]}; give each a "caption".'
      )
    if not 1 <= batch_size <= len(clips):
      raise ValueError(
        f'split {split!r} of {manifest} has {len(clips)} clips for batches of'
        f' {batch_size}; give more clips or a batch_size from 1 to'
        f' {len(clips)}.'
      )
    self._clips = clips
    self._split = split
    self._batch_size = batch_size
    self._seed = seed
    self._epochs = order.Epochs(len(clips), seed)

  def __len__(self) -> int:
    """Counts the clips of the split."""
    return len(self._clips)

  def describe(self) -> dict[str, Any]:
    """Describes what determines the order of the examples, as JSON data."""
    return {
      'clips_sha256': manifests.digest(self._clips),
      'split': self._split,
      'seed': self._seed,
      'batch_size': self._batch_size,
    }

  def __call__(
    self, start_step: int = 0, shard: tuple[int, int] = (0, 1)
  ) -> Iterator[dict[str, np.ndarray]]:
    """Iterates over {name: array[rows, ...]} without end.

    An epoch is whole batches without a clip twice, so that no clip is its own
    negative; each epoch leaves out other clips.

    Args:
      start_step: Step of the first batch.
      shard: Slice of `order.shard_rows`.
    """
    rows = order.shard_rows(self._batch_size, shard)
    return map(
      functools.partial(self._batch, rows), itertools.count(start_step)
    )

  def _numbers(self, rows: range, step: int) -> np.ndarray:
    """Returns numbers of the clips in some rows of the batch of a step."""
    epoch, number = divmod(step, len(self) // self._batch_size)
    first = epoch * len(self) + number * self._batch_size
    return self._epochs(first + np.array(rows))

  @abc.abstractmethod
  def _batch(self, rows: range, step: int) -> dict[str, np.ndarray]:
    """Returns some rows of the batch of a step."""


class CaptionBatches(_Captioned):
  """Batches of whole clips; reads each once and keeps features in memory."""

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
      manifest: Manifest for `manifests.read`, with captions in the split.
      batch_size: Number of clips in a batch, at most those of the split.
      seed: Seed of the order.
      split: Split of the manifest to use.
      read: Function from a clip's path to its music.
      features: Function from music and caption to one row of each array.

    Raises:
      ValueError: The manifest is malformed, a clip has no caption, or the split
        has fewer clips than a batch.
    """
    super().__init__(manifest, batch_size=batch_size, seed=seed, split=split)
    rows = [
      features(read(paths.path(c.path)), c.caption or '') for c in self._clips
    ]
    self.arrays = {name: np.stack([r[name] for r in rows]) for name in rows[0]}

  def _batch(self, rows: range, step: int) -> dict[str, np.ndarray]:
    numbers = self._numbers(rows, step)
    return {name: x[numbers] for name, x in self.arrays.items()}


class CaptionCrops(_Captioned):
  """Batches of crops, new ones in every epoch, read when needed."""

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
      manifest: Manifest for `manifests.read`, with captions in the split.
      batch_size: Number of clips in a batch, at most those of the split.
      seed: Seed of the order and of the crops.
      split: Split of the manifest to use.
      crop_seconds: Duration of a crop; shorter clips are used whole.
      read: Function from a clip's path to its music.
      features: Function from crop and caption to one row of each array.
      num_threads: Number of threads that read and compute features.

    Raises:
      ValueError: `CaptionBatches` would raise it.
    """
    super().__init__(manifest, batch_size=batch_size, seed=seed, split=split)
    self._crop_seconds = crop_seconds
    self._read = read
    self._features = features
    self._threads = futures.ThreadPoolExecutor(num_threads)

  def describe(self) -> dict[str, Any]:
    """Describes what determines the order of the examples, as JSON data."""
    return {**super().describe(), 'crop_seconds': self._crop_seconds}

  def _batch(self, rows: range, step: int) -> dict[str, np.ndarray]:
    # Draws for all rows, so that a row does not depend on the slice.
    rng = np.random.default_rng([self._seed, step])
    places = rng.random(self._batch_size)[rows]
    clips = [self._clips[i] for i in self._numbers(rows, step)]
    features = list(self._threads.map(self._row, clips, places))
    return {k: np.stack([f[k] for f in features]) for k in features[0]}

  def _row(self, clip: manifests.ManifestClip, place: float) -> Row:
    audio = self._read(paths.path(clip.path))
    length = round(self._crop_seconds * audio.rate_hz)
    start = int(place * (max(0, len(audio.samples) - length) + 1))
    crop = media.Audio(
      samples=audio.samples[start : start + length], rate_hz=audio.rate_hz
    )
    return self._features(crop, clip.caption or '')
