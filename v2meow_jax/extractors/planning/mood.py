"""Maps the look of a picture, or a prompt, to mood, genre and tempo.

The mapping is small and set by hand, after what is known of people:

- Pleasure rises with brightness (0.69) and saturation (0.22), and arousal with
  saturation (0.60) and falls with brightness (-0.31): Valdez and Mehrabian 1994,
  "Effects of color on emotions", J. Exp. Psychology: General 123(4).
- Reds are more arousing than blues: Wilms and Oberfeld 2018, "Color and
  emotion: effects of hue, saturation, and brightness", Psychological Research
  82.
- Motion and the rate of cuts carry the arousal of films: Hanjalic and Xu 2005,
  "Affective video content representation and modeling", IEEE Trans.
  Multimedia 7(1). Their weights here are ours: motion counts most.
- Faster music is more arousing: Gabrielsson and Lindstroem 2010, in "Handbook
  of Music and Emotion". Where the genres lie in the plane of energy and
  valence is ours, in that order.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable
from collections.abc import Mapping
import dataclasses
import functools
import re

import numpy as np

from v2meow_jax.extractors.planning import analysis as analysis_lib
from v2meow_jax.extractors.planning import plan as plan_lib
from v2meow_jax.synthetic import genres
from v2meow_jax.synthetic.songs import song as song_lib

# Energy and valence of each genre that a mood may have: those of drawn clips.
_GENRES: Mapping[str, tuple[float, float]] = {
  'ambient': (0.15, 0.5),
  'waltz': (0.35, 0.7),
  'hiphop': (0.5, 0.4),
  'house': (0.65, 0.6),
  'rock': (0.8, 0.5),
  'drum_and_bass': (0.95, 0.4),
}
# Those of songs. Ours: calm ones have a pulse too, unless next to nothing moves, and
# none is so full of sixteenths that no cut can be heard in it.
_SONGS: Mapping[str, tuple[float, float]] = {
  'ambient': (0.05, 0.5),
  'solo_piano': (0.15, 0.25),
  'folk': (0.25, 0.55),
  'bossa_nova': (0.3, 0.85),
  'pop': (0.4, 0.55),
  'synthwave': (0.55, 0.3),
  'funk': (0.55, 0.8),
  'house': (0.65, 0.75),
  'techno': (0.85, 0.2),
  'rock': (0.8, 0.5),
  'drum_and_bass': (0.95, 0.4),
}
_GENRE_WIDTH, _SONG_WIDTH = 0.2, 0.15
# Weight of the name of a genre that no picture is drawn for.
_OTHER_SHARE = 0.7
# Tempi of a genre lie around the middle of its range, by half of it and this,
# in octaves; and those of any genre.
_TEMPO_OCTAVES = 0.03
_ANY_BPM, _ANY_OCTAVES, _ANY_SHARE = 110.0, 0.5, 0.05
_CUTS_A_SECOND = 0.5  # Rate of cuts of a fast montage.
_ENERGY_WORDS = ((0.25, 'calm'), (0.5, 'steady'), (0.75, 'lively'))
_MAJOR_VALENCE = 0.4  # From here on music is in major.
_VALENCE_WORDS = ((0.35, 'dark'), (0.6, 'neutral'))
# The tonics of the drawn world, from the coldest colours to the warmest: as there,
# F is blue and C orange. Films lie around 0.
_WARMTH_TONICS = ('F', 'Eb', 'A', 'C')
_WARMTHS = (-0.06, 0.0, 0.06)
# A key, and what is put as one is, whether or not there is such a note.
_KEY, _KEY_OR_NOT = (
  re.compile(
    rf'\bin ([{notes}])(?:[ -]?(b|flat|#|sharp))? (major|minor)\b'
    r'(?! (?:key|mode))'
  )
  for notes in ('a-g', 'a-z')
)
_BPM = re.compile(
  r'(?<![\d.])(\d{2,3}(?:\.\d+)?)[ -]?(?:bpm|beats (?:a|per) min)'
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Mood:
  """Energy and valence of a stretch of a picture.

  Attributes:
    energy: Arousal, from 0 (calm) to 1 (wild).
    valence: Pleasure, from 0 (dark) to 1 (bright).
  """

  energy: float
  valence: float

  @property
  def words(self) -> str:
    """Words for it, such as 'calm, dark'."""
    return f'{_word(self.energy, _ENERGY_WORDS, "wild")},' + (
      f' {_word(self.valence, _VALENCE_WORDS, "bright")}'
    )


def _word(value: float, words: tuple, last: str) -> str:
  return next((word for high, word in words if value < high), last)


def of_picture(seen: analysis_lib.Analysis, start: float, end: float) -> Mood:
  """Mood of what is seen from `start` to `end`, in seconds."""
  first, last = np.searchsorted(seen.times, (start, end))
  # A copy, as sums depend on how numbers lie in the memory.
  inside = (
    np.arange(first, last) if first < last else np.arange(len(seen.times))
  )
  brightness = float(seen.brightness[inside].mean())
  saturation = float(seen.saturation[inside].mean())
  warmth = float(np.clip(0.5 + seen.warmth[inside].mean(), 0, 1))
  motion = float(seen.motion[inside].mean())
  num_cuts = np.count_nonzero((seen.cuts > start) & (seen.cuts < end))
  cuts = min(num_cuts / max(end - start, 1.0) / _CUTS_A_SECOND, 1.0)
  colour = (0.60 * saturation + 0.31 * (1 - brightness)) / 0.91
  energy = 0.6 * motion + 0.2 * cuts + 0.1 * colour + 0.1 * warmth
  valence = (0.69 * brightness + 0.22 * saturation) / 0.91
  return Mood(energy=float(energy), valence=float(valence))


def genres_of_mood(mood: Mood, of_songs: bool = False) -> dict[str, float]:
  """Probability of each genre for a mood, of those of songs or drawn clips."""
  places, width = (_SONGS, _SONG_WIDTH) if of_songs else (_GENRES, _GENRE_WIDTH)
  weights = {
    genre: np.exp(
      -((mood.energy - energy) ** 2 + (mood.valence - valence) ** 2)
      / (2 * width**2)
    )
    for genre, (energy, valence) in places.items()
  }
  return _normalised(weights)


def genres_of_prompt(prompt: str) -> dict[str, float]:
  """Probability of each genre that a prompt names; empty when it names none.

  >>> max((p := genres_of_prompt('an elegant waltz for solo piano')), key=p.get)
  'waltz'
  """
  text = f' {re.sub("[^a-z0-9]+", " ", prompt.lower())} '
  weights = dict.fromkeys(_kinds(), 0.0)
  for words, weight in ((_names(), 3.0), (_instruments(), 1.0)):
    for phrase, named in words.items():
      if f' {phrase} ' in text:
        for genre in named:
          # A waltz for strings is a waltz.
          share = 1.0 if genre in genres.GENRES else _OTHER_SHARE
          weights[genre] += share * weight / len(named)
  return _normalised(weights) if any(weights.values()) else {}


@dataclasses.dataclass(frozen=True)
class _Kind:
  """A genre that prompts may name: its tempi, metre and names."""

  tempo_bpm: tuple[float, float]
  beats_per_bar: int
  names: tuple[str, ...]


@functools.cache
def _kinds() -> dict[str, _Kind]:
  """Genres of drawn clips, and the styles of songs that are none of them."""
  kinds = {
    name: _Kind(genre.tempo_bpm, genre.beats_per_bar, (name, *genre.names))
    for name, genre in genres.GENRES.items()
  }
  known = {name.replace('_', '') for name in kinds}
  for name, style in song_lib.STYLES.items():
    if name.replace('_', '') not in known:
      kinds[name] = _Kind(
        style.tempo_bpm,
        style.beats_per_bar[0],
        (name, *style.names, *(n.removesuffix(' music') for n in style.names)),
      )
  return kinds


def metre(genre: str) -> int:
  """Beats in a bar of a genre."""
  return _kinds()[genre].beats_per_bar


def _names() -> dict[str, list[str]]:
  """Genres by each of their names, without articles."""
  kinds = _kinds()
  named = _by_phrase({g: kind.names for g, kind in kinds.items()})
  # What has a genre of its own is no other: techno is not house.
  return named | {g.replace('_', ' '): [g] for g in kinds}


def _instruments() -> dict[str, list[str]]:
  return _by_phrase(
    {g: genre.instruments for g, genre in genres.GENRES.items()}
  )


def _by_phrase(
  phrases: Mapping[str, tuple[str, ...]],
) -> dict[str, list[str]]:
  named: dict[str, list[str]] = {}
  for genre, words in phrases.items():
    plain = [re.sub('[^a-z0-9]+', ' ', w.lower()).strip() for w in words]
    for phrase in {p.removeprefix('a ').removeprefix('an ') for p in plain}:
      named.setdefault(phrase, []).append(genre)
  return named


def mode_of(mood: Mood) -> str:
  """The mode of a mood, 'major' or 'minor'."""
  return 'major' if mood.valence > _MAJOR_VALENCE else 'minor'


def prompt(mode: str, genre: str) -> str:
  """A prompt for a mode and a genre, in words that the drawn world has.

  >>> prompt('major', 'ambient')
  'bright ambient'
  """
  word = {'major': 'bright', 'minor': 'dark'}[mode]
  name = genres.GENRES[genre].names[0] if genre in genres.GENRES else genre
  return f'{word} {name.removeprefix("a ").replace("_", " ")}'


def bpm_of_prompt(prompt: str) -> float | None:
  """The tempo that a prompt names, if any.

  >>> bpm_of_prompt('dark techno at 128 bpm')
  128.0
  """
  named = _BPM.search(prompt.lower())
  return float(named[1]) if named else None


def key_of_prompt(prompt: str) -> str | None:
  """The key that a prompt names, if any.

  >>> key_of_prompt('slow jazz in E flat minor')
  'Eb minor'
  """
  named = _KEY.search(prompt.lower())
  if named is None:
    return None
  sign = {'flat': 'b', 'sharp': '#', None: ''}.get(named[2], named[2])
  return plan_lib.named_key(f'{named[1].upper()}{sign} {named[3]}')


def unknown_key(prompt: str) -> str | None:
  """What a prompt names as a key and is none, if so.

  >>> unknown_key('jazz in H minor')
  'h minor'
  """
  named = _KEY_OR_NOT.search(prompt.lower())
  if named is None or _KEY.search(prompt.lower()):
    return None
  return named[0].removeprefix('in ')


def key_of_mood(mood: Mood, warmth: float) -> str:
  """A key: its mode by the valence, its tonic by the warmth of the picture.

  >>> key_of_mood(Mood(energy=0.2, valence=0.8), 0.0)
  'A major'
  """
  tonic = _WARMTH_TONICS[bisect.bisect(_WARMTHS, warmth)]
  return f'{tonic} {mode_of(mood)}'


def log_tempo_prior(
  probabilities: Mapping[str, float],
) -> Callable[[np.ndarray], np.ndarray]:
  """Logarithms of the probability of tempi, given that of genres."""

  def log_prior(tempi: np.ndarray) -> np.ndarray:
    octaves = np.log2(tempi)
    total = _ANY_SHARE * _bell(octaves - np.log2(_ANY_BPM), _ANY_OCTAVES)
    for genre, probability in probabilities.items():
      total = total + probability * _of_genre(octaves, genre)
    return np.log(total)

  return log_prior


def genre_of_tempo(probabilities: Mapping[str, float], tempo_bpm: float) -> str:
  """The likeliest genre of a tempo."""
  octaves = np.log2(np.array([tempo_bpm]))
  return max(
    probabilities,
    key=lambda g: (probabilities[g] + 1e-6) * float(_of_genre(octaves, g)[0]),
  )


def _of_genre(octaves: np.ndarray, genre: str) -> np.ndarray:
  low, high = np.log2(_kinds()[genre].tempo_bpm)
  return _bell(octaves - (low + high) / 2, (high - low) / 2 + _TEMPO_OCTAVES)


def _bell(octaves: np.ndarray, width: float) -> np.ndarray:
  return np.exp(-0.5 * (octaves / width) ** 2) / width


def _normalised(weights: Mapping[str, float]) -> dict[str, float]:
  total = sum(weights.values())
  return {name: float(weight / total) for name, weight in weights.items()}
