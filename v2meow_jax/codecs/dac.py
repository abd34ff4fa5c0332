"""DAC, the Descript Audio Codec, on its published weights.

`load` reads what https://huggingface.co/descript publishes. `DAC_16KHZ` has the
geometry of AudioLM's SoundStream: 50 Hz, 12 levels of 1024 codes. Codes and
waveforms are those of `transformers.DacModel`.
"""

from __future__ import annotations

from collections.abc import Mapping
import functools
from typing import Any

from etils import epath
import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array
from jaxtyping import Float
from jaxtyping import Int
import numpy as np

from v2meow_jax.codecs import dac_network
from v2meow_jax.codecs import dac_quantizer
from v2meow_jax.codecs import pieces
from v2meow_jax.codecs import torch_weights

DAC_16KHZ = dac_network.DacConfig(
  source='descript/dac_16khz',
  sample_rate_hz=16_000,
  num_levels=12,
  strides=(2, 4, 5, 8),
)
DAC_24KHZ = dac_network.DacConfig(
  source='descript/dac_24khz',
  sample_rate_hz=24_000,
  num_levels=32,
  strides=(2, 4, 5, 8),
)
DAC_44KHZ = dac_network.DacConfig(
  source='descript/dac_44khz',
  sample_rate_hz=44_100,
  num_levels=9,
  strides=(2, 4, 8, 8),
)


class Dac(nn.Module):
  """Encoder, quantiser, decoder.

  Attributes:
    config: Sizes of all three.
  """

  config: dac_network.DacConfig

  def setup(self):
    """The three parts."""
    self.encoder = dac_network.Encoder(self.config)
    self.quantizer = dac_quantizer.Quantizer(self.config)
    self.decoder = dac_network.Decoder(self.config)

  def __call__(
    self, waveform: Float[Array, 'b samples']
  ) -> Float[Array, 'b samples']:
    """The reconstruction from all levels."""
    return self.decode(self.encode(waveform))

  def encode(
    self, waveform: Float[Array, 'b samples']
  ) -> Int[Array, 'b frames levels']:
    """Codes of a waveform of whole frames."""
    return self.quantizer.encode(self.encoder(waveform))

  def decode(
    self, codes: Int[Array, 'b frames levels']
  ) -> Float[Array, 'b samples']:
    """`hop_samples` samples per frame, from the first `levels` levels."""
    waveform = self.decoder(self.quantizer.decode(codes))
    # An odd stride loses a step at the end: 8 samples at 16 kHz.
    missing = codes.shape[1] * self.config.hop_samples - waveform.shape[1]
    return jnp.pad(waveform, ((0, 0), (0, missing)))


class DacCodec:
  """A DAC with its weights: the `Codec` protocol.

  Attributes:
    config: What it is.
    stream: Its codes.
    sample_rate_hz: Of the waveforms.
    hop_samples: Of one code frame.
  """

  def __init__(self, config: dac_network.DacConfig, params: Mapping[str, Any]):
    """Keeps weights for `encode` and `decode`, which compile per length.

    Args:
      config: What it is.
      params: Of `Dac(config)`.
    """
    self.config = config
    self.stream = config.stream
    self.sample_rate_hz = config.sample_rate_hz
    self.hop_samples = config.hop_samples
    self._variables = {'params': jax.tree.map(jnp.asarray, params)}

  def encode(
    self, waveform: Float[Array, 'b samples']
  ) -> Int[Array, 'b frames levels']:
    """Codes of all levels.

    Raises:
      ValueError: The waveform is not a positive whole number of frames.
    """
    pieces.check_whole(waveform.shape[-1], self.hop_samples)
    return _apply(self.config, 'encode', self._variables, jnp.asarray(waveform))

  def decode(
    self, codes: Int[Array, 'b frames levels']
  ) -> Float[Array, 'b samples']:
    """The waveform of the first `levels` levels.

    Raises:
      ValueError: There are no levels, or more than the codec has.
    """
    pieces.check_levels(codes.shape[-1], self.config.num_levels)
    return _apply(self.config, 'decode', self._variables, jnp.asarray(codes))

  def encode_in_pieces(
    self, waveform: Float[np.ndarray, 'b samples'], piece_frames: int
  ) -> Int[np.ndarray, 'b frames levels']:
    """As `encode`, in memory that one piece bounds; compiles once.

    Args:
      waveform: Whole frames.
      piece_frames: Frames whose codes one call contributes, >= 1.

    Returns:
      int32 codes.

    Raises:
      ValueError: As `encode`, or `piece_frames` is less than 1.
    """
    hop = self.hop_samples
    pieces.check_whole(waveform.shape[-1], hop)
    batch_size, num_frames = waveform.shape[0], waveform.shape[1] // hop
    out = np.empty((batch_size, num_frames, self.config.num_levels), np.int32)
    for window, piece, inside in pieces.windows(
      num_frames, piece_frames, *self.config.encoder_reach_frames
    ):
      codes = self.encode(waveform[:, pieces.in_samples(window, hop)])
      out[:, piece] = np.asarray(codes)[:, inside]
    return out

  def decode_in_pieces(
    self, codes: Int[np.ndarray, 'b frames levels'], piece_frames: int
  ) -> Float[np.ndarray, 'b samples']:
    """As `decode`, in memory that one piece bounds; compiles once.

    Args:
      codes: Of the first levels.
      piece_frames: Frames whose samples one call contributes, >= 1.

    Returns:
      float32, `hop_samples` samples a frame.

    Raises:
      ValueError: As `decode`, or `piece_frames` is less than 1.
    """
    hop = self.hop_samples
    batch_size, num_frames = codes.shape[:2]
    out = np.empty((batch_size, num_frames * hop), np.float32)
    for window, piece, inside in pieces.windows(
      num_frames, piece_frames, *self.config.decoder_reach_frames
    ):
      waveform = np.asarray(self.decode(codes[:, window]))
      out[:, pieces.in_samples(piece, hop)] = waveform[
        :, pieces.in_samples(inside, hop)
      ]
    return out


def load(path: epath.PathLike, config: dac_network.DacConfig) -> DacCodec:
  """A DAC with published weights.

  Args:
    path: The `model.safetensors` of `config.source`, or its folder.
    config: Which one it is, such as `DAC_16KHZ`.

  Returns:
    The codec.

  Raises:
    ValueError: The file is missing or holds something else; the message says
      what to download, or names the key, what it is and what was wanted.
  """
  frame = jax.ShapeDtypeStruct((1, config.hop_samples), jnp.float32)
  wanted = jax.eval_shape(Dac(config).init, jax.random.key(0), frame)
  params = torch_weights.read(epath.Path(path), wanted['params'], config.source)
  return DacCodec(config, params)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _apply(config, method, variables, x):
  # Codes should not depend on the device that finds them.
  with jax.default_matmul_precision('highest'):
    return Dac(config).apply(variables, x, method=method)
