"""Music in its place in a film, with fades, beside the film's own sound."""

from collections.abc import Iterator
import dataclasses
import itertools

import numpy as np

from v2meow_jax import media
from v2meow_jax.files.films import sounds
from v2meow_jax.inference.finish import ducking as ducking_lib


@dataclasses.dataclass(frozen=True)
class Faded(sounds.Derived):
  """A sound that fades in and out by squared sines.

  Attributes:
    in_seconds: Time of the fade at the start, in seconds; all of the sound where
      it is shorter.
    out_seconds: Time of the fade at the end, in seconds.
  """

  in_seconds: float
  out_seconds: float

  def pieces(self) -> Iterator[np.ndarray]:
    """See `media.Sound`."""
    num = self.num_samples
    rise = min(round(self.in_seconds * self.rate_hz), num)
    fall = min(round(self.out_seconds * self.rate_hz), num)
    start = 0
    for piece in self.sound.pieces():
      stop = start + piece.shape[1]
      places = np.arange(start, stop)
      if start < rise:
        piece = piece * _slope(places / rise)
      if stop > num - fall:
        piece = piece * _slope((num - 1 - places) / fall)
      yield piece
      start = stop


def _slope(shares: np.ndarray) -> np.ndarray:
  """From 0 to 1 as the shares do."""
  angles = np.pi / 2 * np.clip(shares, 0, 1)
  return np.square(np.sin(angles)).astype(np.float32)


@dataclasses.dataclass(frozen=True)
class Placed(sounds.Derived):
  """A sound in a longer silence.

  Attributes:
    first: Number of the sample at which it begins.
    length: Number of samples of the whole.
  """

  first: int
  length: int

  @property
  def num_samples(self) -> int:
    """Number of samples of each channel."""
    return self.length

  def pieces(self) -> Iterator[np.ndarray]:
    """See `media.Sound`."""
    yield from sounds.fitted((), self.num_channels, self.first)
    rest = self.length - self.first
    yield from sounds.fitted(self.sound.pieces(), self.num_channels, rest)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Mix(sounds.Derived):
  """The sound of a film with music over it.

  Attributes:
    music: Music, of one channel, as long, at the same rate.
    own_gain: Factor of the sound of the film.
    ducking: Curve by which the music is down; None: it never is.
  """

  music: media.Sound
  own_gain: float = 1.0
  ducking: ducking_lib.Ducking | None = None

  def pieces(self) -> Iterator[np.ndarray]:
    """See `media.Sound`."""
    own = sounds.rebuffered(self.sound.pieces())
    music = sounds.rebuffered(self.music.pieces())
    starts = itertools.count(0, media.PIECE_SAMPLES)
    for start, heard, under in zip(starts, own, music, strict=False):
      if self.ducking is not None:
        times = np.arange(start, start + under.shape[1]) / self.rate_hz
        decibels = self.ducking.decibels(times)
        under = under * (10 ** (-decibels / 20)).astype(np.float32)
      yield under + np.float32(self.own_gain) * heard
