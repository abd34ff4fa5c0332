"""A scene: what a picture and its music have in common.

Read this first: `render` draws a scene, `compose` plays it, `captions`
describes it, and `world` writes the three to disk.
"""

import dataclasses
import fractions
import itertools

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
# Tempi of free scenes, and what part of these end how long before the picture.
_FREE_BPM = (52.0, 190.0)
_ENDS = 0.3
_END_SECONDS = (0.3, 4.0)


# All of its sound is in memory at once.
_MOST_SECONDS = 3600


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scene:
  """Content of a picture and its music.

  Attributes:
    seed: Seed of the world.
    index: Number of the scene in the world.
    seconds: Duration.
    genre: Genre of the music, a key of `genres.GENRES`.
    look_genre: Genre of picture and tempo; differs from `genre` in a surprising
      scene.
    tempo_bpm: Constant tempo, beats per minute.
    first_beat_seconds: Time of the first beat, in [0, a beat).
    first_beat_in_bar: Position of the first beat in its bar; 0 is a downbeat.
    first_chord: Position of the first bar in the four-bar chord loop.
    beat_times: Times of all beats of the music, rising, in [0, seconds).
    cut_times: Times of the cuts between sections, on bar lines.
    key: Name of the tonic, a key of `genres.TONICS`.
    mode: Mode of the scale, 'major' or 'minor'.
    palette: Background, two colours of shapes, and the accent of the key, each
      (hue, saturation, value) in [0, 1].
    shapes: Kind of moving shapes.
    texture: Kind of background.
    activity: Amount of movement and music by section, in (0, 1].
    rate_hz: Frame rate.
    size: Width and height in pixels, both even.
    end_seconds: Time of the last beat, which is a downbeat and after which the
      music rings out; None: it goes on to the end.
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
  end_seconds: float | None = None

  @property
  def beat_seconds(self) -> float:
    """Duration of a beat."""
    return 60.0 / self.tempo_bpm

  @property
  def beats_per_bar(self) -> int:
    """Number of beats in a bar, 3 or 4."""
    return genres.GENRES[self.genre].beats_per_bar

  @property
  def num_frames(self) -> int:
    """Number of frames that start before the end."""
    return int(np.ceil(self.seconds * self.rate_hz - 1e-9))

  @property
  def frame_times(self) -> np.ndarray:
    """Start times of the frames in seconds, float64[num_frames]."""
    return np.arange(self.num_frames) / float(self.rate_hz)

  def bar_seconds(self, bar: int) -> float:
    """Start of a bar; bar 0 holds the first beat, and may start before 0."""
    beats = bar * self.beats_per_bar - self.first_beat_in_bar
    return self.first_beat_seconds + beats * self.beat_seconds

  def beats_at(self, times: npt.ArrayLike) -> np.ndarray:
    """Position in beats from the downbeat of bar 0: float64, as `times`."""
    since = np.asarray(times, np.float64) - self.first_beat_seconds
    return since / self.beat_seconds + self.first_beat_in_bar

  def is_downbeat(self, beats: npt.ArrayLike) -> np.ndarray:
    """Whether whole positions of `beats_at` are the first of a bar."""
    return np.asarray(beats) % self.beats_per_bar == 0

  def section_at(self, times: npt.ArrayLike) -> np.ndarray:
    """Index of the section at `times`: int64, as `times`."""
    # A cut belongs to the next section, despite rounding of its time.
    return np.searchsorted(self.cut_times, np.asarray(times) + 1e-6, 'right')

  def chord_at(self, bar: int) -> int:
    """Position of a bar in the four-bar chord loop."""
    return (bar + self.first_chord) % 4


def sample(
  seed: int,
  index: int,
  seconds: float = 10.0,
  surprise: float = 0.0,
  freedom: float = 0.0,
) -> Scene:
  """Draws a scene; a function of its arguments alone.

  Args:
    seed: Seed of the world, >= 0.
    index: Number of the scene, >= 0.
    seconds: Duration, at least 1.
    surprise: Probability that the picture looks and moves like another genre
      than the music, so that a prompt adds to the picture.
    freedom: Probability that the tempo is any of 52 to 190 bpm, whatever the
      genre, and the music may end before the picture.

  Raises:
    ValueError: An argument is out of its range.
  """
  if seed < 0 or index < 0:
    raise ValueError(
      f'scene has seed {seed} and index {index}; wanted both >= 0.'
    )
  if not 1.0 <= seconds <= _MOST_SECONDS:
    raise ValueError(f'scene lasts {seconds} s; wanted 1 to {_MOST_SECONDS} s.')
  for name, value in (('surprise', surprise), ('freedom', freedom)):
    if not 0.0 <= value <= 1.0:
      raise ValueError(f'{name} is {value}; wanted a probability in [0, 1].')
  rng = np.random.default_rng([seed, index])
  names = list(genres.GENRES)
  genre = names[rng.integers(len(names))]
  other = names[(names.index(genre) + rng.integers(1, len(names))) % len(names)]
  look_genre = other if rng.random() < surprise else genre
  style, look = genres.GENRES[genre], genres.GENRES[look_genre]
  # The picture shows the tempo, so the tempo fits the genre of the picture.
  tempo_bpm = round(float(rng.uniform(*look.tempo_bpm)), 2)
  # Its own draws, so that other worlds stay as they were.
  free = np.random.default_rng([seed, index, 5])
  is_free = free.random() < freedom
  if is_free:
    tempo_bpm = round(float(np.exp(free.uniform(*np.log(_FREE_BPM)))), 2)
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
  scene = dataclasses.replace(timed, cut_times=cut_times, activity=activity)
  return _ended(scene, free) if is_free and free.random() < _ENDS else scene


def _ended(scene: Scene, rng: np.random.Generator) -> Scene:
  """The scene with music that ends on one of its last bar lines, if any."""
  low, high = (scene.seconds - s for s in reversed(_END_SECONDS))
  bars = (scene.bar_seconds(n) for n in range(1000))
  bars = itertools.takewhile(lambda start: start <= high, bars)
  ends = [start for start in bars if start >= low]
  if not ends:
    return scene
  end = round(float(ends[rng.integers(len(ends))]), 6)
  return dataclasses.replace(
    scene,
    end_seconds=end,
    beat_times=tuple(t for t in scene.beat_times if t <= end + 1e-5),
    cut_times=tuple(t for t in scene.cut_times if t < end - 1e-5),
  )


def _beat_times(
  first: float, tempo_bpm: float, seconds: float
) -> tuple[float, ...]:
  count = int(np.ceil((seconds - first) * tempo_bpm / 60.0))
  times = first + np.arange(count) * 60.0 / tempo_bpm
  return tuple(round(float(t), 6) for t in times if t < seconds)


def _cut_times(scene: Scene, rng: np.random.Generator) -> tuple[float, ...]:
  """Draws equally spaced bar lines, none within half a second of an end."""
  bar = scene.beat_seconds * scene.beats_per_bar
  bars_per_section = max(1, round(rng.uniform(*_SECTION_SECONDS) / bar))
  first = int(rng.integers(1, bars_per_section + 1))
  last = int(scene.seconds / bar) + 2
  times = [scene.bar_seconds(n) for n in range(first, last, bars_per_section)]
  end = scene.seconds - _MARGIN_SECONDS
  return tuple(round(t, 6) for t in times if _MARGIN_SECONDS < t < end)


def _activity(count: int, rng: np.random.Generator) -> tuple[float, ...]:
  """Draws activities of sections, each unlike the one before."""
  levels = [genres.ACTIVITIES[rng.integers(len(genres.ACTIVITIES))]]
  while len(levels) < count:
    others = [a for a in genres.ACTIVITIES if a != levels[-1]]
    levels.append(others[rng.integers(len(others))])
  return tuple(levels)


def _palette(
  look: genres.Genre, key: str, mode: str, rng: np.random.Generator
) -> tuple[tuple[float, float, float], ...]:
  """Chooses hues by genre, light and saturation by mode, the accent by key."""
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
