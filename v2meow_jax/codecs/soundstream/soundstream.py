"""A codec: encoder, residual vector quantiser, decoder.

`SoundStream` composes them; which encoder and decoder they are is a matter of
`CodecConfig.ends`: the paper's causal SEANet (`seanet.py`) or the tiny
spectral ends (`patch.py`). `TrainedCodec` is one with its weights.
"""

from __future__ import annotations

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
from v2meow_jax.codecs import pieces
from v2meow_jax.codecs import rvq
from v2meow_jax.codecs.embedded import patch
from v2meow_jax.codecs.embedded import tones
from v2meow_jax.codecs.soundstream import seanet

_ENDS = {'patch': patch.PatchConfig, 'seanet': seanet.SeanetConfig}


@dataclasses.dataclass(frozen=True, kw_only=True)
class CodecConfig:
  """What a codec is, without its weights.

  Attributes:
    ends: Sizes of the encoder and the decoder; its type says which they are.
    quantizer: Sizes of the quantiser between them.
    sample_rate_hz: Of the waveforms.
  """

  ends: patch.PatchConfig | seanet.SeanetConfig
  quantizer: rvq.RvqConfig
  sample_rate_hz: int = 16_000

  def __post_init__(self):
    tonal = isinstance(self.ends, patch.PatchConfig)
    if tonal and self.sample_rate_hz != tones.SAMPLE_RATE_HZ:
      raise ValueError(
        f'sample_rate_hz is {self.sample_rate_hz}; the tone bank of a'
        f' PatchConfig is tuned for {tones.SAMPLE_RATE_HZ}.'
      )

  @property
  def stream(self) -> specs.TokenSpec:
    """The codes, all levels."""
    return specs.TokenSpec(
      name='acoustic',
      codebook_size=self.quantizer.codebook_size,
      num_codebooks=self.quantizer.num_levels,
      rate_hz=self.sample_rate_hz / self.ends.hop_samples,
    )

  def to_dict(self) -> dict[str, Any]:
    """Plain data, for a json file; `from_dict` reads it."""
    kind = next(k for k, v in _ENDS.items() if isinstance(self.ends, v))
    return {'kind': kind, **dataclasses.asdict(self)}

  @classmethod
  def from_dict(cls, data: Mapping[str, Any]) -> CodecConfig:
    """The inverse of `to_dict`; ValueError for an unknown kind."""
    if data.get('kind') not in _ENDS:
      raise ValueError(
        f'codec of kind {data.get("kind")!r}; known are {sorted(_ENDS)}.'
      )
    return cls(
      ends=_ENDS[data['kind']](**data['ends']),
      quantizer=rvq.RvqConfig(**data['quantizer']),
      sample_rate_hz=data['sample_rate_hz'],
    )


class SoundStream(nn.Module):
  """Encoder, quantiser, decoder.

  Attributes:
    config: Sizes of all three.
  """

  config: CodecConfig

  def setup(self):
    """The three parts."""
    self.encoder = self.config.ends.encoder()
    self.decoder = self.config.ends.decoder()
    self.quantizer = rvq.ResidualVectorQuantizer(
      self.config.quantizer, self.config.ends.latent_dim
    )

  def __call__(
    self, waveform: Float[Array, 'b samples'], *, train: bool = False
  ) -> tuple[Float[Array, 'b samples'], Float[Array, '']]:
    """The reconstruction and the commitment loss."""
    latents = self.encoder(waveform)
    quantized, commitment = self.quantizer(latents, train=train)
    return self.decoder(quantized), commitment

  def encode(
    self, waveform: Float[Array, 'b samples']
  ) -> Int[Array, 'b frames levels']:
    """Codes of a waveform of whole frames."""
    return self.quantizer.encode(self.encoder(waveform))

  def decode(
    self, codes: Int[Array, 'b frames levels']
  ) -> Float[Array, 'b samples']:
    """The waveform of the first `levels` levels."""
    return self.decoder(self.quantizer.decode(codes))


