"""Clusters the frames of a semantic encoder into semantic tokens.

As in AudioLM (https://arxiv.org/abs/2209.03143, section III-B): every dimension
of a layer's output is standardised, and a frame's token is the nearest of 1024
centroids. Repeated tokens stay, because a token is a stretch of time here.
`token_fitting` fits the parameters.
"""

from collections.abc import Mapping
import dataclasses
import json
import os
import pathlib
from typing import Any

import numpy as np
import safetensors

from v2meow_jax import media
from v2meow_jax import specs
from v2meow_jax.clusters import kmeans_assign
from v2meow_jax.clusters import standardize
from v2meow_jax.files import copies
from v2meow_jax.files import paths
from v2meow_jax.files import tensors as tensors_file
from v2meow_jax.pretrained import tensors
from v2meow_jax.pretrained.audio import semantic_encoder


def encode(
  encoder: semantic_encoder.SemanticEncoder, audio: media.Audio
) -> np.ndarray:
  """Runs an encoder and checks its output, float32[frames, dim].

  Raises:
    ValueError: The shape is another, or numbers are not finite.
  """
  frames = encoder(audio)
  wanted = (max(1, round(audio.seconds * encoder.rate_hz)), encoder.dim)
  if frames.shape != wanted:
    raise ValueError(
      f'{type(encoder).__name__} gave {frames.shape} for {audio.seconds:g} s;'
      f' wanted {wanted}, its rate_hz and dim.'
    )
  bad = np.flatnonzero(~np.isfinite(frames).all(1))
  if len(bad):
    raise ValueError(
      f'{type(encoder).__name__} gave NaN or infinity in {len(bad)} of'
      f' {len(frames)} frames, first at {bad[0] / encoder.rate_hz:.2f} s; look'
      ' at the audio there, and at the weights.'
    )
  return frames


@dataclasses.dataclass(frozen=True)
class ClusteredTokens:
  """Emits one code a frame, without de-duplication.

  Attributes:
    stream: Stream of one codebook, at the encoder's rate.
    encoder: Encoder of the music.
    params: 'mean' and 'std' float32[dim], 'centroids' float32[codes, dim].
  """

  reads = 'audio'

  stream: specs.TokenSpec
  encoder: semantic_encoder.SemanticEncoder
  params: Mapping[str, np.ndarray]

  def __post_init__(self):
    name, rate_hz = self.stream.name, self.encoder.rate_hz
    missing = sorted({'mean', 'std', 'centroids'} - set(self.params))
    if missing:
      raise ValueError(
        f'the parameters of stream {name!r} lack {missing}; fit its clusters.'
      )
    if self.stream.codes_per_frame != 1:
      raise ValueError(
        f'stream {name!r} has {self.stream.codes_per_frame} codes a frame, and'
        ' clusters give one; change the stream.'
      )
    if self.stream.rate_hz != rate_hz:
      raise ValueError(
        f'stream {name!r} is at {self.stream.rate_hz:g} Hz and its encoder,'
        f' {type(self.encoder).__name__}, at {rate_hz:g} Hz; set'
        f' rate_hz={rate_hz:g} in the stream or use another encoder.'
      )
    codes = len(self.params['centroids'])
    if self.stream.codebook_size != codes:
      raise ValueError(
        f'stream {name!r} has {self.stream.codebook_size} codes, but {codes}'
        ' clusters were fitted; fit them again for this stream.'
      )
    for part, x in self.params.items():
      if x.shape[-1] != self.encoder.dim:
        raise ValueError(
          f'{part!r} of stream {name!r} is of {x.shape[-1]} numbers a frame,'
          f' its encoder gives {self.encoder.dim}; they were fitted to another'
          ' encoder: fit them again or use that one.'
        )

  @property
  def sample_rate_hz(self) -> int:
    """Sample rate at which audio is best read, in Hz."""
    return self.encoder.sample_rate_hz

  def __call__(self, item: media.Audio) -> np.ndarray:
    """int32[frames, 1]."""
    frames = standardize.apply(encode(self.encoder, item), self.params)
    codes = kmeans_assign.assign(frames, self.params['centroids']).index
    return codes[:, None]


# Metadata of a file of clusters: JSON data of the encoder they were fitted to.
_ENCODER_KEY = 'heard_by'


def write_clusters(
  path: pathlib.Path,
  params: Mapping[str, np.ndarray],
  encoder: Mapping[str, Any],
) -> None:
  """Saves clusters and the identity of their encoder, as JSON data."""
  metadata = {_ENCODER_KEY: json.dumps(encoder, sort_keys=True)}
  tensors_file.write(path, dict(params), None, metadata)


def read_clusters(
  file: str | os.PathLike, stream: str, encoder: Mapping[str, Any]
) -> dict[str, np.ndarray]:
  """Parameters of `ClusteredTokens`.

  Args:
    file: File that `v2meow data fit` wrote.
    stream: Name of the stream.
    encoder: Identity of the encoder in use, as `write_clusters` was given it.

  Returns:
    'mean', 'std' and 'centroids'.

  Raises:
    ValueError: There is no such file, or it is of another encoder.
  """
  path = paths.path(file)
  if not path.is_file():
    raise ValueError(
      f'the clusters of stream {stream!r} are not at {path}: fit them with'
      f' v2meow data fit MANIFEST -o {path} and the --gin_file of this recipe.'
    )
  copy = copies.local(path)
  with safetensors.safe_open(copy, 'numpy') as f:
    fitted = json.loads((f.metadata() or {}).get(_ENCODER_KEY, 'null'))
  # The name of the file of weights does not matter.
  if {**(fitted or {}), 'weights': ''} != {**encoder, 'weights': ''}:
    origin = f'to {fitted}' if fitted else 'without saying to what'
    raise ValueError(
      f'the clusters of {path} were fitted {origin}, and this recipe encodes'
      f' with {encoder}: name the encoder, layer and weights that they are of,'
      ' or fit them again with v2meow data fit.'
    )
  return tensors.load(copy)
