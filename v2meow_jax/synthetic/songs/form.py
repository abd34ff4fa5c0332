"""Phrases of a song, and how its energy moves over them."""

from __future__ import annotations

import dataclasses

import numpy as np

PHRASE_BARS = 4
_LONG_PHRASE_BARS = 8
_LONG_SONG_BARS = 48
# Rests before the next phrase, in beats, and how often they come.
_STOPS, _STOP_SHARES = (0, 1, 2, 4), (0.72, 0.12, 0.09, 0.07)
_RAMP_SHARE = 0.35
# How much of the range of a style a song may leave out, at either end.
_WHOLE_SHARE = 0.25
_TERRACES = (0.0, 0.25, 0.5, 0.75, 1.0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Phrase:
  """A few bars that belong together.

  Attributes:
    label: Material: 'A' and 'B' return as they were, "A'" is A with another
      ending, 'intro' and 'breakdown' have the chords of A and fewer players.
    first_bar: Number of its first bar in the song.
    num_bars: Number of its bars.
    energies: Energy at its start and at its end, from 0 to 1.
    stop_beats: Number of beats at its end in which all rest.
    has_fill: Whether the drums lead over to the next phrase.
  """

  label: str
  first_bar: int
  num_bars: int
  energies: tuple[float, float]
  stop_beats: int
  has_fill: bool


def draw(
  rng: np.random.Generator,
  num_bars: int,
  shapes: tuple[str, ...],
  energy: tuple[float, float],
) -> tuple[Phrase, ...]:
  """Draws the phrases that fill a number of bars.

  Args:
    rng: Source of what is drawn.
    num_bars: Number of bars, at least 1.
    shapes: Names of ways in which energy may move, of which one is drawn.
    energy: Energy of the quietest and of the loudest bars.
  """
  length = PHRASE_BARS if num_bars < _LONG_SONG_BARS else _LONG_PHRASE_BARS
  rest = num_bars % length
  lengths = [length] * (num_bars // length)
  labels = _labels(len(lengths))
  if rest:
    lengths, labels = [rest, *lengths], ['intro' if labels else 'A', *labels]
  shape = shapes[rng.integers(len(shapes))]
  levels = _levels(shape, len(labels), rng)
  quieter, louder = rng.uniform(0, _WHOLE_SHARE, 2) * (energy[1] - energy[0])
  low, high = energy[0] + louder, energy[1] - quieter
  phrases = []
  first_bar = 0
  for n, (label, count) in enumerate(zip(labels, lengths, strict=True)):
    start, end = (float(low + (high - low) * x) for x in levels[n])
    is_last = n == len(labels) - 1
    stop = int(rng.choice(_STOPS, p=_STOP_SHARES))
    quiet = label != 'intro' and start < low + 0.15 * (high - low) and n > 0
    phrases.append(
      Phrase(
        label='breakdown' if quiet and rng.random() < 0.5 else label,
        first_bar=first_bar,
        num_bars=count,
        energies=(round(start, 3), round(end, 3)),
        stop_beats=0 if is_last or count < 2 else stop,
        has_fill=bool(rng.random() < 0.8),
      )
    )
    first_bar += count
  return tuple(phrases)


def _labels(count: int) -> list[str]:
  """Labels of whole phrases, such as A A' B A."""
  if count < 4:
    return [['A'], ['A', "A'"], ['A', 'B', "A'"]][count - 1] if count else []
  cycle = ['A', "A'", 'B', 'A']
  return [*(cycle[n % 4] for n in range(count - 1)), "A'"]


def _levels(
  shape: str, count: int, rng: np.random.Generator
) -> list[tuple[float, float]]:
  """Energy at start and end of each phrase, from 0 (quietest) to 1 (loudest)."""
  edges = np.linspace(0, 1, count + 1)
  middles = (edges[1:] + edges[:-1]) / 2
  if shape == 'build':
    return [
      (float(a), float(b)) for a, b in zip(edges, edges[1:], strict=False)
    ]
  if shape == 'fall':
    return [
      (float(1 - a), float(1 - b))
      for a, b in zip(edges, edges[1:], strict=False)
    ]
  if shape == 'arch':
    arch = np.sin(np.pi * np.clip(edges, 0.02, 0.98))
    return [(float(a), float(b)) for a, b in zip(arch, arch[1:], strict=False)]
  if shape == 'steady':
    level = float(rng.uniform(0.4, 1))
    return [(level, level)] * count
  if shape == 'verses':
    flips = int(rng.integers(2))
    levels = [(0.4, 0.95)[(n + flips) % 2] for n in range(count)]
  elif shape == 'drop':
    levels = [(0.7, 0.1, 1.0, 0.9)[n % 4] for n in range(count)]
  elif shape == 'terraces':
    levels = [float(rng.choice(_TERRACES)) for _ in middles]
  else:
    raise ValueError(f'shape {shape!r} of energy is not known.')
  ramps = []
  for n, level in enumerate(levels):
    following = levels[(n + 1) % count]
    # Builds lead into what is louder.
    goes_on = following > level and rng.random() < _RAMP_SHARE
    ramps.append((level, following if goes_on else level))
  return ramps


def energy_at(phrases: tuple[Phrase, ...], bars: np.ndarray) -> np.ndarray:
  """Energy at places in bars from the start, float64 as `bars`.

  A rest has no energy here; beyond the last bar, the energy is that of its end.
  """
  energies = np.zeros(len(bars))
  for phrase in phrases:
    share = (bars - phrase.first_bar) / phrase.num_bars
    inside = (share >= 0) & ((share < 1) | (phrase == phrases[-1]))
    start, end = phrase.energies
    energies[inside] = start + (end - start) * np.clip(share[inside], 0, 1)
  return energies
