"""Defines what is computed of a clip's sound without a network."""

from collections.abc import Callable
import dataclasses
from typing import get_args

import numpy as np

from v2meow_jax import media
from v2meow_jax.evaluation.listening import feature_cache
from v2meow_jax.evaluation.listening import genre_probe
from v2meow_jax.evaluation.metrics import beat_coverage
from v2meow_jax.evaluation.metrics import beat_scores
from v2meow_jax.evaluation.metrics import timing

# `beat_scores.track` has windows for this rate; onsets have their own.
BEAT_RATE_HZ = 16_000


@dataclasses.dataclass(frozen=True, kw_only=True)
class Detector:
  """A computation on the sound of a clip, whose results are cached.

  Attributes:
    name: Name in the key of the cache.
    version: Version in the key; raised when results change.
    rate_hz: Rate at which the key gives the length of the clip, in Hz.
    compute: Function that gets the sound at any rate in Hz, by a call, and
      returns arrays of numbers by name.
  """

  name: str
  version: int = 1
  rate_hz: int
  compute: Callable[[Callable[[int], media.Audio]], feature_cache.Arrays]


def rhythm(arrays: feature_cache.Arrays) -> timing.Rhythm:
  """Reads onsets and beats from the arrays of `BEATS`."""
  tempo_bpm = float(arrays['tempo_bpm'])
  return timing.Rhythm(
    onsets=arrays['onsets'],
    beats=beat_scores.Beats(tempo_bpm=tempo_bpm or None, times=arrays['beats']),
  )


def _beats(sound: Callable[[int], media.Audio]) -> feature_cache.Arrays:
  audio = sound(beat_coverage.RATE_HZ)
  tracked = beat_scores.track(sound(BEAT_RATE_HZ))
  return {
    **{
      f'bins_{form}': beat_coverage.bins(audio, form)
      for form in get_args(beat_coverage.Form)
    },
    'onsets': beat_coverage.onsets(audio),
    'tempo_bpm': np.float64(tracked.tempo_bpm or 0.0),
    'beats': tracked.times,
  }


def _genre(sound: Callable[[int], media.Audio]) -> feature_cache.Arrays:
  return {'features': genre_probe.features(sound(BEAT_RATE_HZ))}


BEATS = Detector(name='beats', rate_hz=beat_coverage.RATE_HZ, compute=_beats)
GENRE = Detector(name='genre', rate_hz=BEAT_RATE_HZ, compute=_genre)
