"""Base classes of pretrained codecs: sizes, weights, checks, pieces."""

import abc
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import functools
import math
from typing import Any
from typing import Generic
from typing import Literal
from typing import TypeVar

from etils import epath
import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array
from jaxtyping import Float
from jaxtyping import Int
import numpy as np

from v2meow_jax import specs
from v2meow_jax.codecs import arrays
from v2meow_jax.codecs import pieces
from v2meow_jax.pretrained import torch_weights

Way = Literal['encode', 'decode']


@dataclasses.dataclass(frozen=True, kw_only=True)
class PublishedConfig:
  """Sizes common to all pretrained codecs.

  Attributes:
    source: Repository of the Hugging Face hub with the weights.
    sample_rate_hz: Sample rate of the waveforms.
    num_levels: Number of codebooks.
    codebook_size: Number of vectors in a codebook.
    strides: Down-sampling factors of the encoder's blocks, first to last; the
      decoder undoes them in reverse.
  """

  source: str
  sample_rate_hz: int
  num_levels: int
  codebook_size: int
  strides: Sequence[int]

  def __post_init__(self):
    # Lists, as in JSON and gin, would not hash.
    object.__setattr__(self, 'strides', tuple(self.strides))

  @property
  def hop_samples(self) -> int:
    """Number of samples per code frame."""
    return math.prod(self.strides)

  @property
  def stream(self) -> specs.TokenSpec:
    """Stream of the codes, all levels."""
    return specs.TokenSpec(
      name='acoustic',
      codebook_size=self.codebook_size,
      num_codebooks=self.num_levels,
      rate_hz=self.sample_rate_hz / self.hop_samples,
    )


Config = TypeVar('Config', bound=PublishedConfig)


def read_params(
  path: epath.PathLike,
  config: PublishedConfig,
  network: nn.Module,
  unused: Sequence[str] = (),
) -> dict[str, Any]:
  """Reads published weights as parameters of a network.

  Args:
    path: File `model.safetensors` of `config.source`, or its folder.
    config: Sizes of the codec.
    network: Network of the codec.
    unused: Last parts of published keys that are not read.

  Raises:
    ValueError: The file is missing or holds something else; the message says
      what to download, or names the key, what came and what was wanted.
  """
  wanted = _shapes(network, config.hop_samples)
  return torch_weights.read(epath.Path(path), wanted, config.source, unused)


@functools.lru_cache(maxsize=16)
def _shapes(network: nn.Module, hop_samples: int) -> Any:
  """Parameters of a codec without values; tracing takes half of a load."""
  frame = jax.ShapeDtypeStruct((1, hop_samples), jnp.float32)
  return jax.eval_shape(network.init, jax.random.key(0), frame)['params']


class PublishedCodec(abc.ABC, Generic[Config]):
  """A `Codec` with its weights that also encodes in pieces.

  Attributes:
    config: Sizes of the codec.
    stream: Stream of its codes, all levels, or of its latents.
    sample_rate_hz: Sample rate of the waveforms.
    hop_samples: Number of samples per code frame.
  """

  def __init__(self, config: Config, params: Mapping[str, Any]):
    """Stores the weights; `encode` and `decode` compile for each length."""
    self.config = config
    self.stream: specs.Stream = config.stream
    self.sample_rate_hz = config.sample_rate_hz
    self.hop_samples = config.hop_samples
    self._variables = {'params': jax.tree.map(jnp.asarray, params)}

  @abc.abstractmethod
  def _whole(self, way: Way, x: Array) -> Array:
    """Encodes float[b, samples], or decodes int[b, frames, levels]."""

  @abc.abstractmethod
  def _in_pieces(
    self, way: Way, x: np.ndarray, piece_frames: int
  ) -> Iterator[tuple[slice, np.ndarray]]:
    """Yields (frames, their codes or samples, [b, frames, ...]) in order."""

  def encode(self, waveform: arrays.Waveform) -> arrays.Codes:
    """Encodes to codes of all levels.

    Raises:
      ValueError: The waveform is not a positive whole number of frames.
    """
    pieces.check_whole(waveform.shape[-1], self.hop_samples)
    return self._whole('encode', jnp.asarray(waveform))

  def decode(self, codes: arrays.Codes) -> arrays.Waveform:
    """Decodes the first `levels` levels.

    Raises:
      ValueError: There are no levels, or more than the codec has.
    """
    self._check(codes)
    return self._whole('decode', jnp.asarray(codes))

  def _check(self, frames: Any) -> None:
    if isinstance(self.stream, specs.TokenSpec):
      pieces.check_levels(frames.shape[-1], self.config.num_levels)
    elif frames.shape[-1] != self.stream.dim:
      raise ValueError(
        f'latents have {frames.shape[-1]} channels but the autoencoder has'
        f' {self.stream.dim}; they come from another.'
      )

  def encode_in_pieces(
    self, waveform: Float[np.ndarray, 'b samples'], piece_frames: int
  ) -> Int[np.ndarray, 'b frames levels']:
    """Encodes as `encode`, with memory for `piece_frames` at a time.

    Raises:
      ValueError: `encode` would raise, or `piece_frames` is less than 1.
    """
    pieces.check_whole(waveform.shape[-1], self.hop_samples)
    framed = waveform.reshape(len(waveform), -1, self.hop_samples)
    of_codes = isinstance(self.stream, specs.TokenSpec)
    dtype = np.int32 if of_codes else np.float32
    out = np.empty((*framed.shape[:2], *self.stream.frame_shape), dtype)
    for piece, codes in self._in_pieces('encode', framed, piece_frames):
      out[:, piece] = codes
    return out

  def decode_in_pieces(
    self, codes: Int[np.ndarray, 'b frames levels'], piece_frames: int
  ) -> Iterator[Float[np.ndarray, 'b samples']]:
    """Decodes as `decode`, to float32, piece by piece.

    Args:
      codes: Codes of the first levels.
      piece_frames: Number of frames of a piece; the last may have fewer.

    Yields:
      The samples of one piece after the other.

    Raises:
      ValueError: `decode` would raise, or `piece_frames` is less than 1.
    """
    self._check(codes)
    for _, waveform in self._in_pieces('decode', codes, piece_frames):
      yield np.asarray(waveform, np.float32).reshape(len(codes), -1)


def sizes(
  kind: type[Config],
  published: Mapping[str, Config],
  variant: str,
  config: Mapping[str, Any] | None,
) -> Config:
  """The published sizes of a name, or those in `config`, which then count.

  Raises:
    ValueError: There is no such name.
  """
  if config:
    return kind(**config)
  if variant not in published:
    raise ValueError(
      f'variant is {variant!r}; published are {sorted(published)}.'
    )
  return published[variant]
