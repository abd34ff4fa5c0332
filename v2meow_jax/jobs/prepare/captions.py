"""Rows of captions and their music, which train the style embedding."""

import pathlib

import numpy as np

from v2meow_jax import media
from v2meow_jax.extractors.embedded import fitted
from v2meow_jax.files import tensors


class CaptionFeatures:
  """Turns music and its caption into a row of a batch of the style embedding."""

  def __init__(self, path: str):
    """Reads the file that `v2meow data fit` wrote."""
    self._params = tensors.flatten(tensors.read(pathlib.Path(path)))

  def __call__(self, audio: media.Audio, caption: str) -> dict[str, np.ndarray]:
    """See `fitted.clip_features`."""
    return fitted.clip_features(self._params, audio, caption)
