"""Describes a song as a user's prompt would, in everyday words.

`song_captions` names styles and instruments by the words of this world; people
say "synth pads" and "electric guitar". A style network that has met both hears
them alike.
"""

from __future__ import annotations

import numpy as np

from v2meow_jax.synthetic.bank import orchestra
from v2meow_jax.synthetic.songs import song as song_lib
from v2meow_jax.synthetic.songs.words import song_captions

_PAD = ('synth pads', 'soft pads', 'a synth pad', 'airy pads')
_LEAD = ('a synth', 'a lead synth', 'synths')
_GUITAR = ('electric guitar', 'electric guitars', 'heavy guitars')
_DRUMS = ('drums', 'live drums', 'a drum kit')
_BEATS = ('electronic drums', 'beats', 'programmed drums', 'an electronic beat')
_BRUSHES = ('soft drums', 'brushes', 'light drums')
_STRINGS = ('strings', 'string section', 'violins')
# Instruments as people call them; others have a name that everybody knows.
_INSTRUMENTS = {
  'grand piano': ('piano', 'a piano', 'grand piano'),
  'bright piano': ('piano', 'a piano'),
  'electric piano': ('electric piano', 'rhodes', 'keys'),
  'fm electric piano': ('electric piano', 'keys'),
  'organ': ('organ', 'hammond organ'),
  'rock organ': ('organ', 'hammond organ'),
  'nylon guitar': ('guitar', 'classical guitar', 'acoustic guitar'),
  'acoustic guitar': ('guitar', 'acoustic guitar', 'strummed guitar'),
  'jazz guitar': ('guitar', 'jazz guitar'),
  'clean guitar': ('guitar', 'electric guitar'),
  'muted guitar': ('guitar', 'rhythm guitar'),
  'overdriven guitar': _GUITAR,
  'distorted guitar': _GUITAR,
  'double bass': ('upright bass', 'bass', 'contrabass'),
  'bass guitar': ('bass', 'electric bass', 'bass guitar'),
  'picked bass': ('bass', 'electric bass', 'bass guitar'),
  'synth bass': ('bass', 'a synth bass'),
  'deep synth bass': ('sub bass', 'deep bass', 'an 808 bass'),
  'strings': _STRINGS,
  'slow strings': _STRINGS,
  'synth strings': ('string pads', 'strings', 'synth strings'),
  'choir': ('voices', 'choir'),
  'brass': ('horns', 'brass', 'a horn section'),
  'tenor sax': ('saxophone', 'sax', 'a saxophone'),
  'square lead': _LEAD,
  'saw lead': _LEAD,
  'polysynth': ('synth chords', 'analog synths', 'synths'),
  'warm pad': _PAD,
  'halo pad': _PAD,
  'sweep pad': _PAD,
  'crystal synth': ('bells', 'shimmering bells', 'a sparkling synth'),
  'drums': _DRUMS,
  'room drums': _DRUMS,
  'power drums': ('loud drums', 'big drums', *_DRUMS),
  'electronic drums': _BEATS,
  'drum machine': ('a drum machine', '808 drums', *_BEATS),
  'jazz drums': ('drums', *_BRUSHES),
  'brushed drums': _BRUSHES,
  'orchestral percussion': ('timpani', 'percussion', 'big drums'),
}
# What people call a style besides its names in captions.
_STYLES = {
  'solo_piano': ('piano', 'soft piano', 'a piano solo', 'a piano ballad'),
  'strings': ('strings', 'a string quartet', 'classical strings'),
  'orchestra': ('an orchestra', 'epic trailer music', 'a soundtrack'),
  'waltz': ('waltz', 'a slow waltz', 'ballroom music', 'a waltz in three four'),
  'folk': ('folk', 'country music', 'an acoustic song', 'americana'),
  'jazz': ('a jazz band', 'smooth jazz', 'jazz music', 'bebop'),
  'bossa_nova': ('bossa', 'latin music', 'brazilian music', 'lounge music'),
  'reggae': ('reggae music', 'ska', 'caribbean music'),
  'percussion': ('drumming', 'african drums', 'only drums', 'percussion music'),
  'pop': ('a pop song', 'happy pop', 'corporate music', 'indie pop'),
  'rock': ('a rock song', 'hard rock', 'indie rock', 'punk', 'metal'),
  'hip_hop': ('lo-fi beats', 'a rap beat', 'trap', 'chillhop', 'hiphop'),
  'house': ('a house track', 'dance music', 'club music', 'edm', 'disco house'),
  'techno': ('a techno track', 'rave music', 'acid techno', 'electro'),
  'drum_and_bass': ('dnb', 'drum n bass', 'breakbeats', 'a jungle track'),
  'ambient': ('atmospheric music', 'meditation music', 'drone', 'chillout'),
  'funk': ('funk music', 'funky music', 'soul', 'a funk band'),
  'synthwave': ('retrowave', 'eighties music', '80s synth music', 'synth pop'),
  'chiptune': ('8-bit music', 'retro game music', 'a video game soundtrack'),
}
_MOODS = {
  'major': ('happy', 'bright', 'cheerful', 'positive', 'sweet'),
  'minor': ('dark', 'sad', 'moody', 'tense', 'melancholic'),
}
_QUIET = ('calm', 'soft', 'gentle', 'relaxing', 'quiet')
_LOUD = ('energetic', 'loud', 'powerful', 'intense', 'lively')
_TEMPLATES = (
  '{style}',
  '{word} {style}',
  '{style} with {instrument}',
  '{word} {style} with {instrument}',
  '{word} {style} with {instrument} and {other}',
  '{word} music with {instrument}',
  '{style}, {word}, {instrument}, {other}',
)
_TEMPLATES_OF_ONE = tuple(t for t in _TEMPLATES if '{other}' not in t)
_QUIET_BELOW, _LOUD_FROM = 0.35, 0.6


