"""Keeps the notes of a soundtrack to the key of its plan."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from v2meow_jax import media
from v2meow_jax.codecs import autoencoder
from v2meow_jax.codecs import codec as codec_lib
from v2meow_jax.codecs.sines import analysis
from v2meow_jax.codecs.sines import sines
from v2meow_jax.extractors.planning import plan as plan_lib
from v2meow_jax.files.films import scratch

# Notes outside the key are this much softer. Ours: of 36 wishes for a key 27 are
# heard with 0 dB, 29 with 6 to 12; less than 12 leaves borrowed chords a colour.
_SOFTER_DB = 9.0
# Steps above the tonic; music in minor has its leading note too.
_SCALES = {
  'major': (0, 2, 4, 5, 7, 9, 11),
  'minor': (0, 2, 3, 5, 7, 8, 10, 11),
}
_BLOCK_FRAMES = 1500  # Of a film, at once: a minute at 25 Hz.


def in_key(
  streams: Mapping[str, np.ndarray],
  codec: codec_lib.Codec | autoencoder.Autoencoder,
  plan: plan_lib.MusicPlan | None,
  make: scratch.Room = scratch.in_memory,
) -> Mapping[str, np.ndarray]:
  """Makes notes softer that do not belong to the key of their section.

  Args:
    streams: Streams that the stages wrote of a clip, [frames, ...], by name.
    codec: The codec; only that of notes and noises, `codecs/sines`, has notes.
    plan: Plan of the clip; without one, and where it names no key, nothing
      changes.
    make: Function that gives the zeros that other latents are written over.

  Returns:
    The streams, with other latents where the codec has notes.
  """
  config = getattr(codec, 'config', None)
  if plan is None or not isinstance(config, sines.SinesConfig):
    return streams
  name = codec.stream.name
  given = streams[name]
  latents = make(given.shape)
  notes = config.lowest_note + np.arange(config.num_notes)
  for first in range(0, len(given), _BLOCK_FRAMES):
    block = latents[first : first + _BLOCK_FRAMES]
    block[:] = given[first : first + _BLOCK_FRAMES]
    times = np.arange(first, first + len(block)) / codec.stream.rate_hz
    for stretch, key in plan.keys_of(times):
      others = np.flatnonzero(~belongs(notes, key))
      block[stretch, others] -= analysis.decibels(_SOFTER_DB)
    media.release(given)
    media.release(block)
  return {**streams, name: latents}


def belongs(notes: np.ndarray, key: str) -> np.ndarray:
  """Whether each note, a number in MIDI, is of the scale of a key.

  >>> belongs(np.array([60, 61, 69]), 'C major')
  array([ True, False,  True])
  """
  tonic, mode = key.split()
  steps = (notes - plan_lib.TONICS.index(tonic)) % 12
  return np.isin(steps, _SCALES[mode])
