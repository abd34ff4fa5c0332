"""A scene: everything that a picture and its music have in common.

Read this first: `render` draws a scene, `compose` plays it, `captions`
describes it, and `world` writes the three to disk.
"""

from __future__ import annotations

import dataclasses
import fractions

import numpy as np
import numpy.typing as npt

from v2meow_jax.synthetic import genres

_RATES_HZ = (
  fractions.Fraction(24),
  fractions.Fraction(25),
  fractions.Fraction(30),
  fractions.Fraction(30000, 1001),
)
_SIZES = ((128, 72), (96, 96))
_SECTION_SECONDS = (3.0, 6.0)
_MARGIN_SECONDS = 0.5


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scene:
  """What is seen and heard.

  Attributes:
    seed: Of the world.
    index: Of the scene in the world.
    seconds: How long it lasts.
    genre: Of the music: a key of `genres.GENRES`.
    look_genre: Of the picture, tempo included; another than `genre` in a
      surprising scene.
    tempo_bpm: Beats a minute, constant.
    first_beat_seconds: When the first beat falls, in [0, a beat).
    first_beat_in_bar: Its position in its bar; 0 is a downbeat.
    first_chord: Position of the first bar in the four-bar chord loop.
    beat_times: Seconds of every beat, rising, in [0, seconds).
    cut_times: Seconds at which a section ends and the next begins; bar lines.
    key: Name of the tonic: a key of `genres.TONICS`.
    mode: 'major' or 'minor'.
    palette: Background, two colours of shapes, and the accent that tells the
      key, each (hue, saturation, value) in [0, 1].
    shapes: Kind of the shapes that move.
    texture: Kind of what lies behind them.
    activity: One per section, in (0, 1]: how much moves and plays.
    rate_hz: Frames a second.
    size: Width and height in pixels, both even.
  """

  seed: int
  index: int
  seconds: float
  genre: str
  look_genre: str
  tempo_bpm: float
  first_beat_seconds: float
  first_beat_in_bar: int
  first_chord: int
  beat_times: tuple[float, ...]
  cut_times: tuple[float, ...]
  key: str
  mode: str
  palette: tuple[tuple[float, float, float], ...]
  shapes: str
  texture: str
  activity: tuple[float, ...]
  rate_hz: fractions.Fraction
  size: tuple[int, int]

  @property
  def beat_seconds(self) -> float:
    """Seconds from a beat to the next."""
    return 60.0 / self.tempo_bpm

  @property
  def beats_per_bar(self) -> int:
    """3 or 4."""
    return genres.GENRES[self.genre].beats_per_bar

  @property
  def num_frames(self) -> int:
    """Frames whose time is before the end."""
    return int(np.ceil(self.seconds * self.rate_hz - 1e-9))

  @property
  def frame_times(self) -> np.ndarray:
    """float64[num_frames], seconds."""
    return np.arange(self.num_frames) / float(self.rate_hz)

  def bar_seconds(self, bar: int) -> float:
    """When a bar begins; bar 0 holds the first beat, and may start before 0."""
    beats = bar * self.beats_per_bar - self.first_beat_in_bar
    return self.first_beat_seconds + beats * self.beat_seconds

  def beats_at(self, times: npt.ArrayLike) -> np.ndarray:
    """Position in beats from the downbeat of bar 0: float64, as `times`."""
    since = np.asarray(times, np.float64) - self.first_beat_seconds
    return since / self.beat_seconds + self.first_beat_in_bar

  def section_at(self, times: npt.ArrayLike) -> np.ndarray:
    """Index of the section on at `times`: int64, as `times`."""
    # A cut belongs to what follows it, rounding of its time included.
    return np.searchsorted(self.cut_times, np.asarray(times) + 1e-6, 'right')

  def chord_at(self, bar: int) -> int:
    """Position of a bar in the four-bar chord loop."""
    return (bar + self.first_chord) % 4


