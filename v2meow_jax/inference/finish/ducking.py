"""Turns music down under speech."""

from collections.abc import Sequence

import numpy as np

RATE_HZ = 100  # Steps a second of a curve.
# ours: down before the first word, up again without a pump at each sentence.
_LEAD_SECONDS = 0.3
_FALL_SECONDS = 0.3
_RISE_SECONDS = 0.8


def curve(
  speech: Sequence[tuple[float, float]], seconds: float, duck_db: float
) -> np.ndarray:
  """Decibels by which music is down, at `RATE_HZ`.

  It is all the way down from just before speech begins until it ends: the way
  down takes 0.3 s and ends as speech begins, the way up takes 0.8 s.

  Args:
    speech: Start and end of each stretch of speech, in seconds.
    seconds: Length of the clip, in seconds.
    duck_db: Decibels for speech.

  Returns:
    float64[steps], one step more than the clip has.
  """
  times = np.arange(int(np.ceil(seconds * RATE_HZ)) + 1) / RATE_HZ
  down = np.zeros(len(times))
  for start, end in speech:
    full = start - _LEAD_SECONDS
    nodes = [full - _FALL_SECONDS, full, end, end + _RISE_SECONDS]
    low, high = np.searchsorted(times, [nodes[0], nodes[-1]])
    some = np.interp(times[low:high], nodes, [0, 1, 1, 0])
    down[low:high] = np.maximum(down[low:high], some)
  return duck_db * down
