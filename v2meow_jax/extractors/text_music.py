"""Turns a joint embedding of text and music into two extractors.

V2Meow conditions on one MuLan vector per video: in training that of the music,
the mean over its segments of 10 s, and in use that of a text. These extractors
work with any network that maps batches of segments and of texts to vectors.
"""

from collections.abc import Sequence
import dataclasses
import itertools
from typing import Protocol

import numpy as np

from v2meow_jax import media
from v2meow_jax import specs
from v2meow_jax.extractors import extractor
from v2meow_jax.extractors import vocabulary
from v2meow_jax.pretrained.text_music import segments


class TextMusicNetwork(Protocol):
  """Two towers whose vectors point the same way when they belong together."""

  @property
  def dim(self) -> int:
    """Width of the joint space."""
    ...

  @property
  def sample_rate_hz(self) -> int:
    """Sample rate of the waveforms, in Hz."""
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
class TextStyle:
  """Embeds a prompt as one vector.

  Attributes:
    stream: Static stream to emit; its dim is that of the network.
    network: TextMusicNetwork to embed prompts with.
  """

  reads = 'text'
  sample_rate_hz = None

  stream: specs.FeatureSpec
  network: TextMusicNetwork

  def __post_init__(self):
    check_stream(self.stream, self.network.dim)

  def knows(self, text: str) -> bool:
    """Whether a text has a word that the network can have met in training.

    Those of others read pieces of words, and were trained on the words of the
    web; those that are trained here say it themselves.
    """
    known = getattr(self.network, 'knows', None)
    return known(text) if known else vocabulary.knows(None, text)

  def __call__(self, item: str) -> np.ndarray:
    """float32[1, dim], a unit vector."""
    return unit(self.network.embed_texts([item]))


@dataclasses.dataclass(frozen=True)
class MusicStyle:
  """Embeds music as one vector, the mean over unit vectors of segments.

  `segments.waveforms` makes the segments. Memory beyond the audio holds one
  batch of them.

  Attributes:
    stream: Static stream to emit; its dim is that of the network.
    network: TextMusicNetwork to embed segments with.
    batch_size: Segments in one call of the network.
  """

  reads = 'audio'

  stream: specs.FeatureSpec
  network: TextMusicNetwork
  batch_size: int = 4

  def __post_init__(self):
    check_stream(self.stream, self.network.dim)
    if self.batch_size < 1:
      raise ValueError(f'batch_size is {self.batch_size}; wanted at least 1.')

  @property
  def sample_rate_hz(self) -> int:
    """Sample rate at which audio is best read, in Hz."""
    return self.network.sample_rate_hz

  def __call__(self, item: media.Audio) -> np.ndarray:
    """float32[1, dim], a unit vector."""
    pieces = segments.waveforms(item, self.network.sample_rate_hz)
    total = np.zeros(self.stream.dim)
    while batch := list(itertools.islice(pieces, self.batch_size)):
      total += unit(self.network.embed_music(np.stack(batch))).sum(0)
    return unit(total[None])


def extractors(
  stream: specs.FeatureSpec, network: TextMusicNetwork
) -> dict[str, extractor.Extractor]:
  """Both extractors by their names in a system: 'style', 'style_text'."""
  return {
    'style': MusicStyle(stream, network),
    'style_text': TextStyle(stream, network),
  }