def prompt(song: song_lib.Song) -> str:
  """Writes a prompt that a song would fit, in one of several wordings.

  Args:
    song: Song to describe.

  Returns:
    A short phrase, such as 'gentle ambient with synth pads'.
  """
  rng = np.random.default_rng([song.seed, song.index, 12])

  def pick(words):
    return str(words[rng.integers(len(words))])

  names = (*song_lib.STYLES[song.style].names, *_STYLES[song.style])
  players = [p for p in (*song.players, song.kit) if p is not None]
  chosen = rng.permutation(list(dict.fromkeys(players)))
  picked = [pick(_INSTRUMENTS.get(name, (name,))) for name in chosen]
  said = list(dict.fromkeys(picked))  # Several guitars may be 'guitar'.
  template = pick(_TEMPLATES if len(said) > 1 else _TEMPLATES_OF_ONE)
  return template.format(
    style=song_captions.in_place(pick(names), template),
    word=pick(_words(song)),
    instrument=said[0],
    other=said[-1],
  )


def phrases() -> list[str]:
  """All words that a prompt may have, a phrase at a time."""
  names = [n for style in song_lib.STYLES.values() for n in style.names]
  moods = [m for style in song_lib.STYLES.values() for m in style.moods]
  tables = (_INSTRUMENTS, _STYLES, _MOODS)
  said = [
    phrase for table in tables for row in table.values() for phrase in row
  ]
  players = (*orchestra.INSTRUMENTS, *orchestra.KITS)
  return [*names, *moods, *said, *_QUIET, *_LOUD, *players]


def _words(song: song_lib.Song) -> tuple[str, ...]:
  """What may be said of mood and loudness."""
  level = float(np.mean([p.energies for p in song.phrases]))
  words = (*_MOODS[song.mode], *song_lib.STYLES[song.style].moods)
  if level < _QUIET_BELOW:
    return (*words, *_QUIET)
  return (*words, *_LOUD) if level >= _LOUD_FROM else words
