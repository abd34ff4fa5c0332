"""Causal SEANet encoder and decoder of SoundStream.

Zeghidour et al. 2021 (https://arxiv.org/abs/2107.03312), section III-A and B:
no normalisation, ELU before every convolution but the first.
"""

from collections.abc import Sequence
import dataclasses
import math

import flax.linen as nn
import jax.numpy as jnp

from v2meow_jax.codecs import arrays

_EDGE_KERNEL = 7
_LATENT_KERNEL = 3


@dataclasses.dataclass(frozen=True, kw_only=True)
class SeanetConfig:
  """Sizes of a `SeanetEncoder` and a `SeanetDecoder`.

  Attributes:
    base_channels: Channels at the sample rate, doubled by every stride.
    latent_dim: Width at the quantiser.
    strides: Down-sampling factors of the encoder's blocks, first to last; the
      decoder undoes them in reverse.
    dilations: Dilations of the residual units of a block.
    residual_kernel: Kernel size of the residual units.
  """

  base_channels: int = 32
  latent_dim: int = 256
  strides: Sequence[int] = (2, 4, 5, 8)
  dilations: Sequence[int] = (1, 3, 9)
  residual_kernel: int = 7

  def __post_init__(self):
    # Lists, as in JSON and gin, would not hash.
    object.__setattr__(self, 'strides', tuple(self.strides))
    object.__setattr__(self, 'dilations', tuple(self.dilations))

  @property
  def hop_samples(self) -> int:
    """Number of samples per code frame."""
    return math.prod(self.strides)

  @property
  def context_frames(self) -> int:
    """Number of code frames before a piece that its samples need."""
    # From the samples up to the codes, in steps of each rate.
    steps = _EDGE_KERNEL - 1
    for stride in self.strides:
      steps += sum(self.dilations) * (self.residual_kernel - 1)
      steps = -(-steps // stride) + 1
    return steps + _EDGE_KERNEL - 1

  @property
  def clock_frames(self) -> int:
    """One: without a clock, a piece may begin at any frame."""
    return 1

  @property
  def lookahead_frames(self) -> int:
    """Number of code frames after a piece that its samples need: none."""
    return 0

  def encoder(self) -> nn.Module:
    """Builds the encoder."""
    return SeanetEncoder(self)

  def decoder(self) -> nn.Module:
    """Builds the decoder."""
    return SeanetDecoder(self)


class CausalConv(nn.Module):
  """A convolution over time that depends on no later step.

  Attributes:
    features: Number of output channels.
    kernel_size: Number of taps.
    stride: Down-sampling factor.
    dilation: Steps between taps.
  """

  features: int
  kernel_size: int
  stride: int = 1
  dilation: int = 1

  @nn.compact
  def __call__(self, x: arrays.Steps) -> arrays.Steps:
    """float[b, steps, channels] -> float[b, steps / stride, features]."""
    past = (self.kernel_size - 1) * self.dilation - (self.stride - 1)
    return nn.Conv(
      self.features,
      (self.kernel_size,),
      strides=self.stride,
      kernel_dilation=self.dilation,
      padding=((past, 0),),
    )(x)


class CausalUpsample(nn.Module):
  """A transposed convolution from each step to its own and the next one's place.

  Attributes:
    features: Number of output channels.
    stride: Up-sampling factor; the kernel is twice as long.
  """

  features: int
  stride: int

  @nn.compact
  def __call__(self, x: arrays.Steps) -> arrays.Steps:
    """float[b, steps, channels] -> float[b, steps * stride, features]."""
    # An output depends on two steps, its own and the one before, so this is a
    # convolution to `stride` times the channels, unfolded.
    both = CausalConv(self.stride * self.features, 2)(x)
    return both.reshape(x.shape[0], x.shape[1] * self.stride, self.features)


class ResidualUnit(nn.Module):
  """ELU, dilated convolution, ELU, pointwise convolution, added to the input.

  Attributes:
    kernel_size: Number of taps of the dilated convolution.
    dilation: Steps between its taps.
  """

  kernel_size: int
  dilation: int

  @nn.compact
  def __call__(self, x: arrays.Steps) -> arrays.Steps:
    """float[b, steps, channels] -> float[b, steps, channels]."""
    channels = x.shape[-1]
    y = CausalConv(channels, self.kernel_size, dilation=self.dilation)(
      nn.elu(x)
    )
    return x + CausalConv(channels, 1)(nn.elu(y))


class SeanetEncoder(nn.Module):
  """Waveform to latents; a frame depends on no sample after its own end."""

  config: SeanetConfig

  @nn.compact
  def __call__(self, waveform: arrays.Waveform) -> arrays.Latents:
    """Encodes whole frames of `hop_samples`."""
    c = self.config
    x = CausalConv(c.base_channels, _EDGE_KERNEL)(waveform[..., None])
    for i, stride in enumerate(c.strides):
      for dilation in c.dilations:
        x = ResidualUnit(c.residual_kernel, dilation)(x)
      channels = c.base_channels * 2 ** (i + 1)
      x = CausalConv(channels, 2 * stride, stride=stride)(nn.elu(x))
    return CausalConv(c.latent_dim, _LATENT_KERNEL)(nn.elu(x))


class SeanetDecoder(nn.Module):
  """Latents to waveform: the encoder mirrored."""

  config: SeanetConfig

  @nn.compact
  def __call__(self, latents: arrays.Latents) -> arrays.Waveform:
    """Decodes to `hop_samples` samples per frame; none needs a later frame."""
    c = self.config
    top = c.base_channels * 2 ** len(c.strides)
    x = CausalConv(top, _EDGE_KERNEL)(latents)
    for i, stride in reversed(list(enumerate(c.strides))):
      x = CausalUpsample(c.base_channels * 2**i, stride)(nn.elu(x))
      for dilation in c.dilations:
        x = ResidualUnit(c.residual_kernel, dilation)(x)
    x = CausalConv(1, _EDGE_KERNEL)(nn.elu(x))
    return jnp.squeeze(x, -1)
