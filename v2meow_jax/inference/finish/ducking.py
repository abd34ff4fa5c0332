"""Turns music down under speech."""

import bisect
from collections.abc import Sequence

import numpy as np

# ours: down before the first word, up again without a pump at each sentence.
_LEAD_SECONDS = 0.3
_FALL_SECONDS = 0.3
_RISE_SECONDS = 0.8


class Ducking:
  """A curve of decibels by which music is down.

  It is all the way down from just before speech begins until it ends: the way
  down takes 0.3 s and ends as speech begins, the way up takes 0.8 s.
  """

  def __init__(self, speech: Sequence[tuple[float, float]], duck_db: float):
    """Keeps the stretches.

    Args:
      speech: Start and end of each stretch of speech, in seconds, rising.
      duck_db: Decibels for speech.
    """
    self._falls = [start - _LEAD_SECONDS - _FALL_SECONDS for start, _ in speech]
    self._ends = [end for _, end in speech]
    self._duck_db = duck_db

  def decibels(self, times: np.ndarray) -> np.ndarray:
    """Decibels by which music is down at rising times, in seconds."""
    first = bisect.bisect_left(self._ends, times[0] - _RISE_SECONDS)
    stop = bisect.bisect_right(self._falls, times[-1])
    down = np.zeros(len(times))
    for fall, end in zip(
      self._falls[first:stop], self._ends[first:stop], strict=True
    ):
      nodes = [fall, fall + _FALL_SECONDS, end, end + _RISE_SECONDS]
      np.maximum(down, np.interp(times, nodes, [0, 1, 1, 0]), out=down)
    return self._duck_db * down
