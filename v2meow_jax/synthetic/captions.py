"""Describes the music of a scene in words."""

import numpy as np

from v2meow_jax.synthetic import genres
from v2meow_jax.synthetic import scene as scene_lib

_MODE_WORDS = {
  'major': ('bright', 'happy', 'uplifting', 'cheerful', 'warm'),
  'minor': ('dark', 'sad', 'moody', 'melancholic', 'serious'),
}
_TEMPO_WORDS = (
  (75.0, ('very slow', 'slow')),
  (95.0, ('slow', 'unhurried')),
  (115.0, ('moderate', 'medium')),
  (130.0, ('steady', 'upbeat')),
  (155.0, ('fast', 'lively')),
  (float('inf'), ('very fast', 'rapid')),
)
_ENERGY_WORDS = (
  (0.5, ('quiet', 'sparse', 'soft')),
  (0.8, ('steady', 'flowing')),
  (float('inf'), ('full', 'busy', 'dense')),
)
_TEMPLATES = (
  '{mode} {genre}',
  '{mood} {genre}',
  '{mood} {instrument}, {genre}',
  '{mode}, {mood} {genre} with {instrument}',
  '{genre} with {instrument}',
  '{tempo} {genre} with {instrument}, {mode} and {mood}',
  '{genre}, {tempo} tempo, {mode} mood',
  '{mood} {instrument}',
  '{energy} {genre} at {bpm} bpm in {key} {keymode}',
  'a {mood} piece of {genre}: {instrument} and {other}',
)


def caption(scene: scene_lib.Scene) -> str:
  """Writes a caption of the music, in one of several wordings.

  It describes the music alone, also where the picture looks like another genre.

  Args:
    scene: Scene to describe.

  Returns:
    A short phrase, such as 'dark techno' or 'calm solo piano, a waltz'.
  """
  rng = np.random.default_rng([scene.seed, scene.index, 4])
  style = genres.GENRES[scene.genre]
  played, other = rng.choice(len(style.instruments), 2, replace=False)
  template = _pick(_TEMPLATES, rng)
  genre = _pick(style.names, rng)
  if not template.startswith('{genre}'):
    genre = genre.removeprefix('a ')
  return template.format(
    genre=genre,
    mode=_pick(_MODE_WORDS[scene.mode], rng),
    mood=_pick(style.moods, rng),
    tempo=_pick(_below(_TEMPO_WORDS, scene.tempo_bpm), rng),
    energy=_pick(_below(_ENERGY_WORDS, float(np.mean(scene.activity))), rng),
    instrument=style.instruments[played],
    other=style.instruments[other],
    bpm=round(scene.tempo_bpm),
    key=scene.key,
    keymode=scene.mode,
  )


def _pick(words: tuple[str, ...], rng: np.random.Generator) -> str:
  return words[rng.integers(len(words))]


def _below(
  table: tuple[tuple[float, tuple[str, ...]], ...], value: float
) -> tuple[str, ...]:
  return next(words for border, words in table if value < border)
