"""A joint embedding of text and music as two extractors, whatever the network.

V2Meow conditions on one MuLan vector per video: of music in training, the mean
over all segments of 10 s, and of a text in use. A network maps batches of
segments, and of texts, to vectors; what is around it is here, once.
"""

from __future__ import annotations

from collections.abc import Sequence
import dataclasses
import itertools
from typing import Protocol

import numpy as np

from v2meow_jax import media
from v2meow_jax import specs
from v2meow_jax.extractors import extractor
from v2meow_jax.pretrained.text_music import segments


class Network(Protocol):
  """Two towers whose vectors point the same way when they belong together."""

  @property
  def dim(self) -> int:
    """Of the joint space."""
    ...

  @property
  def sample_rate_hz(self) -> int:
    """Of the waveforms that it hears."""
    ...

  def embed_music(self, waveforms: np.ndarray) -> np.ndarray:
    """float32[b, 10 * sample_rate_hz] -> float32[b, dim], of any length."""
    ...

  def embed_texts(self, texts: Sequence[str]) -> np.ndarray:
    """b texts -> float32[b, dim], of any length."""
    ...


def unit(vectors: np.ndarray) -> np.ndarray:
  """float[..., dim] -> float32[..., dim] of length 1; zeros stay zeros."""
  norm = np.linalg.norm(vectors, axis=-1, keepdims=True)
  return (vectors / np.maximum(norm, 1e-12)).astype(np.float32)


def check_stream(stream: specs.FeatureSpec, dim: int) -> None:
  """Raises ValueError unless a stream holds one vector of `dim` per clip."""
  extractor.check_dim(stream.name, stream.dim, dim)
  if not stream.is_static:
    raise ValueError(
      f'stream {stream.name!r} has rate_hz={stream.rate_hz}; a joint embedding'
      ' is one vector per clip, rate_hz=0.'
    )


@dataclasses.dataclass(frozen=True)
class TextEmbedding:
  """One vector for a prompt.

  Attributes:
    stream: Static; its dim is that of the network.
    network: That reads the prompt.
  """

  reads = 'text'
  sample_rate_hz = None

  stream: specs.FeatureSpec
  network: Network

  def __post_init__(self):
    check_stream(self.stream, self.network.dim)

  def __call__(self, item: str) -> np.ndarray:
    """float32[1, dim], a unit vector."""
    return unit(self.network.embed_texts([item]))


@dataclasses.dataclass(frozen=True)
class MusicEmbedding:
  """One vector for music: the mean of unit vectors of segments of 10 s.

  Segments and how they are filled: `segments.waveforms`. Memory beyond the
  audio is that of one batch of them.

  Attributes:
    stream: Static; its dim is that of the network.
    network: That hears the segments.
    batch_size: Segments that it hears at once.
  """

  reads = 'audio'

  stream: specs.FeatureSpec
  network: Network
  batch_size: int = 4

  def __post_init__(self):
    check_stream(self.stream, self.network.dim)
    if self.batch_size < 1:
      raise ValueError(f'batch_size is {self.batch_size}; wanted at least 1.')

  @property
  def sample_rate_hz(self) -> int:
    """At which audio is best read."""
    return self.network.sample_rate_hz

  def __call__(self, item: media.Audio) -> np.ndarray:
    """float32[1, dim], a unit vector."""
    heard = segments.waveforms(item, self.network.sample_rate_hz)
    total = np.zeros(self.stream.dim)
    while batch := list(itertools.islice(heard, self.batch_size)):
      total += unit(self.network.embed_music(np.stack(batch))).sum(0)
    return unit(total[None])


def extractors(
  stream: specs.FeatureSpec, network: Network
) -> dict[str, extractor.Extractor]:
  """Both sides by the names they have in a system: 'style', 'style_text'."""
  return {
    'style': MusicEmbedding(stream, network),
    'style_text': TextEmbedding(stream, network),
  }
