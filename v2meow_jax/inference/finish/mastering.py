"""Brings a sound to a loudness, and keeps its true peak below a ceiling.

The limiter looks ahead: it knows the true peak of every 5 ms before it turns
anything down, and does so by as little as keeps each of them below the ceiling,
falling by 1 dB a millisecond at most and rising by 40 dB a second.
"""

from collections.abc import Iterator
import dataclasses
import functools
import math

import numpy as np

from v2meow_jax import media
from v2meow_jax.files.films import sounds
from v2meow_jax.inference.finish import levels as levels_lib

CEILING_DB = -1.0
# The limiter takes off so much at most; a target that wants more is missed.
MOST_REDUCTION_DB = 12.0
# ours: and by so much where nobody asked; more is heard to pump after each hit.
GENTLE_REDUCTION_DB = 6.0
# ours: a gain that moves between samples may lift a peak between them by less.
_MARGIN_DB = 0.1
_ATTACK_DB = 1000.0 / levels_lib.HOPS_HZ  # For each hop.
_RELEASE_DB = 40.0 / levels_lib.HOPS_HZ
_TOLERANCE_LU = 0.01
_MOST_TRIES = 20


@dataclasses.dataclass(frozen=True, kw_only=True)
class Mastering:
  """Gain of a sound, and what the limiter takes off.

  Attributes:
    levels: Levels of the sound.
    gain_db: Gain of the whole, in decibels.
    limited_db: Most that the limiter takes off, in decibels.
    why: Reason why the target is missed; None: it is not.
  """

  levels: levels_lib.Levels
  gain_db: float
  limited_db: float
  why: str | None = None

  @property
  def is_nothing(self) -> bool:
    """Whether it leaves every sample as it is."""
    return self.gain_db == 0 and self.limited_db == 0

  def reductions_db(self, first: int, stop: int) -> np.ndarray:
    """Decibels that the limiter takes off at borders of hops, float64[n].

    Args:
      first: Number of the first hop before which there is such a border; gains
        are linear between borders.
      stop: Number after that of the last; the border after the last hop has the
        number of hops.
    """
    if not self.limited_db:
      return np.zeros(stop - first)
    return _reductions(self.levels, self.gain_db, first, stop)


def plan(
  levels: levels_lib.Levels,
  target_lufs: float | None = None,
  most_reduction_db: float = MOST_REDUCTION_DB,
  gain_db: float | None = None,
) -> Mastering:
  """The mastering that brings a sound to a loudness.

  Args:
    levels: Levels of the sound.
    target_lufs: Integrated loudness to reach, in LUFS; None: as it is, with the
      limiter alone.
    most_reduction_db: Most that the limiter may take off for the target, in
      decibels.
    gain_db: Gain to take, whatever it leads to, in decibels; None: that for the
      target.

  Returns:
    The gains; those of a sound without loudness only limit.
  """
  if gain_db is not None:
    return _mastering(levels, gain_db, None)
  before = None if target_lufs is None else levels.loudness()
  if target_lufs is None or before is None:
    why = None
    if target_lufs is not None:
      why = 'no part of it is above -70 LUFS'
      if levels.num_samples < levels_lib.SHORTEST_SECONDS * levels.rate_hz:
        why = 'it is shorter than 0.4 s, the block of EBU R128'
    return _mastering(levels, 0.0, why)
  most = _ceiling() - levels.true_peak_db + most_reduction_db
  gain, missing = 0.0, target_lufs - before
  for _ in range(_MOST_TRIES):
    gain = min(gain + missing, most)
    reached = levels.loudness(functools.partial(_gains, levels, gain))
    if reached is None:
      break
    missing = target_lufs - reached
    if abs(missing) < _TOLERANCE_LU or (gain == most and missing > 0):
      break
  why = None
  if gain == most and missing > _TOLERANCE_LU:
    why = (
      f'its peaks are so far above its loudness that the limiter would take off'
      f' more than {most_reduction_db:g} dB'
    )
  return _mastering(levels, gain, why)


def _ceiling() -> float:
  return CEILING_DB - _MARGIN_DB


def _mastering(
  levels: levels_lib.Levels, gain_db: float, why: str | None
) -> Mastering:
  limited = max(0.0, levels.true_peak_db + gain_db - _ceiling())
  return Mastering(levels=levels, gain_db=gain_db, limited_db=limited, why=why)


def _gains(
  levels: levels_lib.Levels, gain_db: float, first: int, stop: int
) -> np.ndarray:
  """Factors of hops, with what the limiter takes off in their middle."""
  taken = _reductions(levels, gain_db, first, stop + 1)
  return 10 ** ((gain_db - (taken[1:] + taken[:-1]) / 2) / 20)


def _reductions(
  levels: levels_lib.Levels, gain_db: float, first: int, stop: int
) -> np.ndarray:
  """What the limiter takes off at some borders of hops, in decibels."""
  most = levels.true_peak_db + gain_db - _ceiling()
  # What a film of hours has most of is silence for the limiter.
  if most <= 0:
    return np.zeros(stop - first)
  # Peaks farther away than these do not reach the borders.
  low = max(0, first - math.ceil(most / _RELEASE_DB) - 1)
  high = min(levels.num_hops, stop + math.ceil(most / _ATTACK_DB) + 1)
  peaks = levels.peaks[low:high].astype(np.float64)
  media.release(levels.peaks)
  over = 20 * np.log10(np.maximum(peaks, 1e-9)) + (gain_db - _ceiling())
  over = np.maximum(over, 0.0)
  # At both borders of a hop, so that a line between them is enough inside.
  nodes = np.concatenate([over, [0.0]])
  np.maximum(nodes[1:], over, out=nodes[1:])
  slope = _RELEASE_DB * np.arange(len(nodes))
  after = np.maximum.accumulate(nodes + slope) - slope
  slope *= _ATTACK_DB / _RELEASE_DB
  before = np.maximum.accumulate(nodes[::-1] + slope) - slope
  reductions = np.maximum(np.maximum(after, before[::-1]), 0.0)
  return reductions[first - low : stop - low]


@dataclasses.dataclass(frozen=True)
class Mastered(sounds.Derived):
  """A sound with its mastering.

  Attributes:
    mastering: Gains for it.
  """

  mastering: Mastering

  def pieces(self) -> Iterator[np.ndarray]:
    """See `media.Sound`."""
    if self.mastering.is_nothing:
      yield from self.sound.pieces()
      return
    gain = np.float32(10 ** (self.mastering.gain_db / 20))
    rate_hz, num_hops = self.rate_hz, self.mastering.levels.num_hops
    start = 0
    for piece in self.sound.pieces():
      stop = start + piece.shape[1]
      low = start * levels_lib.HOPS_HZ // rate_hz
      high = min(levels_lib.num_hops(stop, rate_hz) + 2, num_hops + 1)
      some = self.mastering.reductions_db(low, high)
      piece = piece * gain
      if some.any():
        borders = levels_lib.edge(np.arange(low, high), rate_hz)
        decibels = np.interp(np.arange(start, stop), borders, some)
        piece *= (10 ** (-decibels / 20)).astype(np.float32)
      yield piece
      start = stop
