"""Melodies: motifs that return, on the chords beneath them."""

from __future__ import annotations

import zlib

import numpy as np

from v2meow_jax.synthetic.songs import harmony
from v2meow_jax.synthetic.songs import song as song_lib

_RHYTHMS = {
  4: (
    '9...7...8...7...',
    '9.....7.8...7...',
    '9...7.7.8.......',
    '9.......8...7.7.',
    '9.7.8.7.9...7...',
    '9..7..7.8..7..7.',
    '8...8.7.9.....7.',
    '..7.8.7.9...8...',
  ),
  3: ('9...7...7...', '9.......7...', '9...7.7.7...', '9.....7.7.7.'),
}
_ENDINGS = {
  4: ('9.......8.......', '9...7...9.......', '9...............'),
  3: ('9...........', '9...7.......'),
}
_STEPS = (-2, -1, -1, -1, 0, 1, 1, 1, 2)
_BELOW, _ABOVE = 9, 11
_HIGHER = {'B': 4}
# Notes of a motif, so that each of a bar has its own step.
_MOTIF_NOTES = 16


def bars(
  song: song_lib.Song,
  label: str,
  chords: list[tuple[int, ...]],
  centre: int,
  part: int,
) -> list[list[tuple[int, int, int, float]]]:
  """Notes of the melody of a phrase.

  The first and third bar share rhythm and motif; "A'" is A up to its last bar,
  which comes home to the tonic.

  Args:
    song: Song of the melody.
    label: Label of the phrase.
    chords: Pitch classes of the chord of each bar, the root first.
    centre: Pitch that it lies around, a MIDI number.
    part: Number of the part, whose melody is its own.

  Returns:
    For each bar: first step and end of each note in sixteenths, pitch, and
    strength from 0 to 1.
  """
  material = 'B' if label == 'B' else 'A'
  rng = np.random.default_rng(
    [song.seed, song.index, 8, part, zlib.crc32(material.encode())]
  )
  metre = song.beats_per_bar
  rhythms, endings = _RHYTHMS[metre], _ENDINGS[metre]
  twin, other = (rhythms[rng.integers(len(rhythms))] for _ in range(2))
  ending = endings[rng.integers(len(endings))]
  motifs = rng.choice(_STEPS, (2, _MOTIF_NOTES))
  centre = centre + _HIGHER.get(material, 0)
  ladder = harmony.scale_pitches(
    song.key, song.mode, centre - _BELOW, centre + _ABOVE
  )
  place = len(ladder) // 2
  phrase = []
  for n, chord in enumerate(chords):
    is_last = n == len(chords) - 1
    rhythm = ending if is_last else (twin, other)[n % 2]
    notes = []
    steps = [s for s, c in enumerate(rhythm) if c != '.']
    for k, step in enumerate(steps):
      place += int(motifs[n % 2][k])
      # It turns back before it leaves its range.
      place = int(np.clip(place, 1, len(ladder) - 2))
      pitch = ladder[place]
      comes_home = is_last and label != 'A' and k == len(steps) - 1
      if comes_home and song.key in chord:
        pitch = _nearest((song.key,), pitch)
      elif n == k == 0 and song.key in chord:
        # A phrase that begins on the tonic says which key it is in.
        pitch = _nearest((song.key,), pitch)
      elif step % 4 == 0:
        pitch = _nearest(chord, pitch)
      place = int(np.argmin(np.abs(np.array(ladder) - pitch)))
      end = steps[k + 1] if k + 1 < len(steps) else 4 * metre
      notes.append((step, end, pitch, int(rhythm[step]) / 9))
    phrase.append(notes)
  return phrase


def _nearest(classes: tuple[int, ...], pitch: int) -> int:
  """The pitch of one of some classes that is nearest to a pitch."""
  near = range(pitch - 6, pitch + 7)
  return min(
    (p for p in near if p % 12 in {c % 12 for c in classes}),
    key=lambda p: abs(p - pitch),
  )
