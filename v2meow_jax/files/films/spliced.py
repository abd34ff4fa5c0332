"""Sounds with a stretch of another in them, piece by piece."""

from collections.abc import Iterator
import dataclasses

import numpy as np

from v2meow_jax import media
from v2meow_jax.files.films import sounds


@dataclasses.dataclass(frozen=True)
class Patched(sounds.Derived):
  """A sound of one channel, some samples of which are replaced.

  Attributes:
    first: Number of the first sample that is replaced.
    samples: Samples in its place, float32[n].
  """

  first: int
  samples: np.ndarray

  def pieces(self) -> Iterator[np.ndarray]:
    """See `media.Sound`."""
    place, stop = 0, self.first + len(self.samples)
    for piece in self.sound.pieces():
      low = max(self.first, place)
      high = min(stop, place + piece.shape[1])
      if low < high:
        piece = piece.copy()
        piece[0, low - place : high - place] = self.samples[
          low - self.first : high - self.first
        ]
      place += piece.shape[1]
      yield piece


@dataclasses.dataclass(frozen=True)
class Spliced(sounds.Derived):
  """A sound with a stretch of another, which fades in and out inside it.

  Every sample outside the stretch is that of the first.

  Attributes:
    other: Sound of the stretch, as long, of equal rate and channels.
    first: Number of the first sample of the stretch.
    stop: Number of the first sample after it.
    fade: Number of samples of a fade.
  """

  other: media.Sound
  first: int
  stop: int
  fade: int

  def pieces(self) -> Iterator[np.ndarray]:
    """See `media.Sound`."""
    place = 0
    for piece, other in zip(
      sounds.rebuffered(self.sound.pieces()),
      sounds.rebuffered(self.other.pieces()),
      strict=True,
    ):
      places = np.arange(place, place + piece.shape[1])
      place += piece.shape[1]
      inside = np.minimum(places - self.first + 1, self.stop - places)
      share = np.clip(inside / (self.fade + 1), 0, 1).astype(np.float32)
      if share.any():
        mixed = piece + share * (other - piece)
        piece = np.where(share == 1, other, np.where(share > 0, mixed, piece))
      yield piece
