"""TRILL (Shor et al. 2020, https://arxiv.org/abs/2002.12764), a SavedModel.

A triplet embedding of speech, for V2Meow's second Frechet distance. It was
published as a SavedModel only, which TensorFlow runs. A SavedModel is a
program: load only one that you trust.
"""

import dataclasses
import pathlib
from typing import Any

from jaxtyping import Float
import numpy as np

from v2meow_jax import media
from v2meow_jax.files import atomic
from v2meow_jax.pretrained import network

_LAYER = 'embedding'  # `layer19`, its other output, is used elsewhere.
_RATE_HZ = 16_000
# ours: the network gets at most this at once; music clips are shorter.
_PIECE_SECONDS = 60


@dataclasses.dataclass(frozen=True, kw_only=True)
class Trill:
  """TRILL, one row every 0.167 s, as the SavedModel cuts a clip.

  Longer clips are cut into minutes (`network.windows`).

  Attributes:
    name: Name of the network in reports.
    digest: SHA-256 of the folder.
    module: Loaded SavedModel: `module(samples, sample_rate=16000)`.
    dim: Width of the layer `embedding`.
  """

  name: str
  digest: str
  module: Any
  dim: int = 512
  sample_rate_hz: int = dataclasses.field(default=_RATE_HZ, init=False)
  output: network.Output = dataclasses.field(default='embedding', init=False)

  def __call__(self, audio: media.Audio) -> Float[np.ndarray, 'rows dim']:
    """Rows of a clip."""
    samples = network.samples_at(audio, _RATE_HZ)
    rows = [
      np.asarray(self.module(piece, sample_rate=_RATE_HZ)[_LAYER])
      for piece in network.windows(samples, _PIECE_SECONDS * _RATE_HZ)
    ]
    return network.checked(self, np.concatenate(rows))


def load(name: str, folder: pathlib.Path) -> Trill:
  """Loads the network from a folder.

  Args:
    name: Name of the network in reports.
    folder: Folder of the unpacked SavedModel.

  Returns:
    The network.

  Raises:
    ValueError: It is no SavedModel, or cannot be called as TRILL is.
  """
  import tensorflow as tf

  try:
    module = tf.saved_model.load(str(folder))
  except (OSError, ValueError) as e:
    raise ValueError(f'{folder} is no SavedModel: {e}') from e
  if not callable(module):
    raise ValueError(
      f'the SavedModel {folder} cannot be called; wanted'
      ' https://tfhub.dev/google/nonsemantic-speech-benchmark/trill/3.'
    )
  return Trill(name=name, digest=atomic.sha256(folder), module=module)
