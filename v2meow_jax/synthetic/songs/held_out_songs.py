"""Held-out songs of the genres that the drawn world has too.

A song is a function of (seed, index). Worlds number their songs from 0, so no
training uses indices from two thousand million up.
"""

import itertools

from v2meow_jax import media
from v2meow_jax.synthetic import held_out
from v2meow_jax.synthetic.bank import banks
from v2meow_jax.synthetic.songs import mixing
from v2meow_jax.synthetic.songs import song as song_lib

RATE_HZ = 16_000
# Genre of the drawn world -> style of songs.
STYLES = {
  'ambient': 'ambient',
  'hiphop': 'hip_hop',
  'waltz': 'waltz',
  'house': 'house',
  'rock': 'rock',
  'drum_and_bass': 'drum_and_bass',
}
GENRES = {style: genre for genre, style in STYLES.items()}


def probe_songs(
  seed: int, per_genre: int, seconds: float
) -> list[song_lib.Song]:
  """Draws the first `per_genre` songs of every such style in the range."""
  missing = dict.fromkeys(GENRES, per_genre)
  songs = []
  indices = itertools.count(held_out.PROBE_INDEX)
  while any(missing.values()):
    candidate = song_lib.sample(seed, next(indices), seconds)
    if missing.get(candidate.style):
      missing[candidate.style] -= 1
      songs.append(candidate)
  return songs


def music(song: song_lib.Song) -> media.Audio:
  """Plays a song, with the bank that `banks.source` finds."""
  return mixing.render(song, banks.load(banks.source(None), RATE_HZ))
