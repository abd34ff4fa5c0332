"""SoundStream: encoder, residual vector quantiser, decoder.

`CodecConfig.ends` chooses encoder and decoder: the paper's causal SEANet
(`seanet.py`) or the tiny spectral ones (`patch.py`). `TrainedCodec` is a codec
with its weights.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
import dataclasses
import functools
from typing import Any

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
from v2meow_jax.codecs import rvq
from v2meow_jax.codecs.embedded import patch
from v2meow_jax.codecs.embedded import tones
from v2meow_jax.codecs.soundstream import seanet

Ends = patch.PatchConfig | seanet.SeanetConfig
_ENDS = {'patch': patch.PatchConfig, 'seanet': seanet.SeanetConfig}


def kind_of(ends: Ends) -> str:
  """Name of the architecture of encoder and decoder, in descriptions."""
  return next(k for k, v in _ENDS.items() if isinstance(ends, v))


def ends_from_dict(data: Mapping[str, Any]) -> Ends:
  """Sizes of the ends out of a description; ValueError for an unknown kind."""
  if data.get('kind') not in _ENDS:
    raise ValueError(
      f'codec of kind {data.get("kind")!r}; wanted one of {sorted(_ENDS)}.'
    )
  return _ENDS[data['kind']](**data['ends'])


def check_rate(ends: Ends, sample_rate_hz: int) -> None:
  """Raises ValueError unless the ends serve a sample rate."""
  tonal = isinstance(ends, patch.PatchConfig)
  if tonal and sample_rate_hz != tones.SAMPLE_RATE_HZ:
    raise ValueError(
      f'sample_rate_hz is {sample_rate_hz}; the tone bank of a PatchConfig is'
      f' tuned for {tones.SAMPLE_RATE_HZ}.'
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class CodecConfig:
  """Sizes of a codec.

  Attributes:
    ends: Sizes of encoder and decoder; the type chooses their architecture.
    quantizer: Sizes of the quantiser.
    sample_rate_hz: Sample rate of the waveforms.
  """

  ends: Ends
  quantizer: rvq.RvqConfig
  sample_rate_hz: int = 16_000

  def __post_init__(self):
    check_rate(self.ends, self.sample_rate_hz)

  @property
  def latents(self) -> specs.FeatureSpec:
    """Stream of what the codebooks quantise."""
    return specs.FeatureSpec(
      name='latents', dim=self.quantizer.code_dim, rate_hz=self.stream.rate_hz
    )

  @property
  def stream(self) -> specs.TokenSpec:
    """Stream of the codes, all levels."""
    return specs.TokenSpec(
      name='acoustic',
      codebook_size=self.quantizer.codebook_size,
      num_codebooks=self.quantizer.num_levels,
      rate_hz=self.sample_rate_hz / self.ends.hop_samples,
    )

  def module(self) -> SoundStream:
    """Builds the network."""
    return SoundStream(self)

  def to_dict(self) -> dict[str, Any]:
    """Returns JSON data for `from_dict`."""
    return {'kind': kind_of(self.ends), **dataclasses.asdict(self)}

  @classmethod
  def from_dict(cls, data: Mapping[str, Any]) -> CodecConfig:
    """Inverts `to_dict`; raises ValueError for an unknown kind."""
    return cls(
      ends=ends_from_dict(data),
      quantizer=rvq.RvqConfig(**data['quantizer']),
      sample_rate_hz=data['sample_rate_hz'],
    )


class SoundStream(nn.Module):
  """Encoder, quantiser and decoder."""

  config: CodecConfig

  def setup(self):
    """Builds the three parts."""
    self.encoder = self.config.ends.encoder()
    self.decoder = self.config.ends.decoder()
    self.quantizer = rvq.ResidualVectorQuantizer(
      self.config.quantizer, self.config.ends.latent_dim
    )

  def __call__(
    self, waveform: arrays.Waveform, *, train: bool = False
  ) -> tuple[arrays.Waveform, Float[Array, '']]:
    """Returns the reconstruction and the commitment loss."""
    latents = self.encoder(waveform)
    quantized, commitment = self.quantizer(latents, train=train)
    return self.decoder(quantized), commitment

  def encode(self, waveform: arrays.Waveform) -> arrays.Codes:
    """Encodes a waveform of whole frames."""
    return self.quantizer.encode(self.encoder(waveform))

  def decode(self, codes: arrays.Codes) -> arrays.Waveform:
    """Decodes the first `levels` levels."""
    return self.decoder(self.quantizer.decode(codes))

  def encode_latents(self, waveform: arrays.Waveform) -> arrays.Latents:
    """Encodes to what the codebooks would quantise."""
    return self.quantizer.project(self.encoder(waveform))

  def decode_latents(self, latents: arrays.Latents) -> arrays.Waveform:
    """Decodes what was not quantised."""
    return self.decoder(self.quantizer.restore(latents))


class TrainedCodec:
  """A `Codec` with its weights.

  Attributes:
    config: Sizes of the codec.
    stream: Stream of its codes, all levels.
    sample_rate_hz: Sample rate of the waveforms.
    hop_samples: Number of samples per code frame.
    context_frames: Number of frames before a piece that decoding it needs.
    lookahead_frames: Number of frames after a piece that decoding it needs.
    clock_frames: Period of the decoder's clock; a piece that begins at a
      multiple of it decodes the same.
    program: Function of the weights and codes to a waveform; another compiled
      form of it may take its place.
  """

  # Methods of `SoundStream` that encode and decode.
  _methods = ('encode', 'decode')

  def __init__(self, config: CodecConfig, variables: Mapping[str, Any]):
    """Stores the weights; `encode` and `decode` compile for each length.

    `variables` are {'params': ..., 'codebooks': ...} of the network of the
    config, the latter of one that quantises.
    """
    self.config = config
    self.stream = config.stream
    self.sample_rate_hz = config.sample_rate_hz
    self.hop_samples = config.ends.hop_samples
    self.context_frames = config.ends.context_frames
    self.lookahead_frames = config.ends.lookahead_frames
    self.clock_frames = config.ends.clock_frames
    kept = ('params', 'codebooks')
    self._variables = {k: variables[k] for k in kept if k in variables}
    self.program: Callable[..., jax.Array] = functools.partial(
      _decode, config, self._methods[1]
    )

  def encode(self, waveform: arrays.Waveform) -> arrays.Codes:
    """Encodes to codes of all levels.

    Raises:
      ValueError: The waveform is not a positive whole number of frames.
    """
    pieces.check_whole(waveform.shape[-1], self.hop_samples)
    waveform = jnp.asarray(waveform)
    return _encode(self.config, self._methods[0], self._variables, waveform)

  def decode(self, codes: arrays.Codes) -> arrays.Waveform:
    """Decodes the first `levels` levels, as if the last frame repeated."""
    after = ((0, 0), (0, self.lookahead_frames), (0, 0))
    padded = jnp.pad(jnp.asarray(codes), after, mode='edge')
    waveform = self.program(self._variables, padded)
    return waveform[:, : codes.shape[1] * self.hop_samples]

  def decode_in_pieces(
    self, codes: Int[np.ndarray, 'b frames levels'], piece_frames: int
  ) -> Iterator[Float[np.ndarray, 'b samples']]:
    """Decodes as `decode`, piece by piece; compiles once.

    Decodes every piece with the frames around it that its samples need, so the
    result equals that of `decode` up to rounding.

    Args:
      codes: Codes of the first levels.
      piece_frames: Number of frames of a piece; the last may have fewer.

    Yields:
      The samples of one piece after the other.

    Raises:
      ValueError: `piece_frames` is less than 1.
    """
    if piece_frames < 1:
      raise ValueError(f'piece_frames is {piece_frames}; wanted at least 1.')
    num_frames = codes.shape[1]
    clock, hop = self.clock_frames, self.hop_samples
    window = self._window_frames(piece_frames)
    for start in range(0, num_frames, piece_frames):
      stop = min(start + piece_frames, num_frames)
      first = max(0, start - self.context_frames) // clock * clock
      missing = max(0, first + window - num_frames)
      piece_codes = np.pad(
        codes[:, first : first + window], ((0, 0), (0, missing), (0, 0)), 'edge'
      )
      piece = np.asarray(self.program(self._variables, piece_codes))
      yield piece[:, (start - first) * hop : (stop - first) * hop]

  def piece_arguments(self, num_levels: int, piece_frames: int) -> tuple:
    """Arguments of `program`, or shapes, for pieces of one waveform."""
    shape = (1, self._window_frames(piece_frames), num_levels)
    return self._variables, jax.ShapeDtypeStruct(shape, jnp.int32)

  def _window_frames(self, piece_frames: int) -> int:
    # Windows begin at a multiple of the clock, so they are longer. Beyond the
    # last frame that counts they are read as if it repeated.
    around = self.context_frames + 2 * self.lookahead_frames
    return around + piece_frames + self.clock_frames - 1


@functools.partial(jax.jit, static_argnums=(0, 1))
def _encode(config, method, variables, waveform):
  # Codes should not depend on the device.
  with jax.default_matmul_precision('float32'):
    return config.module().apply(variables, waveform, method=method)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _decode(config, method, variables, codes):
  return config.module().apply(variables, codes, method=method)


class TrainedLatents(TrainedCodec):
  """An `Autoencoder` that was trained here: without quantiser, or variational.

  Attributes:
    stream: Stream of its latents; a codec's have the width of its codebooks.
  """

  stream: specs.FeatureSpec
  _methods = ('encode_latents', 'decode_latents')

  def __init__(self, config: Any, variables: Mapping[str, Any]):
    """Stores the weights, as those of a `TrainedCodec`."""
    super().__init__(config, variables)
    self.stream = config.latents

  def piece_arguments(self, num_levels: int, piece_frames: int) -> tuple:
    """Arguments of `program`, or shapes; `num_levels` is the width."""
    shape = (1, self._window_frames(piece_frames), num_levels)
    return self._variables, jax.ShapeDtypeStruct(shape, jnp.float32)
