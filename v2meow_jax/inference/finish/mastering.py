"""Brings a sound to a loudness, and keeps its true peak below a ceiling.

The limiter looks ahead: it knows the true peak of every 5 ms before it turns
anything down, and does so by as little as keeps each of them below the ceiling,
falling by 1 dB a millisecond at most and rising by 40 dB a second.
"""

from collections.abc import Iterator
import dataclasses

import numpy as np

from v2meow_jax.files.films import sounds
from v2meow_jax.inference.finish import levels as levels_lib

CEILING_DB = -1.0
# The limiter takes off so much at most; a target that wants more is missed.
MOST_REDUCTION_DB = 12.0
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
    gain_db: Gain of the whole, in decibels.
    reductions_db: Decibels that the limiter takes off at the border before each
      hop and after the last, float64[hops + 1], linear between borders; empty
      where it takes off nothing.
    why: Reason why the target is missed; None: it is not.
  """

  gain_db: float
  reductions_db: np.ndarray
  why: str | None = None

  @property
  def is_nothing(self) -> bool:
    """Whether it leaves every sample as it is."""
    return self.gain_db == 0 and not self.reductions_db.any()


def plan(
  levels: levels_lib.Levels, target_lufs: float | None = None
) -> Mastering:
  """The mastering that brings a sound to a loudness.

  Args:
    levels: Levels of the sound.
    target_lufs: Integrated loudness to reach, in LUFS; None: as it is, with the
      limiter alone.

  Returns:
    The gains; those of a sound without loudness only limit.
  """
  if target_lufs is None:
    return Mastering(gain_db=0.0, reductions_db=_reductions(levels, 0.0))
  before = levels.loudness()
  if before is None:
    why = 'no part of it is above -70 LUFS'
    if levels.num_samples < levels_lib.SHORTEST_SECONDS * levels.rate_hz:
      why = 'it is shorter than 0.4 s, the block of EBU R128'
    return Mastering(
      gain_db=0.0, reductions_db=_reductions(levels, 0.0), why=why
    )
  most = _ceiling() - levels.true_peak_db + MOST_REDUCTION_DB
  gain, reductions = 0.0, np.zeros(0)
  missing = target_lufs - before
  for _ in range(_MOST_TRIES):
    gain = min(gain + missing, most)
    reductions = _reductions(levels, gain)
    taken = (reductions[1:] + reductions[:-1]) / 2 if len(reductions) else 0.0
    reached = levels.loudness(10 ** ((gain - taken) / 20))
    if reached is None:
      break
    missing = target_lufs - reached
    if abs(missing) < _TOLERANCE_LU or (gain == most and missing > 0):
      break
  why = None
  if gain == most and missing > _TOLERANCE_LU:
    why = (
      f'its peaks are so far above its loudness that the limiter would take off'
      f' more than {MOST_REDUCTION_DB:g} dB'
    )
  return Mastering(gain_db=gain, reductions_db=reductions, why=why)


def _ceiling() -> float:
  return CEILING_DB - _MARGIN_DB


def _reductions(levels: levels_lib.Levels, gain_db: float) -> np.ndarray:
  """What the limiter takes off at each border of hops, in decibels."""
  # What a film of hours has most of is silence for the limiter.
  if levels.true_peak_db + gain_db <= _ceiling():
    return np.zeros(0)
  over = 20 * np.log10(np.maximum(levels.peaks, 1e-9, dtype=np.float64))
  over = np.maximum(over + (gain_db - _ceiling()), 0.0)
  # At both borders of a hop, so that a line between them is enough inside.
  nodes = np.concatenate([over, [0.0]])
  np.maximum(nodes[1:], over, out=nodes[1:])
  slope = _RELEASE_DB * np.arange(len(nodes))
  after = np.maximum.accumulate(nodes + slope) - slope
  slope *= _ATTACK_DB / _RELEASE_DB
  before = np.maximum.accumulate(nodes[::-1] + slope) - slope
  return np.maximum(np.maximum(after, before[::-1]), 0.0)


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
    reductions, rate_hz = self.mastering.reductions_db, self.rate_hz
    start = 0
    for piece in self.sound.pieces():
      stop = start + piece.shape[1]
      low = start * levels_lib.HOPS_HZ // rate_hz
      high = min(levels_lib.num_hops(stop, rate_hz) + 2, len(reductions))
      some = reductions[low:high]
      piece = piece * gain
      if some.any():
        borders = levels_lib.edge(np.arange(low, high), rate_hz)
        decibels = np.interp(np.arange(start, stop), borders, some)
        piece *= (10 ** (-decibels / 20)).astype(np.float32)
      yield piece
      start = stop
