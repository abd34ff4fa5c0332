"""Encoder, decoder and sizes of DAC.

Kumar et al. 2023, High-Fidelity Audio Compression with Improved RVQGAN
(https://arxiv.org/abs/2306.06546): centred convolutions, periodic activations.
Modules are named as in the files of https://huggingface.co/descript, so that
`torch_weights.read` finds them.
"""

import dataclasses
import math

import flax.linen as nn
import jax.numpy as jnp

from v2meow_jax.codecs import arrays
from v2meow_jax.codecs import pretrained
from v2meow_jax.pretrained import torch_weights

_EDGE_KERNEL = 7
_LATENT_KERNEL = 3
_RESIDUAL_KERNEL = 7
_DILATIONS = (1, 3, 9)
# Steps on either side that the residual units of a block depend on.
_RESIDUAL_REACH = sum(_DILATIONS) * (_RESIDUAL_KERNEL // 2)


@dataclasses.dataclass(frozen=True, kw_only=True)
class DacConfig(pretrained.PublishedConfig):
  """Sizes of a `Dac`.

  Attributes:
    encoder_channels: Channels at the sample rate, doubled by every stride.
    decoder_channels: Channels at the code rate, halved by every stride.
    codebook_size: Number of vectors in a codebook.
    code_dim: Width of the vectors.
  """

  encoder_channels: int = 64
  decoder_channels: int = 1536
  codebook_size: int = 1024
  code_dim: int = 8

  @property
  def latent_dim(self) -> int:
    """Width at the quantiser."""
    return self.encoder_channels * 2 ** len(self.strides)

  @property
  def encoder_reach_frames(self) -> tuple[int, int]:
    """Numbers of frames before and after its own that a code depends on."""
    # The steps that latent 0 depends on, from the codes up to the samples.
    first, last = -(_LATENT_KERNEL // 2), _LATENT_KERNEL // 2
    for stride in reversed(self.strides):
      first = stride * first - _trim(stride) - _RESIDUAL_REACH
      last = stride * (last + 2) - 1 - _trim(stride) + _RESIDUAL_REACH
    first -= _EDGE_KERNEL // 2
    last += _EDGE_KERNEL // 2
    return -(first // self.hop_samples), last // self.hop_samples

  @property
  def decoder_reach_frames(self) -> tuple[int, int]:
    """Numbers of frames before and after its own that a sample depends on."""
    # The steps that the samples of frame 0 depend on, up to the codes.
    first = -(_EDGE_KERNEL // 2)
    last = self.hop_samples - 1 + _EDGE_KERNEL // 2
    for stride in self.strides:
      first = (first - _RESIDUAL_REACH + _trim(stride)) // stride - 1
      last = (last + _RESIDUAL_REACH + _trim(stride)) // stride
    return _EDGE_KERNEL // 2 - first, last + _EDGE_KERNEL // 2


def _trim(stride: int) -> int:
  # Steps that a convolution with a stride pads, and a transposed one drops, on
  # either side.
  return math.ceil(stride / 2)


class Snake(nn.Module):
  """x + sin(alpha x)^2 / alpha (Ziyin et al. 2020), an alpha per channel."""

  @nn.compact
  def __call__(self, x: arrays.Steps) -> arrays.Steps:
    """float[b, steps, channels] -> float[b, steps, channels]."""
    alpha = self.param('alpha', nn.initializers.ones, (x.shape[-1],))
    return x + jnp.sin(alpha * x) ** 2 / (alpha + 1e-9)


def _conv(features: int, size: int, name: str, dilation: int = 1) -> nn.Conv:
  reach = (size - 1) * dilation // 2
  return nn.Conv(
    features,
    (size,),
    kernel_dilation=dilation,
    padding=((reach, reach),),
    name=name,
  )


class ResidualUnit(nn.Module):
  """Dilated and pointwise convolution, each behind a Snake, added to the input.

  Attributes:
    dilation: Steps between the taps of the first convolution.
  """

  dilation: int

  @nn.compact
  def __call__(self, x: arrays.Steps) -> arrays.Steps:
    """float[b, steps, channels] -> float[b, steps, channels]."""
    channels = x.shape[-1]
    y = Snake(name='snake1')(x)
    y = _conv(channels, _RESIDUAL_KERNEL, 'conv1', self.dilation)(y)
    y = Snake(name='snake2')(y)
    return x + _conv(channels, 1, 'conv2')(y)


class EncoderBlock(nn.Module):
  """Residual units, then a convolution that halves the rate or more.

  Attributes:
    stride: Down-sampling factor; channels double.
  """

  stride: int

  @nn.compact
  def __call__(self, x: arrays.Steps) -> arrays.Steps:
    """float[b, steps, channels] -> float[b, steps / stride, 2 channels]."""
    for i, dilation in enumerate(_DILATIONS, start=1):
      x = ResidualUnit(dilation, name=f'res_unit{i}')(x)
    return nn.Conv(
      2 * x.shape[-1],
      (2 * self.stride,),
      strides=self.stride,
      padding=((_trim(self.stride),) * 2,),
      name='conv1',
    )(Snake(name='snake1')(x))


class DecoderBlock(nn.Module):
  """A transposed convolution, then residual units.

  Attributes:
    stride: Up-sampling factor; channels are halved. An odd one drops the last
      step, as in the published networks.
  """

  stride: int

  @nn.compact
  def __call__(self, x: arrays.Steps) -> arrays.Steps:
    """float[b, steps, channels] -> float[b, steps * stride, channels / 2]."""
    x = Snake(name='snake1')(x)
    x = torch_weights.TransposedConv(
      x.shape[-1] // 2, self.stride, name='conv_t1'
    )(x)
    x = x[:, _trim(self.stride) : -_trim(self.stride)]
    for i, dilation in enumerate(_DILATIONS, start=1):
      x = ResidualUnit(dilation, name=f'res_unit{i}')(x)
    return x


class Encoder(nn.Module):
  """Waveform to latents."""

  config: DacConfig

  @nn.compact
  def __call__(self, waveform: arrays.Waveform) -> arrays.Latents:
    """Encodes whole frames of `hop_samples`."""
    c = self.config
    x = _conv(c.encoder_channels, _EDGE_KERNEL, 'conv1')(waveform[..., None])
    for i, stride in enumerate(c.strides):
      x = EncoderBlock(stride, name=f'block_{i}')(x)
    x = Snake(name='snake1')(x)
    return _conv(c.latent_dim, _LATENT_KERNEL, 'conv2')(x)


class Decoder(nn.Module):
  """Latents to waveform."""

  config: DacConfig

  @nn.compact
  def __call__(self, latents: arrays.Latents) -> arrays.Waveform:
    """Decodes to `hop_samples` samples per frame, less the loss of odd strides."""
    c = self.config
    x = _conv(c.decoder_channels, _EDGE_KERNEL, 'conv1')(latents)
    for i, stride in enumerate(reversed(c.strides)):
      x = DecoderBlock(stride, name=f'block_{i}')(x)
    x = _conv(1, _EDGE_KERNEL, 'conv2')(Snake(name='snake1')(x))
    return jnp.tanh(jnp.squeeze(x, -1))
