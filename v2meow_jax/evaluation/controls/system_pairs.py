"""Embeds videos and their music by a system that compares them."""

import pathlib

import numpy as np

from v2meow_jax.evaluation.listening import feature_cache
from v2meow_jax.evaluation.listening import pairs as pairs_lib
from v2meow_jax.files import atomic
from v2meow_jax.files import read
from v2meow_jax.inference import system as system_lib
from v2meow_jax.inference.ranking import ranker as ranker_lib

_VERSION = 1  # Raised when embeddings change.


def compares(system: object) -> bool:
  """Whether a system tells which music belongs to which video."""
  return isinstance(system, system_lib.System) and ranker_lib.can_rank(
    system.loaded
  )


class Embedding:
  """A system that compares, and a cache of what it made of each clip."""

  def __init__(
    self, system: system_lib.System, cache: feature_cache.FeatureCache
  ):
    """Raises ValueError of a system of which `compares` is false."""
    self._digest, self._cache = system.digest, cache
    self._ranker = ranker_lib.Ranker(loaded=system.loaded)

  def __call__(
    self, video: pathlib.Path, music: pairs_lib.ClipFile
  ) -> tuple[np.ndarray, np.ndarray]:
    """float32[windows, dim] of a video and of its music, unit rows.

    Raises:
      ValueError: The video cannot be read, or the music is too short.
    """
    rate_hz = self._ranker.loaded.codec.sample_rate_hz
    embedded = self._cache.get(
      {
        'what': 'video and music',
        'version': _VERSION,
        'system': self._digest,
        'video': atomic.sha256(video),
        'music': music.sha256,
      },
      lambda: {
        'video': self._ranker.embed_video(video),
        'music': self._ranker.embed_music(
          read.read_audio(music.path, rate_hz=rate_hz)
        ),
      },
    )
    return embedded['video'], embedded['music']
