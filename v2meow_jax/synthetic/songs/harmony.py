"""Chords by numerals, and voicings that move as little as they can."""

from __future__ import annotations

import functools
import itertools
import re

import numpy as np

TONICS = ('C', 'Db', 'D', 'Eb', 'E', 'F', 'Gb', 'G', 'Ab', 'A', 'Bb', 'B')
SCALES = {'major': (0, 2, 4, 5, 7, 9, 11), 'minor': (0, 2, 3, 5, 7, 8, 10)}
_DEGREES = {'I': 0, 'II': 2, 'III': 4, 'IV': 5, 'V': 7, 'VI': 9, 'VII': 11}
_NUMERAL = re.compile(
  r'(b?)(VII|VI|V|IV|III|II|I|vii|vi|v|iv|iii|ii|i)(\D*\d?)'
)
# Semitones above the root by case and suffix of a numeral.
_QUALITIES = {
  (True, ''): (0, 4, 7),
  (True, '7'): (0, 4, 7, 10),
  (True, 'maj7'): (0, 4, 7, 11),
  (True, 'sus'): (0, 5, 7),
  (True, '5'): (0, 7),
  (False, ''): (0, 3, 7),
  (False, '7'): (0, 3, 7, 10),
  (False, 'o'): (0, 3, 6),
  (False, 'h7'): (0, 3, 6, 10),
}
_MOST_VOICES = 4


@functools.cache
def chord(numeral: str) -> tuple[int, ...]:
  """Semitones of a chord above the tonic, its root first.

  >>> chord('V7'), chord('bVI'), chord('ii')
  ((7, 11, 14, 17), (8, 12, 15), (2, 5, 9))

  Args:
    numeral: Roman numeral on the degrees of the major scale, upper case for
      major and lower case for minor, with an optional suffix.

  Raises:
    ValueError: It is no numeral that is known.
  """
  match = _NUMERAL.fullmatch(numeral)
  quality = match and _QUALITIES.get((match[2].isupper(), match[3]))
  if not match or quality is None:
    raise ValueError(
      f'chord {numeral!r} is not known; wanted one such as IV, ii7 or bVII.'
    )
  root = _DEGREES[match[2].upper()] - bool(match[1])
  return tuple(root + up for up in quality)


def progression(text: str) -> tuple[tuple[int, ...], ...]:
  """Chords of a line such as 'I V vi IV'."""
  return tuple(chord(numeral) for numeral in text.split())


@functools.lru_cache(maxsize=8192)
def voicing(
  pitch_classes: tuple[int, ...], previous: tuple[int, ...], centre: float
) -> tuple[int, ...]:
  """The close position of a chord that is nearest to the one before.

  Args:
    pitch_classes: Pitch classes of the chord, the root first.
    previous: Pitches of the chord before, rising; () at the beginning.
    centre: Pitch that the chord should lie around, a MIDI number.

  Returns:
    Pitches, rising, one for each pitch class.
  """
  classes = sorted({p % 12 for p in pitch_classes[:_MOST_VOICES]})

  def cost(pitches: tuple[int, ...]) -> float:
    away = abs(float(np.mean(pitches)) - centre)
    if not previous:
      return away
    steps = [min(abs(p - q) for q in previous) for p in pitches]
    return sum(steps) + 0.4 * away

  lowest = int(centre) - 12
  starts = [
    lowest + (classes[n] - lowest) % 12 + octave
    for n, octave in itertools.product(range(len(classes)), (0, 12))
  ]
  return min((_upwards(classes, start) for start in sorted(starts)), key=cost)


def _upwards(classes: list[int], start: int) -> tuple[int, ...]:
  """Pitches of all classes within the octave above `start`."""
  return tuple(sorted(start + (c - start) % 12 for c in classes))


def placed(pitch_class: int, lowest: int) -> int:
  """Pitch of a class in the octave from `lowest` up."""
  return lowest + (pitch_class - lowest) % 12


def scale_pitches(key: int, mode: str, lowest: int, highest: int) -> list[int]:
  """Pitches of a scale from `lowest` to `highest`, rising."""
  classes = {(key + step) % 12 for step in SCALES[mode]}
  return [p for p in range(lowest, highest + 1) if p % 12 in classes]
