"""Describes a song in words: style, instruments, mood, tempo, key."""

from __future__ import annotations

import numpy as np

from v2meow_jax.synthetic.songs import song as song_lib

_MODES = {
  'major': ('bright', 'happy', 'cheerful', 'warm'),
  'minor': ('dark', 'sad', 'melancholic', 'serious'),
}
_TEMPI = (
  (70.0, ('very slow', 'slow')),
  (95.0, ('slow', 'unhurried')),
  (118.0, ('moderate', 'medium')),
  (140.0, ('upbeat', 'lively')),
  (160.0, ('fast', 'quick')),
  (float('inf'), ('very fast', 'rapid')),
)
_ENERGIES = (
  (0.3, ('quiet', 'sparse', 'soft')),
  (0.65, ('steady', 'flowing')),
  (float('inf'), ('loud', 'full', 'energetic')),
)
_SHAPES = {
  'rises': ('that builds up', 'with a long crescendo', 'growing louder'),
  'falls': ('that dies down', 'growing quieter'),
  'varies': ('with strong contrasts', 'between quiet and loud'),
}
_TEMPLATES = (
  '{mood} {style}',
  '{mode} {style} with {instruments}',
  '{style} with {instruments}',
  '{style}, {mood} and {mode}',
  '{tempo} {style} with {instruments}, {mood}',
  '{style}, {tempo} tempo, {mode} mood',
  '{energy}, {mood} {style}',
  '{style} at {bpm} bpm in {key}',
  '{energy} {style} {shape}',
  '{mood} {style} at {bpm} bpm with {instruments} {shape}',
  'a {mood} piece: {instruments}',
)
_WIDE = 0.35


def caption(song: song_lib.Song) -> str:
  """Writes a caption of a song, in one of several wordings.

  Args:
    song: Song to describe.

  Returns:
    A short phrase, such as 'smoky jazz with double bass and grand piano'.
  """
  rng = np.random.default_rng([song.seed, song.index, 11])
  style = song_lib.STYLES[song.style]

  def pick(words: tuple[str, ...]) -> str:
    return words[rng.integers(len(words))]

  template = pick(_TEMPLATES)
  name = in_place(pick(style.names), template)
  energies = np.array([p.energies for p in song.phrases])
  text = template.format(
    style=name,
    mood=pick(style.moods),
    mode=pick(_MODES[song.mode]),
    tempo=pick(_below(_TEMPI, song.tempo_bpm)),
    energy=pick(_below(_ENERGIES, float(energies.mean()))),
    instruments=_listed(song, rng),
    shape=pick(_shape(energies)),
    bpm=round(song.tempo_bpm),
    key=f'{song.key_name} {song.mode}',
  )
  return ' '.join(text.split())


def in_place(name: str, template: str) -> str:
  """The name of a style, without its article inside of a text."""
  if template.startswith('{style}'):
    return name
  return name.removeprefix('a ').removeprefix('an ')


def _listed(song: song_lib.Song, rng: np.random.Generator) -> str:
  """Two of the instruments that play."""
  players = [p for p in (*song.players, song.kit) if p is not None]
  names = list(dict.fromkeys(players))
  chosen = rng.permutation(len(names))[:2]
  return ' and '.join(names[n] for n in sorted(chosen))


def _shape(energies: np.ndarray) -> tuple[str, ...]:
  first, last = energies[0, 0], energies[-1, 1]
  if last - first > _WIDE:
    return _SHAPES['rises']
  if first - last > _WIDE:
    return _SHAPES['falls']
  return _SHAPES['varies'] if np.ptp(energies) > _WIDE else ('',)


def _below(table, value: float) -> tuple[str, ...]:
  return next(words for border, words in table if value < border)
