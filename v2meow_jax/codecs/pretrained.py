"""What codecs on published weights share: sizes, checks, music in pieces."""

from __future__ import annotations

import abc
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import math
from typing import Any
from typing import Generic
from typing import Literal
from typing import TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array
from jaxtyping import Float
from jaxtyping import Int
import numpy as np

from v2meow_jax import specs
from v2meow_jax.codecs import pieces

Way = Literal['encode', 'decode']


@dataclasses.dataclass(frozen=True, kw_only=True)
class PublishedConfig:
  """Sizes that every codec has.

  Attributes:
    source: Repository of the Hugging Face hub with its weights.
    sample_rate_hz: Of the waveforms.
    num_levels: Codebooks, coarsest first.
    codebook_size: Vectors in one codebook.
    strides: Down-sampling of the encoder's blocks, first to last; the decoder
      undoes them in reverse.
  """

  source: str
  sample_rate_hz: int
  num_levels: int
  codebook_size: int
  strides: Sequence[int]

  def __post_init__(self):
    # Lists, as json and gin write them, would not hash.
    object.__setattr__(self, 'strides', tuple(self.strides))

  @property
  def hop_samples(self) -> int:
    """Samples of one code frame."""
    return math.prod(self.strides)

  @property
  def stream(self) -> specs.TokenSpec:
    """The codes, all levels."""
    return specs.TokenSpec(
      name='acoustic',
      codebook_size=self.codebook_size,
      num_codebooks=self.num_levels,
      rate_hz=self.sample_rate_hz / self.hop_samples,
    )


Config = TypeVar('Config', bound=PublishedConfig)


class PublishedCodec(abc.ABC, Generic[Config]):
  """A codec with its weights: the `Codec` protocol, and encoding in pieces.

  Attributes:
    config: What it is.
    stream: Its codes.
    sample_rate_hz: Of the waveforms.
    hop_samples: Of one code frame.
  """

  def __init__(self, config: Config, params: Mapping[str, Any]):
    """Keeps weights for `encode` and `decode`, which compile per length.

    Args:
      config: What it is.
      params: Of the network of `config`.
    """
    self.config = config
    self.stream = config.stream
    self.sample_rate_hz = config.sample_rate_hz
    self.hop_samples = config.hop_samples
    self._variables = {'params': jax.tree.map(jnp.asarray, params)}

  @abc.abstractmethod
  def _whole(self, way: Way, x: Array) -> Array:
    """Codes of float[b, samples], or a waveform of int[b, frames, levels]."""

  @abc.abstractmethod
  def _in_pieces(
    self, way: Way, x: np.ndarray, piece_frames: int
  ) -> Iterator[tuple[slice, np.ndarray]]:
    """Yields (frames, what comes out of them), from the first to the last.

    Both are [b, frames, ...]: codes, or the samples of each frame.
    """

  def encode(
    self, waveform: Float[Array, 'b samples']
  ) -> Int[Array, 'b frames levels']:
    """Codes of all levels.

    Raises:
      ValueError: The waveform is not a positive whole number of frames.
    """
    pieces.check_whole(waveform.shape[-1], self.hop_samples)
    return self._whole('encode', jnp.asarray(waveform))

  def decode(
    self, codes: Int[Array, 'b frames levels']
  ) -> Float[Array, 'b samples']:
    """The waveform of the first `levels` levels.

    Raises:
      ValueError: There are no levels, or more than the codec has.
    """
    pieces.check_levels(codes.shape[-1], self.config.num_levels)
    return self._whole('decode', jnp.asarray(codes))

  def encode_in_pieces(
    self, waveform: Float[np.ndarray, 'b samples'], piece_frames: int
  ) -> Int[np.ndarray, 'b frames levels']:
    """As `encode`, in memory that one piece bounds.

    Args:
      waveform: Whole frames.
      piece_frames: Frames whose codes one call contributes, >= 1.

    Returns:
      int32 codes.

    Raises:
      ValueError: As `encode`, or `piece_frames` is less than 1.
    """
    pieces.check_whole(waveform.shape[-1], self.hop_samples)
    framed = waveform.reshape(len(waveform), -1, self.hop_samples)
    out = np.empty((*framed.shape[:2], self.config.num_levels), np.int32)
    for piece, codes in self._in_pieces('encode', framed, piece_frames):
      out[:, piece] = codes
    return out

  def decode_in_pieces(
    self, codes: Int[np.ndarray, 'b frames levels'], piece_frames: int
  ) -> Float[np.ndarray, 'b samples']:
    """As `decode`, in memory that one piece bounds.

    Args:
      codes: Of the first levels.
      piece_frames: Frames whose samples one call contributes, >= 1.

    Returns:
      float32, `hop_samples` samples a frame.

    Raises:
      ValueError: As `decode`, or `piece_frames` is less than 1.
    """
    pieces.check_levels(codes.shape[-1], self.config.num_levels)
    out = np.empty((*codes.shape[:2], self.hop_samples), np.float32)
    for piece, waveform in self._in_pieces('decode', codes, piece_frames):
      out[:, piece] = waveform
    return out.reshape(len(codes), -1)
