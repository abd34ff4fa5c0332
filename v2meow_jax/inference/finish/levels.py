"""Measures loudness and true peak of a sound in one pass over its pieces.

Loudness is that of EBU R128 (ITU-R BS.1770-5), with De Man's filters;
the true peak is the largest sample after oversampling four times, as in annex 2.
Both are kept for each 5 ms, so that it can be computed what a gain that changes
with time would make of them; those of a film lie on a disk, and are looked at in
stretches of seconds.
"""

from collections.abc import Callable
from collections.abc import Iterator
import dataclasses
import math
import os

import numpy as np
import soxr

from v2meow_jax import media
from v2meow_jax.files.films import scratch
from v2meow_jax.files.films import sounds
from v2meow_jax.inference.finish import weighting

HOPS_HZ = 200
# Shorter sounds have no block of BS.1770, in seconds, and so no loudness.
SHORTEST_SECONDS = 0.4
_STEP_HOPS = HOPS_HZ // 10
_BLOCK_STEPS = 4  # Blocks overlap by three quarters.
_STRETCH_HOPS = 200 * _STEP_HOPS
_ABSOLUTE_GATE = -70.0
_RELATIVE_GATE = -10.0
_OFFSET = -0.691
_OVERSAMPLING = 4
_QUIETEST = 1e-9


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
    true_peak: The largest of them; 0 for silence.
  """

  rate_hz: int
  num_samples: int
  energies: np.ndarray | None
  peaks: np.ndarray
  true_peak: float

  @property
  def num_hops(self) -> int:
    """Number of hops."""
    return len(self.peaks)

  @property
  def true_peak_db(self) -> float:
    """True peak, in dBTP; -180 for silence."""
    return 20 * math.log10(max(self.true_peak, _QUIETEST))

  def stretches(self) -> Iterator[tuple[int, int]]:
    """Numbers of the first hop and of that after the last, some seconds at a time."""
    for first in range(0, self.num_hops, _STRETCH_HOPS):
      yield first, min(first + _STRETCH_HOPS, self.num_hops)

  def loudness(
    self, gains: Callable[[int, int], np.ndarray] | None = None
  ) -> float | None:
    """Integrated loudness, in LUFS, after gains were applied.

    Args:
      gains: Function that gives the factors of hops, by the number of the first
        and of that after the last; None: there are none.

    Returns:
      The loudness; None for a sound that is shorter than 0.4 s, of which no
      block is above -70 LUFS, or of which only peaks were measured.
    """
    seconds = self.num_samples / self.rate_hz
    if self.energies is None or seconds < SHORTEST_SECONDS:
      return None
    # As in pyloudnorm: the last block may reach a little beyond the end.
    count = int(np.round((seconds - SHORTEST_SECONDS) / 0.1)) + 1
    steps = self._step_energies(gains)
    steps = np.pad(steps, (0, max(0, count + _BLOCK_STEPS - len(steps))))
    blocks = np.lib.stride_tricks.sliding_window_view(steps, _BLOCK_STEPS)
    powers = blocks[:count].sum(axis=1) / (SHORTEST_SECONDS * self.rate_hz)
    with np.errstate(divide='ignore'):
      blocks = _OFFSET + 10 * np.log10(powers)
    powers = powers[blocks >= _ABSOLUTE_GATE]
    if not len(powers):
      return None
    blocks = blocks[blocks >= _ABSOLUTE_GATE]
    gate = _OFFSET + 10 * math.log10(powers.mean()) + _RELATIVE_GATE
    return _OFFSET + 10 * math.log10(powers[blocks > gate].mean())

  def _step_energies(
    self, gains: Callable[[int, int], np.ndarray] | None
  ) -> np.ndarray:
    """Energy of each tenth of a second after gains, float64[steps]."""
    assert self.energies is not None
    steps = []
    for low, high in self.stretches():
      some = np.array(self.energies[low:high])
      media.release(self.energies)
      if gains is not None:
        some *= gains(low, high) ** 2
      steps.append(np.add.reduceat(some, np.arange(0, high - low, _STEP_HOPS)))
    return np.concatenate(steps)


class Meter:
  """Measures a sound while its pieces pass."""

  def __init__(
    self,
    sound: media.Sound,
    copies: int = 1,
    *,
    with_loudness: bool = True,
    folder: str | os.PathLike[str] | None = None,
  ):
    """Has measured nothing yet.

    Args:
      sound: Sound to be measured, for its rate and size.
      copies: Number of channels that each of its channels will be played on.
      with_loudness: Whether to measure more than peaks, which takes longer.
      folder: Folder of this machine, on whose disk the levels of a film lie;
        None: in memory.
    """
    self._sound = sound
    self._copies = copies
    rate_hz, channels = sound.rate_hz, sound.num_channels
    size = num_hops(sound.num_samples, rate_hz)
    seconds = sound.num_samples / rate_hz
    make = scratch.room(folder, seconds)
    self._energies = make(size, np.float64) if with_loudness else None
    self._peaks = make(size)
    self._true_peak = 0.0
    self._weighted = weighting.Weighting(rate_hz, channels)
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
    self._add_peaks(np.abs(piece).max(axis=0), self._num_heard)
    self._num_heard += piece.shape[1]
    samples = np.ascontiguousarray(piece.T, np.float32)
    self._add_oversampled(self._oversampler.resample_chunk(samples))

  def levels(self) -> Levels:
    """What was measured, after the last piece; nothing can be added then."""
    nothing = np.zeros((0, self._sound.num_channels), np.float32)
    self._add_oversampled(self._oversampler.resample_chunk(nothing, last=True))
    return Levels(
      rate_hz=self._sound.rate_hz,
      num_samples=self._sound.num_samples,
      energies=self._energies,
      peaks=self._peaks,
      true_peak=self._true_peak,
    )

  def _add_oversampled(self, samples: np.ndarray) -> None:
    left = _OVERSAMPLING * self._sound.num_samples - self._num_oversampled
    samples = samples[:left]
    if not len(samples):
      return
    peaks = np.abs(samples).max(axis=1)
    self._add_peaks(peaks, self._num_oversampled, _OVERSAMPLING)
    self._num_oversampled += len(samples)

  def _add_peaks(self, peaks: np.ndarray, first: int, factor: int = 1) -> None:
    self._true_peak = max(self._true_peak, float(peaks.max()))
    self._reduce(np.maximum, self._peaks, peaks, first, factor)

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
    hops[low : high + 1] = function(hops[low : high + 1], reduced)
    media.release(hops)


def _hop(sample: int, rate_hz: int) -> int:
  """Number of the hop that holds a sample."""
  return -(-(sample + 1) * HOPS_HZ // rate_hz) - 1


def measured(
  sound: media.Sound,
  copies: int = 1,
  *,
  with_loudness: bool = True,
  folder: str | os.PathLike[str] | None = None,
) -> Levels:
  """Measures a sound; arguments are those of `Meter`."""
  meter = Meter(sound, copies, with_loudness=with_loudness, folder=folder)
  for piece in sounds.rebuffered(sound.pieces()):
    meter.add(piece)
  return meter.levels()
