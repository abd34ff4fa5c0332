"""Hears a clip once: what every metric needs of it, kept by its content."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
from typing import Any
from typing import get_args

import numpy as np

from v2meow_jax import media
from v2meow_jax.evaluation.listening import feature_cache
from v2meow_jax.evaluation.listening import genre_probe
from v2meow_jax.evaluation.listening import pairs
from v2meow_jax.evaluation.metrics import beat_coverage
from v2meow_jax.evaluation.metrics import beat_scores
from v2meow_jax.evaluation.metrics import timing
from v2meow_jax.files import read
from v2meow_jax.files import write
from v2meow_jax.pretrained import network as network_lib

# `beat_scores.track` has windows for this rate; onsets have their own.
BEAT_RATE_HZ = 16_000
# Raised when a network's front end or a detector gives other figures.
_VERSIONS = {'rows': 1, 'beats': 1, 'genre': 1}
_NOTHING = timing.Heard(
  onsets=np.zeros(0),
  beats=beat_scores.Beats(tempo_bpm=None, times=np.zeros(0)),
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Heard:
  """What metrics need of a clip.

  Attributes:
    rows: float32[rows, dim] by network.
    bins: bool[seconds] by form of beat coverage; empty where none is wanted.
    timing: Onsets and beats; none of either where they are not wanted.
    genre_features: As `genre_probe.features`; empty where none are wanted.
  """

  rows: Mapping[str, np.ndarray]
  bins: Mapping[beat_coverage.Form, np.ndarray]
  timing: timing.Heard
  genre_features: np.ndarray


class Listener:
  """Networks and detectors with one cache."""

  def __init__(
    self,
    networks: Sequence[network_lib.Network],
    cache: feature_cache.FeatureCache,
    *,
    beats: bool,
    genres: bool = False,
  ):
    """Hears nothing yet.

    Args:
      networks: Of different names.
      cache: Of what was heard.
      beats: Whether onsets and beats are wanted.
      genres: Whether the features for a judge of genres are wanted.
    """
    self.networks = tuple(networks)
    self._cache = cache
    self._beats = beats
    self._genres = genres

  def __call__(self, clip: pairs.Clip, seconds: float) -> Heard:
    """Hears the first seconds of a clip, mono, at the rate each ear wants.

    Args:
      clip: Of which to hear.
      seconds: At most as long as the clip.

    Returns:
      What was heard.

    Raises:
      ValueError: The stretch is too short for a network, or cannot be read.
    """
    rows = {}
    for network in self.networks:
      rate_hz = network.sample_rate_hz
      rows[network.name] = self._cache.get(
        _key('rows', clip, seconds, rate_hz)
        | {'network': network.name, 'digest': network.digest},
        lambda n=network: {'rows': n(_cut(clip, seconds, n.sample_rate_hz))},
      )['rows']
    return Heard(
      rows=rows,
      **self._hear_beats(clip, seconds),
      genre_features=self._hear_genre(clip, seconds),
    )

  def _hear_beats(self, clip: pairs.Clip, seconds: float) -> dict[str, Any]:
    if not self._beats:
      return {'bins': {}, 'timing': _NOTHING}
    key = _key('beats', clip, seconds, beat_coverage.RATE_HZ)
    found = self._cache.get(key, lambda: _beats(clip, seconds))
    tempo_bpm = float(found['tempo_bpm'])
    return {
      'bins': {
        form: found[f'bins_{form}'] for form in get_args(beat_coverage.Form)
      },
      'timing': timing.Heard(
        onsets=found['onsets'],
        beats=beat_scores.Beats(
          tempo_bpm=tempo_bpm or None, times=found['beats']
        ),
      ),
    }

  def _hear_genre(self, clip: pairs.Clip, seconds: float) -> np.ndarray:
    if not self._genres:
      return np.zeros(0)
    key = _key('genre', clip, seconds, BEAT_RATE_HZ)

    def compute() -> feature_cache.Arrays:
      audio = _cut(clip, seconds, BEAT_RATE_HZ)
      return {'features': genre_probe.features(audio)}

    return self._cache.get(key, compute)['features']


def _key(
  what: str, clip: pairs.Clip, seconds: float, rate_hz: int
) -> dict[str, Any]:
  return {
    'what': what,
    'version': _VERSIONS[what],
    'sha256': clip.sha256,
    'samples': round(seconds * rate_hz),
  }


def _beats(clip: pairs.Clip, seconds: float) -> feature_cache.Arrays:
  audio = _cut(clip, seconds, beat_coverage.RATE_HZ)
  tracked = beat_scores.track(_cut(clip, seconds, BEAT_RATE_HZ))
  return {
    **{
      f'bins_{form}': beat_coverage.bins(audio, form)
      for form in get_args(beat_coverage.Form)
    },
    'onsets': beat_coverage.onsets(audio),
    'tempo_bpm': np.float64(tracked.tempo_bpm or 0.0),
    'beats': tracked.times,
  }


def _cut(clip: pairs.Clip, seconds: float, rate_hz: int) -> media.Audio:
  audio = read.read_audio(clip.path, rate_hz=rate_hz)
  return write.fit_length(audio, round(seconds * rate_hz))
