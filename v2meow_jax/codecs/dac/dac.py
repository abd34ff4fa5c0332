"""DAC, the Descript Audio Codec, with its published weights.

`load` reads the files of https://huggingface.co/descript. `DAC_16KHZ` has the
geometry of AudioLM's SoundStream: 50 Hz, 12 levels of 1024 codes. Codes and
waveforms equal those of `transformers.DacModel`.
"""

from collections.abc import Mapping
import functools
from typing import Any

from etils import epath
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from v2meow_jax import specs
from v2meow_jax.codecs import arrays
from v2meow_jax.codecs import pieces
from v2meow_jax.codecs import pretrained
from v2meow_jax.codecs.dac import dac_network
from v2meow_jax.codecs.dac import dac_quantizer

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
  """Encoder, quantiser and decoder."""

  config: dac_network.DacConfig

  def setup(self):
    """Builds the three parts."""
    self.encoder = dac_network.Encoder(self.config)
    self.quantizer = dac_quantizer.Quantizer(self.config)
    self.decoder = dac_network.Decoder(self.config)

  def __call__(self, waveform: arrays.Waveform) -> arrays.Waveform:
    """Reconstructs from all levels."""
    return self.decode(self.encode(waveform))

  def encode(self, waveform: arrays.Waveform) -> arrays.Codes:
    """Encodes a waveform of whole frames."""
    return self.quantizer.encode(self.encoder(waveform))

  def decode(self, codes: arrays.Codes) -> arrays.Waveform:
    """Decodes the first `levels` levels."""
    return self.decode_latents(self.quantizer.decode(codes))

  def encode_latents(self, waveform: arrays.Waveform) -> arrays.Latents:
    """Encodes to what the levels would quantise."""
    return self.encoder(waveform)

  def decode_latents(self, latents: arrays.Latents) -> arrays.Waveform:
    """Decodes what was not quantised, or what the levels restored."""
    waveform = self.decoder(latents)
    # An odd stride loses a step at the end: 8 samples at 16 kHz.
    missing = latents.shape[1] * self.config.hop_samples - waveform.shape[1]
    return jnp.pad(waveform, ((0, 0), (0, missing)))


class DacCodec(pretrained.PublishedCodec[dac_network.DacConfig]):
  """A DAC with its weights, which compiles once for all pieces."""

  def _whole(self, way, x):
    return _apply(self.config, way, self._variables, x)

  def _in_pieces(self, way, x, piece_frames):
    if way == 'encode':
      reach = self.config.encoder_reach_frames
    else:
      reach = self.config.decoder_reach_frames
    for window, piece, inside in pieces.windows(
      x.shape[1], piece_frames, *reach
    ):
      inputs = x[:, window]
      if way == 'encode':
        y = self.encode(inputs.reshape(len(x), -1))
      else:
        y = self.decode(inputs)
      yield piece, np.asarray(y).reshape(*inputs.shape[:2], -1)[:, inside]


class DacLatents(DacCodec):
  """An `Autoencoder`: a DAC with its weights, without its quantiser.

  Attributes:
    stream: Stream of its latents, of the width of the encoder.
  """

  stream: specs.FeatureSpec

  def __init__(self, config: dac_network.DacConfig, params: Mapping[str, Any]):
    """Stores the weights, as those of a `DacCodec`."""
    super().__init__(config, params)
    self.stream = specs.FeatureSpec(
      name='latents', dim=config.latent_dim, rate_hz=config.stream.rate_hz
    )

  def _whole(self, way, x):
    return _apply(self.config, f'{way}_latents', self._variables, x)


def load(path: epath.PathLike, config: dac_network.DacConfig) -> DacCodec:
  """Loads a DAC, such as `DAC_16KHZ`; see `pretrained.read_params`."""
  return DacCodec(config, pretrained.read_params(path, config, Dac(config)))


@functools.partial(jax.jit, static_argnums=(0, 1))
def _apply(config, method, variables, x):
  # Codes should not depend on the device.
  with jax.default_matmul_precision('highest'):
    return Dac(config).apply(variables, x, method=method)


def load_latents(
  path: epath.PathLike,
  *,
  variant: str = '16khz',
  config: Mapping[str, Any] | None = None,
) -> DacLatents:
  """The autoencoder of a DAC, of sizes as of `load_variant`."""
  sizes = pretrained.sizes(dac_network.DacConfig, _VARIANTS, variant, config)
  return DacLatents(sizes, pretrained.read_params(path, sizes, Dac(sizes)))


_VARIANTS = {'16khz': DAC_16KHZ, '24khz': DAC_24KHZ, '44khz': DAC_44KHZ}


def load_variant(
  path: epath.PathLike,
  *,
  variant: str = '16khz',
  config: Mapping[str, Any] | None = None,
) -> DacCodec:
  """A DAC of a published size, such as '16khz', or of the sizes in `config`."""
  sizes = pretrained.sizes(dac_network.DacConfig, _VARIANTS, variant, config)
  return load(path, sizes)
