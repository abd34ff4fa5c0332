"""A song: its style, key, beats, phrases and players, before any note.

Read this first: `arrangement` writes the notes of a song, `mixing` makes them
sound, `song_captions` describes it, `song_plan` is its plan, and `song_world`
writes all to disk.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

from v2meow_jax.synthetic.songs import acoustic_styles
from v2meow_jax.synthetic.songs import electric_styles
from v2meow_jax.synthetic.songs import form
from v2meow_jax.synthetic.songs import harmony
from v2meow_jax.synthetic.songs import styles

STYLES: dict[str, styles.Style] = {
  **acoustic_styles.STYLES,
  **electric_styles.STYLES,
}
LONGEST_SECONDS, SHORTEST_SECONDS = 3600.0, 4.0
_ENDS = 0.85
_RING_SECONDS = (1.2, 3.5)
_LONGEST_RING_SHARE = 0.3
_FIRST_BEAT_SECONDS = 0.5
# Beats beyond the last bar, so that the last chord has a place in the grid.
_MARGIN_BEATS = 8


@dataclasses.dataclass(frozen=True, kw_only=True)
class Song:
  """What is decided before the notes.

  Attributes:
    seed: Seed of the world.
    index: Number of the song in the world.
    seconds: Duration.
    style: Key of `STYLES`.
    tempo_bpm: Tempo where it does not slow down, beats per minute.
    beats_per_bar: Number of beats in a bar, 3 or 4.
    grid: Times of all beats and of some beyond the end; the first is a downbeat.
    num_bars: Number of bars before the last chord, or up to the end.
    phrases: Phrases of these bars.
    key: Tonic as a pitch class, 0 is C.
    mode: Mode of the scale, 'major' or 'minor'.
    chords: Chords of the material 'A' and 'B', semitones above the tonic.
    players: Instrument of each part of the style; None: it does not play.
    kit: Drum kit; None: no drums.
    swing: Place of an off-beat in its beat; 0.5 is straight.
    end_seconds: Time of the last chord, which rings out; None: it goes on.
  """

  seed: int
  index: int
  seconds: float
  style: str
  tempo_bpm: float
  beats_per_bar: int
  grid: tuple[float, ...]
  num_bars: int
  phrases: tuple[form.Phrase, ...]
  key: int
  mode: str
  chords: dict[str, tuple[tuple[int, ...], ...]]
  players: tuple[str | None, ...]
  kit: str | None
  swing: float
  end_seconds: float | None

  @property
  def key_name(self) -> str:
    """Name of the tonic, such as 'Eb'."""
    return harmony.TONICS[self.key]

  @property
  def beat_times(self) -> np.ndarray:
    """Times of its beats in seconds, rising, float64[num_beats]."""
    times = np.array(self.grid)
    end = self.seconds - 1e-6 if self.end_seconds is None else self.end_seconds
    return times[times <= end + 1e-6]

  @property
  def section_times(self) -> np.ndarray:
    """Times at which phrases begin in seconds, the first and the last chord too."""
    bars = [p.first_bar for p in self.phrases]
    return self.time_of(np.array(bars) * self.beats_per_bar)

  def time_of(self, beats: npt.ArrayLike) -> np.ndarray:
    """Times in seconds of places in beats from the first, as `beats`."""
    beats = np.asarray(beats, np.float64)
    return np.interp(beats, np.arange(len(self.grid)), self.grid)

  def beats_at(self, times: npt.ArrayLike) -> np.ndarray:
    """Places in beats from the first, of times within the grid."""
    times = np.asarray(times, np.float64)
    return np.interp(times, self.grid, np.arange(len(self.grid)))

  def energy_of(self, beats: npt.ArrayLike) -> np.ndarray:
    """Energy at places in beats, from 0 to 1, as an array; 0 in rests."""
    bars = np.atleast_1d(np.asarray(beats, np.float64)) / self.beats_per_bar
    return np.where(
      self.is_rest(beats), 0.0, form.energy_at(self.phrases, bars)
    )

  def is_rest(self, beats: npt.ArrayLike) -> np.ndarray:
    """Whether all rest at places in beats, as an array."""
    beats = np.atleast_1d(np.asarray(beats, np.float64))
    rests = np.zeros(len(beats), bool)
    for phrase in self.phrases:
      end = (phrase.first_bar + phrase.num_bars) * self.beats_per_bar
      start = end - phrase.stop_beats
      rests |= (beats >= start - 1e-6) & (beats < end - 1e-6)
    return rests


def sample(seed: int, index: int, seconds: float) -> Song:
  """Draws a song; a function of its arguments alone.

  Args:
    seed: Seed of the world, >= 0.
    index: Number of the song, >= 0.
    seconds: Duration; a minute has room for phrases that return.

  Raises:
    ValueError: An argument is out of its range.
  """
  if seed < 0 or index < 0:
    raise ValueError(
      f'song has seed {seed} and index {index}; wanted both >= 0.'
    )
  if not SHORTEST_SECONDS <= seconds <= LONGEST_SECONDS:
    raise ValueError(
      f'song lasts {seconds} s; wanted {SHORTEST_SECONDS:g} to'
      f' {LONGEST_SECONDS:g} s.'
    )
  rng = np.random.default_rng([seed, index, 7])
  name = list(STYLES)[rng.integers(len(STYLES))]
  style = STYLES[name]
  tempo_bpm = round(float(np.exp(rng.uniform(*np.log(style.tempo_bpm)))), 2)
  metre = int(rng.choice(style.beats_per_bar))
  mode = 'major' if rng.random() < 0.5 else 'minor'
  lines = style.major if mode == 'major' else style.minor
  first, second = (lines[rng.integers(len(lines))] for _ in range(2))
  key = int(rng.integers(12))
  players = tuple(
    part.instruments[rng.integers(len(part.instruments))]
    if rng.random() < part.share
    else None
    for part in style.parts
  )
  kit = style.kits[rng.integers(len(style.kits))] if style.kits else None
  grid, num_bars, end = _grid(rng, style, tempo_bpm, metre, seconds)
  phrases = form.draw(rng, num_bars, style.shapes, style.energy)
  return Song(
    seed=seed,
    index=index,
    seconds=float(seconds),
    style=name,
    tempo_bpm=tempo_bpm,
    beats_per_bar=metre,
    grid=tuple(round(float(t), 6) for t in grid),
    num_bars=num_bars,
    phrases=phrases,
    key=key,
    mode=mode,
    chords={
      'A': harmony.progression(first),
      'B': harmony.progression(second),
    },
    players=players,
    kit=kit if metre in style.grooves else None,
    swing=float(rng.uniform(*style.swing)),
    end_seconds=None if end is None else round(float(end), 6),
  )


def _grid(
  rng: np.random.Generator,
  style: styles.Style,
  tempo_bpm: float,
  metre: int,
  seconds: float,
) -> tuple[np.ndarray, int, float | None]:
  """Times of beats, the number of bars, and the time of the last chord."""
  beat = 60.0 / tempo_bpm
  first = float(rng.uniform(0, _FIRST_BEAT_SECONDS))
  ring = min(float(rng.uniform(*_RING_SECONDS)), _LONGEST_RING_SHARE * seconds)
  slows = style.ritardando if rng.random() < 0.7 else 0.0
  ends = rng.random() < _ENDS
  # A bar that slows down takes longer by half of what its last beat does.
  room = seconds - ring - first - metre * beat * slows / 2
  num_bars = int(room / (metre * beat) + 1e-9)
  if not ends or num_bars < 1:
    num_bars = max(1, int(np.ceil((seconds - first) / (metre * beat))))
    num = num_bars * metre + _MARGIN_BEATS
    return first + beat * np.arange(num), num_bars, None
  last = num_bars * metre
  steps = np.full(last + _MARGIN_BEATS, beat)
  steps[last - metre : last] *= 1 + slows * np.linspace(0, 1, metre)
  grid = first + np.concatenate([[0.0], np.cumsum(steps)])
  return grid, num_bars, float(grid[last])
