"""Computes what metrics need of a clip once, and caches it by its content."""

from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import functools

import numpy as np

from v2meow_jax import media
from v2meow_jax.evaluation.listening import detectors as detectors_lib
from v2meow_jax.evaluation.listening import feature_cache
from v2meow_jax.evaluation.listening import pairs
from v2meow_jax.files import read
from v2meow_jax.pretrained import network as network_lib

_ROWS_VERSION = 1  # Raised when a network's front end changes.


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClipFeatures:
  """Features of one clip.

  Attributes:
    rows: Output of each network, float32[rows, dim], by its name.
    arrays: Arrays of each detector by its name.
  """

  rows: Mapping[str, np.ndarray]
  arrays: Mapping[str, feature_cache.Arrays]


class Analyser:
  """Networks and detectors that share one cache."""

  def __init__(
    self,
    networks: Sequence[network_lib.AudioNetwork],
    cache: feature_cache.FeatureCache,
    detectors: Sequence[detectors_lib.Detector] = (),
  ):
    """Computes nothing yet.

    Args:
      networks: Networks of different names.
      cache: Cache of features.
      detectors: Detectors of different names.
    """
    self._networks = tuple(networks)
    self._cache = cache
    self._detectors = tuple(detectors)

  def __call__(self, clip: pairs.ClipFile, seconds: float) -> ClipFeatures:
    """Computes features of the first seconds of a clip.

    Args:
      clip: File of the clip; read as mono, at the rate of each network.
      seconds: Length to use, at most that of the clip.

    Returns:
      The features.

    Raises:
      ValueError: The stretch is too short for a network, or cannot be read.
    """
    sound = functools.partial(_sound, clip, seconds)
    rows = {}
    for network in self._networks:
      rows[network.name] = self._cache.get(
        {
          'what': 'rows',
          'version': _ROWS_VERSION,
          'sha256': clip.sha256,
          'samples': round(seconds * network.sample_rate_hz),
          'network': network.name,
          'digest': network.digest,
        },
        lambda n=network: {'rows': n(sound(n.sample_rate_hz))},
      )['rows']
    arrays = {}
    for detector in self._detectors:
      key = {
        'what': detector.name,
        'version': detector.version,
        'sha256': clip.sha256,
        'samples': round(seconds * detector.rate_hz),
      }
      arrays[detector.name] = self._cache.get(
        key, lambda d=detector: d.compute(sound)
      )
    return ClipFeatures(rows=rows, arrays=arrays)


def _sound(clip: pairs.ClipFile, seconds: float, rate_hz: int) -> media.Audio:
  audio = read.read_audio(clip.path, rate_hz=rate_hz)
  return audio.fitted(round(seconds * rate_hz))
