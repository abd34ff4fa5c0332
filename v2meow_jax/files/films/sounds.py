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


def fitted(
  pieces: Iterable[np.ndarray], num_channels: int, num_samples: int
) -> Iterator[np.ndarray]:
  """The same samples, cut at their end or continued with silence."""
  left = num_samples
  for piece in pieces:
    piece = piece[:, :left]
    left -= piece.shape[1]
    yield piece
    if not left:
      return
  while left:
    size = min(left, media.PIECE_SAMPLES)
    left -= size
    yield np.zeros((num_channels, size), np.float32)


def resampled(
  pieces: Iterable[np.ndarray], rate_hz: int, wanted_hz: int, num_channels: int
) -> Iterator[np.ndarray]:
  """Samples at another rate, by soxr at high quality.

  There may be one more or less at the end than the rates ask for.
  """
  resampler = soxr.ResampleStream(
    rate_hz, wanted_hz, num_channels, quality='HQ'
  )
  for piece in pieces:
    yield resampler.resample_chunk(np.ascontiguousarray(piece.T)).T
  nothing = np.zeros((0, num_channels), np.float32)
  yield resampler.resample_chunk(nothing, last=True).T


@dataclasses.dataclass(frozen=True)
class Derived:
  """A sound made of another; of its rate, channels and length unless it says.

  Attributes:
    sound: Sound that it is made of.
  """

  sound: media.Sound

  @property
  def rate_hz(self) -> int:
    """Sample rate, in Hz."""
    return self.sound.rate_hz

  @property
  def num_channels(self) -> int:
    """Number of channels."""
    return self.sound.num_channels

  @property
  def has_equal_channels(self) -> bool:
    """Whether every channel is known to be the same."""
    return self.sound.has_equal_channels

  @property
  def num_samples(self) -> int:
    """Number of samples of each channel."""
    return self.sound.num_samples

  def pieces(self) -> Iterator[np.ndarray]:
    """See `media.Sound`."""
    return self.sound.pieces()


@dataclasses.dataclass(frozen=True)
class Fitted(Derived):
  """A sound of another length: cut at its end, or continued with silence.

  Attributes:
    length: Number of samples of each channel.
  """

  length: int

  @property
  def num_samples(self) -> int:
    """Number of samples of each channel."""
    return self.length

  def pieces(self) -> Iterator[np.ndarray]:
    """See `media.Sound`."""
    return fitted(self.sound.pieces(), self.num_channels, self.length)


@dataclasses.dataclass(frozen=True)
class Resampled(Derived):
  """A sound at another rate.

  Attributes:
    wanted_hz: Sample rate, in Hz.
  """

  wanted_hz: int

  @property
  def rate_hz(self) -> int:
    """Sample rate, in Hz."""
    return self.wanted_hz

  @property
  def num_samples(self) -> int:
    """Number of samples of each channel."""
    ratio = fractions.Fraction(self.wanted_hz, self.sound.rate_hz)
    return round(self.sound.num_samples * ratio)

  def pieces(self) -> Iterator[np.ndarray]:
    """See `media.Sound`."""
    source_hz, num_channels = self.sound.rate_hz, self.num_channels
    if source_hz == self.wanted_hz:
      return self.sound.pieces()
    pieces = resampled(
      self.sound.pieces(), source_hz, self.wanted_hz, num_channels
    )
    return fitted(pieces, num_channels, self.num_samples)
