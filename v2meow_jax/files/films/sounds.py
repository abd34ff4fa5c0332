"""Sounds made of sounds, piece by piece: other rates and lengths."""

from collections.abc import Iterable
from collections.abc import Iterator
import dataclasses
import fractions

import numpy as np
import soxr

from v2meow_jax import media


def rebuffered(
  pieces: Iterable[np.ndarray], size: int = media.PIECE_SAMPLES
) -> Iterator[np.ndarray]:
  """The same samples in pieces of one size; the last may be shorter."""
  held, num_held = [], 0
  for piece in pieces:
    while piece.shape[1]:
      taken, piece = np.split(piece, [size - num_held], axis=1)
      held.append(taken)
      num_held += taken.shape[1]
      if num_held == size:
        yield held[0] if len(held) == 1 else np.concatenate(held, axis=1)
        held, num_held = [], 0
  if num_held:
    yield np.concatenate(held, axis=1)


@dataclasses.dataclass(frozen=True)
class Fitted:
  """A sound of another length.

  Attributes:
    sound: Sound to cut at its end, or to continue with silence.
    num_samples: Number of samples.
  """

  sound: media.Sound
  num_samples: int

  @property
  def rate_hz(self) -> int:
    """Sample rate, in Hz."""
    return self.sound.rate_hz

  @property
  def num_channels(self) -> int:
    """Number of channels."""
    return self.sound.num_channels

  def pieces(self) -> Iterator[np.ndarray]:
    """See `media.Sound`."""
    left = self.num_samples
    for piece in self.sound.pieces():
      piece = piece[:, :left]
      left -= piece.shape[1]
      yield piece
      if not left:
        return
    while left:
      size = min(left, media.PIECE_SAMPLES)
      left -= size
      yield np.zeros((self.num_channels, size), np.float32)


@dataclasses.dataclass(frozen=True)
class Resampled:
  """A sound at another rate, by soxr at high quality.

  Attributes:
    sound: Sound to resample.
    rate_hz: Sample rate, in Hz.
  """

  sound: media.Sound
  rate_hz: int

  @property
  def num_channels(self) -> int:
    """Number of channels."""
    return self.sound.num_channels

  @property
  def num_samples(self) -> int:
    """Number of samples."""
    ratio = fractions.Fraction(self.rate_hz, self.sound.rate_hz)
    return round(self.sound.num_samples * ratio)

  def pieces(self) -> Iterator[np.ndarray]:
    """See `media.Sound`."""
    if self.rate_hz == self.sound.rate_hz:
      yield from self.sound.pieces()
      return
    yield from Fitted(_Stretched(self), self.num_samples).pieces()


@dataclasses.dataclass(frozen=True)
class _Stretched:
  """What soxr gives, which may be a sample short or long at the end."""

  of: Resampled

  @property
  def rate_hz(self) -> int:
    return self.of.rate_hz

  @property
  def num_channels(self) -> int:
    return self.of.num_channels

  @property
  def num_samples(self) -> int:
    return self.of.num_samples

  def pieces(self) -> Iterator[np.ndarray]:
    resampler = soxr.ResampleStream(
      self.of.sound.rate_hz, self.rate_hz, self.num_channels, quality='HQ'
    )
    for piece in self.of.sound.pieces():
      yield resampler.resample_chunk(np.ascontiguousarray(piece.T)).T
    nothing = np.zeros((0, self.num_channels), np.float32)
    yield resampler.resample_chunk(nothing, last=True).T