def sample(
  seed: int, index: int, seconds: float = 10.0, surprise: float = 0.0
) -> Scene:
  """Draws a scene; a function of its arguments alone.

  Args:
    seed: Of the world, >= 0.
    index: Of the scene, >= 0.
    seconds: Duration, at least 1.
    surprise: Probability that the picture looks and moves like another genre
      than the music's, so that a prompt tells what the picture does not.

  Returns:
    The scene.

  Raises:
    ValueError: An argument is out of its range.
  """
  if seed < 0 or index < 0:
    raise ValueError(
      f'scene has seed {seed} and index {index}; wanted both >= 0.'
    )
  if not 1.0 <= seconds < float('inf'):
    raise ValueError(f'scene lasts {seconds} s; wanted at least 1 s.')
  if not 0.0 <= surprise <= 1.0:
    raise ValueError(f'surprise is {surprise}; wanted a probability in [0, 1].')
  rng = np.random.default_rng([seed, index])
  names = list(genres.GENRES)
  genre = names[rng.integers(len(names))]
  other = names[(names.index(genre) + rng.integers(1, len(names))) % len(names)]
  look_genre = other if rng.random() < surprise else genre
  style, look = genres.GENRES[genre], genres.GENRES[look_genre]
  # The picture tells the tempo, so it is that of what the picture looks like.
  tempo_bpm = round(float(rng.uniform(*look.tempo_bpm)), 2)
  key = list(genres.TONICS)[rng.integers(len(genres.TONICS))]
  mode = ('major', 'minor')[rng.integers(2)]
  first_beat = round(float(rng.uniform(0, 60.0 / tempo_bpm)) * 0.999, 4)
  timed = Scene(
    seed=seed,
    index=index,
    seconds=float(seconds),
    genre=genre,
    look_genre=look_genre,
    tempo_bpm=tempo_bpm,
    first_beat_seconds=first_beat,
    first_beat_in_bar=int(rng.integers(style.beats_per_bar)),
    first_chord=int(rng.integers(4)),
    beat_times=_beat_times(first_beat, tempo_bpm, seconds),
    cut_times=(),
    key=key,
    mode=mode,
    palette=_palette(look, key, mode, rng),
    shapes=look.shape,
    texture=look.texture,
    activity=(),
    rate_hz=_RATES_HZ[rng.integers(len(_RATES_HZ))],
    size=_SIZES[rng.integers(len(_SIZES))],
  )
  cut_times = _cut_times(timed, rng)
  activity = _activity(len(cut_times) + 1, rng)
  return dataclasses.replace(timed, cut_times=cut_times, activity=activity)


def _beat_times(
  first: float, tempo_bpm: float, seconds: float
) -> tuple[float, ...]:
  count = int(np.ceil((seconds - first) * tempo_bpm / 60.0))
  times = first + np.arange(count) * 60.0 / tempo_bpm
  return tuple(round(float(t), 6) for t in times if t < seconds)


def _cut_times(scene: Scene, rng: np.random.Generator) -> tuple[float, ...]:
  """Bar lines at equal distances, none within half a second of an end."""
  bar = scene.beat_seconds * scene.beats_per_bar
  bars_per_section = max(1, round(rng.uniform(*_SECTION_SECONDS) / bar))
  first = int(rng.integers(1, bars_per_section + 1))
  last = int(scene.seconds / bar) + 2
  times = [scene.bar_seconds(n) for n in range(first, last, bars_per_section)]
  end = scene.seconds - _MARGIN_SECONDS
  return tuple(round(t, 6) for t in times if _MARGIN_SECONDS < t < end)


def _activity(count: int, rng: np.random.Generator) -> tuple[float, ...]:
  """Each section more or less active than the one before."""
  levels = [genres.ACTIVITIES[rng.integers(len(genres.ACTIVITIES))]]
  while len(levels) < count:
    others = [a for a in genres.ACTIVITIES if a != levels[-1]]
    levels.append(others[rng.integers(len(others))])
  return tuple(levels)


def _palette(
  look: genres.Genre, key: str, mode: str, rng: np.random.Generator
) -> tuple[tuple[float, float, float], ...]:
  """Hues tell the genre, light and saturation the mode, the accent the key."""
  minor = mode == 'minor'
  light, colour = (0.6, 0.65) if minor else (1.0, 1.0)
  shift = float(rng.uniform(-0.015, 0.015))
  back, first, second = ((hue + shift) % 1.0 for hue in look.hues)
  key_hue = (0.1 + list(genres.TONICS).index(key) / len(genres.TONICS)) % 1.0
  return (
    (back, look.saturation * colour, look.brightness * light),
    (first, 0.75 * colour, 0.9 * light),
    (second, 0.9 * colour, 0.75 * light),
    (key_hue, 0.95, 0.9),
  )
