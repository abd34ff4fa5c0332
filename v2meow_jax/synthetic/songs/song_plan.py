"""The plan that a song follows, in the form that `v2meow plan` writes."""

from __future__ import annotations

from typing import Any

import numpy as np

from v2meow_jax.synthetic import score
from v2meow_jax.synthetic.songs import song as song_lib

# Nearly all: a plan that is made of a picture names one.
_NAMES_KEY = 0.95


def plan(song: song_lib.Song) -> dict[str, Any]:
  """Beats with energy, sections, key and end of a song, as JSON data.

  Some plans are not quite right; see `score.with_faults`.
  """
  times = song.beat_times
  positions = np.arange(len(times))
  return score.with_faults(
    {
      'seconds': song.seconds,
      'tempo_bpm': song.tempo_bpm,
      'beats_per_bar': song.beats_per_bar,
      'end_seconds': song.end_seconds,
      'key': f'{song.key_name} {song.mode}',
    },
    times=times,
    is_down=positions % song.beats_per_bar == 0,
    energies=song.energy_of(positions),
    starts=[float(t) for t in song.section_times[1:]],
    rng=np.random.default_rng([song.seed, song.index, 6]),
    names_key=_NAMES_KEY,
  )
