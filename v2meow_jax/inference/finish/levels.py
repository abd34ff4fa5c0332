"""Measures loudness and true peak of a sound in one pass over its pieces.

Loudness is that of EBU R128 (ITU-R BS.1770-5), with the filters of pyloudnorm;
the true peak is the largest sample after oversampling four times, as in annex 2.
Both are kept for each 5 ms, so that it can be computed what a gain that changes
with time would make of them.
"""

import dataclasses
import math
from typing import Any

import numpy as np
import soxr

from v2meow_jax import media
from v2meow_jax.files.films import sounds

HOPS_HZ = 200
# Shorter sounds have no block of BS.1770, in seconds, and so no loudness.
SHORTEST_SECONDS = 0.4
_STEP_HOPS = HOPS_HZ // 10  # Blocks overlap by three quarters.
_BLOCK_HOPS = 4 * _STEP_HOPS
_ABSOLUTE_GATE = -70.0
_RELATIVE_GATE = -10.0
_OFFSET = -0.691
_OVERSAMPLING = 4
_QUIETEST = 1e-9
# Pre-filter and RLB filter of BS.1770 for any rate: gain in dB, Q, frequency in
# Hz (De Man 2014, as in pyloudnorm's class of that name).
_FILTERS = (
  (3.99984385397, 0.7071752369554193, 1681.9744509555319, 'high_shelf_DeMan'),
  (0.0, 0.5003270373253953, 38.13547087613982, 'high_pass_DeMan'),
)


def edge(hop: int | np.ndarray, rate_hz: int) -> int | np.ndarray:
  """Number of the first sample of a hop, which lasts 5 ms."""
  return hop * rate_hz // HOPS_HZ


