"""The sound that a film has, on one or two channels."""

# PyAV's stubs make optional what a stream that decodes always has.
# pyright: reportCallIssue=false, reportArgumentType=false

from collections.abc import Iterator
import dataclasses
import itertools

import av
import numpy as np

from v2meow_jax.files import probe
from v2meow_jax.files import read
from v2meow_jax.files.films import sounds

# Side that a channel is on, by the last letter of its name; others are on both,
# 3 dB lower, and so is what stands beside or behind (ITU-R BS.775-3, annex 4).
_SIDES = {'L': 0, 'R': 1}
_FRONT = ('FL', 'FR')
_LOWER = 2**-0.5
# Channels of files that do not name them, by their number (SMPTE's order).
_USUAL = {
  2: ('FL', 'FR'),
  6: ('FL', 'FR', 'FC', 'LFE', 'BL', 'BR'),
  8: ('FL', 'FR', 'FC', 'LFE', 'BL', 'BR', 'SL', 'SR'),
}
_UNNAMED = 'NONE'


@dataclasses.dataclass(frozen=True)
class OwnSound:
  """The first sound track of a film, from its first picture to its last.

  Attributes:
    film: Description of the film.
    rate_hz: Sample rate, in Hz.
    num_channels: Number of channels: 1, the mean of those of the film, or 2.
  """

  film: probe.MediaInfo
  rate_hz: int
  num_channels: int

  def __post_init__(self):
    if not self.film.has_audio:
      raise probe.UnsupportedMedia(
        f'{self.film.path}: no audio track, of which sound could be kept.'
      )

  @property
  def has_equal_channels(self) -> bool:
    """Whether every channel is known to be the same."""
    return self.num_channels == 1

  @property
  def num_samples(self) -> int:
    """Number of samples of each channel, as many as the film is long."""
    return round(self.film.seconds * self.rate_hz)

  def pieces(self) -> Iterator[np.ndarray]:
    """See `media.Sound`; silence where the track is shorter than the film."""
    return sounds.fitted(self._resampled(), self.num_channels, self.num_samples)

  def _resampled(self) -> Iterator[np.ndarray]:
    mixed = _sides if self.num_channels == 2 else None
    parts = read.placed_sound(self.film, mixed=mixed)
    first = next(parts, None)
    if first is None:
      return
    rate_hz = first[0]
    pieces = (self._channels(c) for _, c in itertools.chain([first], parts))
    yield from sounds.resampled(
      pieces, rate_hz, self.rate_hz, self.num_channels
    )

  def _channels(self, channels: np.ndarray) -> np.ndarray:
    """As many as are wanted: float32[num_channels, samples]."""
    if self.num_channels == 1:
      channels = channels.mean(axis=0, dtype=np.float64, keepdims=True)
    shape = (self.num_channels, channels.shape[1])
    return np.broadcast_to(channels, shape).astype(np.float32)


def _sides(frame: av.AudioFrame) -> np.ndarray:
  """Left and right of a decoded frame: float[2, samples]."""
  samples = read.channels(frame)
  names = [channel.name for channel in frame.layout.channels]
  if _UNNAMED in names:
    names = _USUAL.get(len(names), ())
  if len(names) < 2:
    return np.repeat(samples.mean(axis=0, keepdims=True), 2, axis=0)
  weights = np.zeros((2, len(names)))
  for i, name in enumerate(names):
    if name in read.LOW_FREQUENCY:
      continue
    sides = [_SIDES[name[-1]]] if name[-1] in _SIDES else [0, 1]
    weights[sides, i] = 1.0 if name in _FRONT else _LOWER
  return weights @ samples
