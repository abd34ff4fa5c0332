"""Batches of random crops of music, to train a codec; without TensorFlow."""

import collections
from collections.abc import Callable
from collections.abc import Iterator
import dataclasses
import functools
import itertools
import pathlib
from typing import Any

from jaxtyping import Float
import numpy as np

from v2meow_jax import media
from v2meow_jax import specs
from v2meow_jax.data import order
from v2meow_jax.files import manifests
from v2meow_jax.files import paths

Batch = dict[str, np.ndarray]
_INT16_SCALE = 32767.0


@dataclasses.dataclass(kw_only=True)
class WaveformBatches:
  """Batches of crops from the files of a manifest.

  Batch k depends on seed and k alone, so training resumes at any step.

  Attributes:
    manifest: Manifest of clips, for `manifests.read`.
    batch_size: Number of crops in a batch.
    crop_seconds: Duration of a crop; silence pads shorter files.
    seed: Seed of the choice of files and crops.
    read: Function from a path to its whole audio, at `rate_hz`.
    rate_hz: Sample rate.
    split: Split of the manifest to use.
    max_cache_bytes: Memory for decoded files, int16; the least recently used
      leave first.
  """

  manifest: str | pathlib.Path
  batch_size: int
  crop_seconds: float
  seed: int
  read: Callable[[pathlib.Path], media.Audio]
  rate_hz: int = 16_000
  split: str = 'train'
  max_cache_bytes: int = 2**30

  def __post_init__(self):
    clips = manifests.read(self.manifest, self.split)
    self._clips_digest = manifests.digest(clips)
    self._paths = [paths.path(clip.path) for clip in clips]
    self._crop_samples = specs.whole_frames(
      'waveform', self.crop_seconds, self.rate_hz
    )
    self._cache = _AudioCache(self._load, self.max_cache_bytes)

  def describe(self) -> dict[str, Any]:
    """Describes what determines the order of the examples, as JSON data."""
    return {
      'clips_sha256': self._clips_digest,
      'split': self.split,
      'seed': self.seed,
      'batch_size': self.batch_size,
      'crop_seconds': self.crop_seconds,
    }

  def __call__(
    self, start_step: int = 0, shard: tuple[int, int] = (0, 1)
  ) -> Iterator[Batch]:
    """Iterates over {'waveform': float32[rows, samples]} without end.

    Args:
      start_step: Step of the first batch.
      shard: Slice of `order.shard_rows`; only files of its rows are read.
    """
    rows = order.shard_rows(self.batch_size, shard)
    return map(functools.partial(self._rows, rows), itertools.count(start_step))

  def batch(self, step: int) -> Batch:
    """Returns the whole batch of a step."""
    return self._rows(range(self.batch_size), step)

  def _rows(self, rows: range, step: int) -> Batch:
    # Draws for all rows, so that a row does not depend on the slice.
    rng = np.random.default_rng([self.seed, step])
    files = rng.integers(len(self._paths), size=self.batch_size)
    places = rng.random(self.batch_size)
    crops = [
      _crop(self._cache.get(int(files[r])), self._crop_samples, places[r])
      for r in rows
    ]
    return {'waveform': np.stack(crops)}

  def _load(self, index: int) -> np.ndarray:
    path = self._paths[index]
    audio = self.read(path)
    if audio.rate_hz != self.rate_hz:
      raise ValueError(
        f'{path} was read at {audio.rate_hz} Hz, wanted {self.rate_hz} Hz;'
        ' pass a `read` that resamples.'
      )
    scaled = np.clip(audio.samples, -1, 1) * _INT16_SCALE
    return np.round(scaled).astype(np.int16)


class _AudioCache:
  """Caches decoded files by index, within a budget of bytes."""

  def __init__(self, load: Callable[[int], np.ndarray], max_bytes: int):
    self._load = load
    self._max_bytes = max_bytes
    self._items: collections.OrderedDict[int, np.ndarray] = (
      collections.OrderedDict()
    )
    self._num_bytes = 0

  def get(self, index: int) -> np.ndarray:
    if index in self._items:
      self._items.move_to_end(index)
      return self._items[index]
    item = self._items[index] = self._load(index)
    self._num_bytes += item.nbytes
    while self._num_bytes > self._max_bytes and len(self._items) > 1:
      self._num_bytes -= self._items.popitem(last=False)[1].nbytes
    return item


def _crop(
  samples: np.ndarray, num_samples: int, place: float
) -> Float[np.ndarray, 'num_samples']:
  """Cuts a crop; `place`, in [0, 1), chooses among the possible starts."""
  start = int(place * (max(0, len(samples) - num_samples) + 1))
  crop = samples[start : start + num_samples].astype(np.float32) / _INT16_SCALE
  return np.pad(crop, (0, num_samples - len(crop)))