def num_hops(num_samples: int, rate_hz: int) -> int:
  """Number of hops that hold so many samples."""
  return -(-num_samples * HOPS_HZ // rate_hz)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Levels:
  """What was measured of a sound.

  Attributes:
    rate_hz: Sample rate, in Hz.
    num_samples: Number of samples of each channel.
    energies: Sum of the squares of the weighted samples of all channels in each
      hop, float64[hops]; None: only peaks were measured.
    peaks: True peak of each hop, of the loudest channel, float32[hops].
  """

  rate_hz: int
  num_samples: int
  energies: np.ndarray | None
  peaks: np.ndarray

  @property
  def true_peak_db(self) -> float:
    """True peak, in dBTP; -180 for silence."""
    return 20 * math.log10(max(float(self.peaks.max(initial=0.0)), _QUIETEST))

  def loudness(self, gains: np.ndarray | float = 1.0) -> float | None:
    """Integrated loudness, in LUFS, after gains were applied.

    Args:
      gains: Factor of all hops, or of each.

    Returns:
      The loudness; None for a sound that is shorter than 0.4 s, of which no
      block is above -70 LUFS, or of which only peaks were measured.
    """
    seconds = self.num_samples / self.rate_hz
    if self.energies is None or seconds < SHORTEST_SECONDS:
      return None
    # As in pyloudnorm: the last block may reach a little beyond the end.
    count = int(np.round((seconds - SHORTEST_SECONDS) / 0.1)) + 1
    sums = np.concatenate([[0.0], np.cumsum(self.energies * gains**2)])
    starts = np.arange(count) * _STEP_HOPS
    ends = np.minimum(starts + _BLOCK_HOPS, len(sums) - 1)
    block = SHORTEST_SECONDS * self.rate_hz
    powers = np.maximum(sums[ends] - sums[starts], 0.0) / block
    with np.errstate(divide='ignore'):
      blocks = _OFFSET + 10 * np.log10(powers)
    powers = powers[blocks >= _ABSOLUTE_GATE]
    if not len(powers):
      return None
    blocks = blocks[blocks >= _ABSOLUTE_GATE]
    gate = _OFFSET + 10 * math.log10(powers.mean()) + _RELATIVE_GATE
    return _OFFSET + 10 * math.log10(powers[blocks > gate].mean())


class Meter:
  """Measures a sound while its pieces pass."""

  def __init__(
    self, sound: media.Sound, copies: int = 1, *, with_loudness: bool = True
  ):
    """Has measured nothing yet.

    Args:
      sound: Sound to be measured, for its rate and size.
      copies: Number of channels that each of its channels will be played on.
      with_loudness: Whether to measure more than peaks, which takes longer and
        loads SciPy.
    """
    self._sound = sound
    self._copies = copies
    rate_hz, channels = sound.rate_hz, sound.num_channels
    size = num_hops(sound.num_samples, rate_hz)
    self._energies = np.zeros(size) if with_loudness else None
    self._peaks = np.zeros(size, np.float32)
    self._filters = _filters(rate_hz) if with_loudness else []
    self._states = [np.zeros((channels, 2)) for _ in self._filters]
    self._oversampler = soxr.ResampleStream(
      rate_hz, _OVERSAMPLING * rate_hz, channels, quality='HQ'
    )
    self._num_heard = self._num_oversampled = 0

  def add(self, piece: np.ndarray) -> None:
    """Measures the next samples, float32[channels, n]."""
    if not piece.shape[1]:
      return
    if self._energies is not None:
      power = self._copies * np.square(self._weighted(piece)).sum(axis=0)
      self._reduce(np.add, self._energies, power, self._num_heard)
    self._reduce(
      np.maximum, self._peaks, np.abs(piece).max(axis=0), self._num_heard
    )
    self._num_heard += piece.shape[1]
    samples = np.ascontiguousarray(piece.T, np.float32)
    self._add_oversampled(self._oversampler.resample_chunk(samples))

  def _weighted(self, piece: np.ndarray) -> np.ndarray:
    """The samples as an ear weighs them: float64[channels, n]."""
    from scipy import signal  # pylint: disable=g-import-not-at-top

    weighted = piece.astype(np.float64)
    for i, part in enumerate(self._filters):
      weighted, self._states[i] = signal.lfilter(
        part.b, part.a, weighted, zi=self._states[i]
      )
    return weighted

  def levels(self) -> Levels:
    """What was measured, after the last piece; nothing can be added then."""
    nothing = np.zeros((0, self._sound.num_channels), np.float32)
    self._add_oversampled(self._oversampler.resample_chunk(nothing, last=True))
    return Levels(
      rate_hz=self._sound.rate_hz,
      num_samples=self._sound.num_samples,
      energies=self._energies,
      peaks=self._peaks,
    )

  def _add_oversampled(self, samples: np.ndarray) -> None:
    left = _OVERSAMPLING * self._sound.num_samples - self._num_oversampled
    samples = samples[:left]
    if not len(samples):
      return
    peaks = np.abs(samples).max(axis=1)
    first = self._num_oversampled
    self._reduce(np.maximum, self._peaks, peaks, first, _OVERSAMPLING)
    self._num_oversampled += len(samples)

  def _reduce(
    self,
    function: np.ufunc,
    hops: np.ndarray,
    values: np.ndarray,
    first: int,
    factor: int = 1,
  ) -> None:
    """Reduces values from number `first` on into the hops where they fall."""
    rate_hz = self._sound.rate_hz
    low = _hop(first // factor, rate_hz)
    high = _hop((first + len(values) - 1) // factor, rate_hz)
    inner = edge(np.arange(low + 1, high + 1), rate_hz) * factor - first
    reduced = function.reduceat(values, np.concatenate([[0], inner]))
    function(hops[low : high + 1], reduced, out=hops[low : high + 1])


def _filters(rate_hz: int) -> list[Any]:
  """The filters of BS.1770 at a rate."""
  import pyloudnorm  # pylint: disable=g-import-not-at-top

  return [
    pyloudnorm.IIRfilter(gain_db, quality, hertz, rate_hz, kind)
    for gain_db, quality, hertz, kind in _FILTERS
  ]


def _hop(sample: int, rate_hz: int) -> int:
  """Number of the hop that holds a sample."""
  return -(-(sample + 1) * HOPS_HZ // rate_hz) - 1


def measured(
  sound: media.Sound, copies: int = 1, *, with_loudness: bool = True
) -> Levels:
  """Measures a sound; arguments are those of `Meter`."""
  meter = Meter(sound, copies, with_loudness=with_loudness)
  for piece in sounds.rebuffered(sound.pieces()):
    meter.add(piece)
  return meter.levels()
