"""Network of EnCodec: SEANet with an LSTM at the code rate.

Défossez et al. 2022 (https://arxiv.org/abs/2210.13438). Encoder and decoder are
split before and after their LSTM, whose state carries over from piece to piece
of long music. Modules and parameters are named as in the files of
https://huggingface.co/facebook/encodec_24khz, so that `torch_weights.read`
finds them.
"""

import dataclasses
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from v2meow_jax.codecs import arrays
from v2meow_jax.codecs import pretrained
from v2meow_jax.codecs import rvq
from v2meow_jax.codecs.encodec import encodec_layers

_EDGE_KERNEL = 7

# Numbers of frames before and after its own that a frame depends on.
Reach = tuple[int, int]


@dataclasses.dataclass(frozen=True, kw_only=True)
class EncodecConfig(pretrained.PublishedConfig):
  """Sizes of an `Encodec`.

  Attributes:
    base_channels: Channels at the sample rate, doubled by every stride.
    causal: Whether a step depends on no later one.
    shortcut_conv: Whether a residual block projects its input before adding it.
    latent_dim: Width at the quantiser.
  """

  base_channels: int
  causal: bool
  shortcut_conv: bool
  latent_dim: int = 128

  @property
  def top_channels(self) -> int:
    """Width of the LSTMs."""
    return self.base_channels * 2 ** len(self.strides)

  @property
  def edge_reach_frames(self) -> Reach:
    """Reach of the convolution at the code rate: after or before an LSTM."""
    return encodec_layers.padding(_EDGE_KERNEL, 1, self.causal)

  @property
  def encoder_reach_frames(self) -> Reach:
    """Reach of the encoder before its LSTM."""
    # The steps that frame 0 depends on, from the codes up to the samples.
    kernels = [(_EDGE_KERNEL, 1)]
    for stride in self.strides:
      kernels += [(encodec_layers.RESIDUAL_KERNEL, 1), (2 * stride, stride)]
    first = last = 0
    for size, stride in reversed(kernels):
      left, _ = encodec_layers.padding(size, stride, self.causal)
      first = stride * first - left
      last = stride * last - left + size - 1
    return -(first // self.hop_samples), last // self.hop_samples

  @property
  def decoder_reach_frames(self) -> Reach:
    """Reach of the decoder after its LSTM."""
    # The steps that the samples of frame 0 depend on, up to the frames.
    left, right = encodec_layers.padding(_EDGE_KERNEL, 1, self.causal)
    first, last = -left, self.hop_samples - 1 + right
    left, right = encodec_layers.padding(
      encodec_layers.RESIDUAL_KERNEL, 1, self.causal
    )
    for stride in self.strides:
      dropped = encodec_layers.dropped(stride, self.causal)
      first = (first - left + dropped) // stride - 1
      last = (last + right + dropped) // stride
    return -first, last


class Encoder(nn.Module):
  """Waveform to latents."""

  config: EncodecConfig

  def setup(self):
    """Builds the layers, in their published order."""
    c = self.config
    layers: list[Any] = [
      encodec_layers.Conv(c.base_channels, _EDGE_KERNEL, c.causal)
    ]
    for i, stride in enumerate(c.strides):
      channels = c.base_channels * 2**i
      layers += [
        encodec_layers.ResidualBlock(channels, c.causal, c.shortcut_conv),
        nn.elu,
        encodec_layers.Conv(2 * channels, 2 * stride, c.causal, stride),
      ]
    layers += [encodec_layers.Lstm(c.top_channels), nn.elu]
    self.layers = [
      *layers,
      encodec_layers.Conv(c.latent_dim, _EDGE_KERNEL, c.causal),
    ]

  def before(self, waveform: arrays.Waveform) -> arrays.Latents:
    """Returns the input of the LSTM."""
    return encodec_layers.through(self.layers[:-3], waveform[..., None])

  def recurrent(
    self, x: arrays.Latents, state: encodec_layers.LstmState
  ) -> tuple[arrays.Latents, encodec_layers.LstmState]:
    """Runs the LSTM."""
    return self.layers[-3](x, state)

  def after(self, x: arrays.Latents) -> arrays.Latents:
    """Returns latents of the output of the LSTM."""
    return encodec_layers.through(self.layers[-2:], x)


class Decoder(nn.Module):
  """Latents to waveform."""

  config: EncodecConfig

  def setup(self):
    """Builds the layers, in their published order."""
    c = self.config
    layers: list[Any] = [
      encodec_layers.Conv(c.top_channels, _EDGE_KERNEL, c.causal),
      encodec_layers.Lstm(c.top_channels),
    ]
    for i, stride in reversed(list(enumerate(c.strides))):
      channels = c.base_channels * 2**i
      layers += [
        nn.elu,
        encodec_layers.Upsample(channels, stride, c.causal),
        encodec_layers.ResidualBlock(channels, c.causal, c.shortcut_conv),
      ]
    self.layers = [
      *layers,
      nn.elu,
      encodec_layers.Conv(1, _EDGE_KERNEL, c.causal),
    ]

  def before(self, latents: arrays.Latents) -> arrays.Latents:
    """Returns the input of the LSTM."""
    return self.layers[0](latents)

  def recurrent(
    self, x: arrays.Latents, state: encodec_layers.LstmState
  ) -> tuple[arrays.Latents, encodec_layers.LstmState]:
    """Runs the LSTM."""
    return self.layers[1](x, state)

  def after(self, x: arrays.Latents) -> arrays.Waveform:
    """Returns the waveform of the output of the LSTM."""
    return jnp.squeeze(encodec_layers.through(self.layers[2:], x), -1)


class Quantizer(nn.Module):
  """Codebooks at the width of the latents, without projections."""

  config: EncodecConfig

  def setup(self):
    """Builds a codebook per level."""
    c = self.config
    self.vectors = [
      self.param(
        f'layers.{k}.codebook.embed',
        nn.initializers.normal(),
        (c.codebook_size, c.latent_dim),
      )
      for k in range(c.num_levels)
    ]

  def encode(self, latents: arrays.Latents) -> arrays.Codes:
    """Returns codes of all levels."""
    flat = latents.reshape(-1, latents.shape[-1])
    codes = rvq.quantize(jnp.stack(self.vectors), flat)[0]
    return codes.T.reshape(*latents.shape[:2], -1).astype(jnp.int32)

  def decode(self, codes: arrays.Codes) -> arrays.Latents:
    """Returns latents of the first `levels` levels."""
    return rvq.lookup(jnp.stack(self.vectors), codes)