class TrainedCodec:
  """A codec with its weights: the `Codec` protocol.

  Attributes:
    config: What it is.
    stream: Its codes.
    sample_rate_hz: Of the waveforms.
    hop_samples: Of one code frame.
    context_frames: Frames before a piece that decoding it needs.
    lookahead_frames: Frames after a piece that decoding it needs.
    clock_frames: A piece sounds the same wherever it begins, if that is at a
      multiple of these.
  """

  def __init__(self, config: CodecConfig, variables: Mapping[str, Any]):
    """Keeps weights for `encode` and `decode`, which compile per length.

    Args:
      config: What it is.
      variables: {'params': ..., 'codebooks': ...} of `SoundStream(config)`.
    """
    self.config = config
    self.stream = config.stream
    self.sample_rate_hz = config.sample_rate_hz
    self.hop_samples = config.ends.hop_samples
    self.context_frames = config.ends.context_frames
    self.lookahead_frames = config.ends.lookahead_frames
    self.clock_frames = config.ends.clock_frames
    self._variables = {k: variables[k] for k in ('params', 'codebooks')}

  def encode(
    self, waveform: Float[Array, 'b samples']
  ) -> Int[Array, 'b frames levels']:
    """Codes of all levels.

    Raises:
      ValueError: The waveform is not a positive whole number of frames.
    """
    pieces.check_whole(waveform.shape[-1], self.hop_samples)
    return _encode(self.config, self._variables, jnp.asarray(waveform))

  def decode(
    self, codes: Int[Array, 'b frames levels']
  ) -> Float[Array, 'b samples']:
    """The waveform of the first `levels` levels; the last frame goes on."""
    after = ((0, 0), (0, self.lookahead_frames), (0, 0))
    padded = jnp.pad(jnp.asarray(codes), after, mode='edge')
    waveform = _decode(self.config, self._variables, padded)
    return waveform[:, : codes.shape[1] * self.hop_samples]

  def decode_in_pieces(
    self, codes: Int[np.ndarray, 'b frames levels'], piece_frames: int
  ) -> Float[np.ndarray, 'b samples']:
    """As `decode`, in memory that one piece bounds; compiles once.

    Every piece is decoded with the frames around it that its samples need, so
    the result is that of `decode` up to rounding.

    Args:
      codes: Of the first levels.
      piece_frames: Frames whose samples one call contributes, >= 1.

    Returns:
      float32, `hop_samples` samples a frame.

    Raises:
      ValueError: `piece_frames` is less than 1.
    """
    if piece_frames < 1:
      raise ValueError(f'piece_frames is {piece_frames}; wanted at least 1.')
    num_frames = codes.shape[1]
    clock = self.clock_frames
    # Windows begin where a clock of the decoder does, so they are longer.
    window = (
      self.context_frames + piece_frames + self.lookahead_frames + clock - 1
    )
    hop = self.hop_samples
    out = np.empty((codes.shape[0], num_frames * hop), np.float32)
    for start in range(0, num_frames, piece_frames):
      stop = min(start + piece_frames, num_frames)
      first = max(0, start - self.context_frames) // clock * clock
      missing = max(0, first + window - num_frames)
      piece_codes = np.pad(
        codes[:, first : first + window], ((0, 0), (0, missing), (0, 0)), 'edge'
      )
      piece = np.asarray(self.decode(piece_codes))
      out[:, start * hop : stop * hop] = piece[
        :, (start - first) * hop : (stop - first) * hop
      ]
    return out


@functools.partial(jax.jit, static_argnums=0)
def _encode(config, variables, waveform):
  # Codes should not depend on the device that finds them.
  with jax.default_matmul_precision('float32'):
    return SoundStream(config).apply(
      variables, waveform, method=SoundStream.encode
    )


@functools.partial(jax.jit, static_argnums=0)
def _decode(config, variables, codes):
  return SoundStream(config).apply(variables, codes, method=SoundStream.decode)
