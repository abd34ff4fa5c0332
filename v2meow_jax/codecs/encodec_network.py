"""The network of EnCodec: SEANet with an LSTM at the code rate.

Défossez et al. 2022 (https://arxiv.org/abs/2210.13438). An LSTM remembers all
that came before, so both ends come in parts, before and after it, that music
of any length can go through in pieces. Modules and parameters are named as in
the files of https://huggingface.co/facebook/encodec_24khz, so that
`torch_weights.read` finds them.
"""

from __future__ import annotations

from collections.abc import Sequence
import dataclasses
import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array
from jaxtyping import Float
from jaxtyping import Int

from v2meow_jax import specs
from v2meow_jax.codecs import rvq
from v2meow_jax.codecs import torch_weights

_EDGE_KERNEL = 7
_RESIDUAL_KERNEL = 3
NUM_LSTM_LAYERS = 2

# What an LSTM remembers: hidden and cell of every layer.
State = Float[Array, 'layers 2 b dim']
# Frames before and after its own that a frame depends on.
Reach = tuple[int, int]


@dataclasses.dataclass(frozen=True, kw_only=True)
class EncodecConfig:
  """Sizes of an `Encodec`.

  Attributes:
    source: Repository of the Hugging Face hub with its weights.
    sample_rate_hz: Of the waveforms.
    num_levels: Codebooks, coarsest first.
    codebook_size: Vectors in one codebook.
    strides: Down-sampling of the encoder's blocks, first to last; the decoder
      undoes them in reverse.
    base_channels: At the sample rate; doubled by every stride.
    causal: Whether convolutions hear the past alone.
    shortcut_conv: Whether a residual block projects its input before it adds
      it to its output.
    latent_dim: Width at the quantiser.
  """

  source: str
  sample_rate_hz: int
  num_levels: int
  codebook_size: int
  strides: Sequence[int]
  base_channels: int
  causal: bool
  shortcut_conv: bool
  latent_dim: int = 128

  def __post_init__(self):
    # Lists, as json and gin write them, would not hash.
    object.__setattr__(self, 'strides', tuple(self.strides))

  @property
  def hop_samples(self) -> int:
    """Samples of one code frame."""
    return math.prod(self.strides)

  @property
  def top_channels(self) -> int:
    """Width of the LSTMs."""
    return self.base_channels * 2 ** len(self.strides)

  @property
  def stream(self) -> specs.TokenSpec:
    """The codes, all levels."""
    return specs.TokenSpec(
      name='acoustic',
      codebook_size=self.codebook_size,
      num_codebooks=self.num_levels,
      rate_hz=self.sample_rate_hz / self.hop_samples,
    )

  @property
  def edge_reach_frames(self) -> Reach:
    """Reach of the convolution at the code rate: after or before an LSTM."""
    left = self.pad(_EDGE_KERNEL, 1)
    return left, _EDGE_KERNEL - 1 - left

  @property
  def encoder_reach_frames(self) -> Reach:
    """Reach of the encoder before its LSTM."""
    # The steps that frame 0 hears, walked up to the samples.
    kernels = [(_EDGE_KERNEL, 1)]
    for stride in self.strides:
      kernels += [(_RESIDUAL_KERNEL, 1), (2 * stride, stride)]
    first = last = 0
    for size, stride in reversed(kernels):
      first = stride * first - self.pad(size, stride)
      last = stride * last - self.pad(size, stride) + size - 1
    return -(first // self.hop_samples), last // self.hop_samples

  @property
  def decoder_reach_frames(self) -> Reach:
    """Reach of the decoder after its LSTM."""
    # The steps that the samples of frame 0 hear, walked up to the frames.
    left = self.pad(_EDGE_KERNEL, 1)
    first, last = -left, self.hop_samples - 1 + _EDGE_KERNEL - 1 - left
    for stride in self.strides:
      left = self.pad(_RESIDUAL_KERNEL, 1)
      first, last = first - left, last + _RESIDUAL_KERNEL - 1 - left
      first = (first + self.drop(stride)) // stride - 1
      last = (last + self.drop(stride)) // stride
    return -first, last

  def pad(self, size: int, stride: int) -> int:
    """Steps that a convolution puts before the first."""
    return size - stride if self.causal else -(-(size - stride) // 2)

  def drop(self, stride: int) -> int:
    """Steps that a transposed convolution drops before the first."""
    return 0 if self.causal else -(-stride // 2)


class Conv(nn.Module):
  """A convolution over time, behind mirrored edges.

  Attributes:
    config: Says which edges.
    features: Output channels.
    size: Of the kernel.
    stride: Down-sampling.
  """

  config: EncodecConfig
  features: int
  size: int
  stride: int = 1

  @nn.compact
  def __call__(
    self, x: Float[Array, 'b steps channels']
  ) -> Float[Array, 'b steps_out features']:
    """float[b, steps, channels] -> float[b, steps / stride, features]."""
    left = self.config.pad(self.size, self.stride)
    right = self.size - self.stride - left
    # What is too short to be mirrored goes on in silence first.
    missing = max(0, max(left, right) + 1 - x.shape[1])
    x = jnp.pad(x, ((0, 0), (0, missing), (0, 0)))
    x = jnp.pad(x, ((0, 0), (left, right), (0, 0)), mode='reflect')
    return nn.Conv(
      self.features,
      (self.size,),
      strides=self.stride,
      padding='VALID',
      name='conv',
    )(x[:, : x.shape[1] - missing])


class Upsample(nn.Module):
  """A transposed convolution, cut to whole steps.

  Attributes:
    config: Says on which side.
    features: Output channels.
    stride: Up-sampling.
  """

  config: EncodecConfig
  features: int
  stride: int

  @nn.compact
  def __call__(
    self, x: Float[Array, 'b steps channels']
  ) -> Float[Array, 'b steps_out features']:
    """float[b, steps, channels] -> float[b, steps * stride, features]."""
    first, length = self.config.drop(self.stride), x.shape[1] * self.stride
    y = torch_weights.TransposedConv(self.features, self.stride, name='conv')(x)
    return y[:, first : first + length]


class ResidualBlock(nn.Module):
  """Two convolutions through half the channels, added to the input.

  Attributes:
    config: Sizes.
    channels: In and out.
  """

  config: EncodecConfig
  channels: int

  def setup(self):
    """The layers, at their published places."""
    c = self.config
    self.block = [
      nn.elu,
      Conv(c, self.channels // 2, _RESIDUAL_KERNEL),
      nn.elu,
      Conv(c, self.channels, 1),
    ]
    if c.shortcut_conv:
      self.shortcut = Conv(c, self.channels, 1)

  def __call__(
    self, x: Float[Array, 'b steps channels']
  ) -> Float[Array, 'b steps channels']:
    """float[b, steps, channels] -> float[b, steps, channels]."""
    y = _through(self.block, x)
    return y + (self.shortcut(x) if self.config.shortcut_conv else x)


class Lstm(nn.Module):
  """Layers of LSTM over the frames, added to their input.

  Attributes:
    dim: In and out.
  """

  dim: int

  @nn.compact
  def __call__(
    self, x: Float[Array, 'b frames dim'], state: State
  ) -> tuple[Float[Array, 'b frames dim'], State]:
    """Output, and what to go on with; begins with zeros."""
    # [b, frames, dim] -> [frames, b, dim]
    y = jnp.moveaxis(x, 1, 0)
    after = []
    for k in range(NUM_LSTM_LAYERS):
      last, y = self._layer(k, y, state[k])
      after.append(last)
    return x + jnp.moveaxis(y, 0, 1), jnp.stack(after)

  def _layer(self, k, x, state):
    def param(name, *shape):
      return self.param(f'lstm.{name}_l{k}', _uniform, (4 * self.dim, *shape))

    w_ih, w_hh = param('weight_ih', self.dim), param('weight_hh', self.dim)
    driven = x @ w_ih.T + param('bias_ih') + param('bias_hh')

    def step(state, driven):
      hidden, cell = state
      gates = jnp.split(driven + hidden @ w_hh.T, 4, axis=-1)
      write, keep, read = (nn.sigmoid(gates[i]) for i in (0, 1, 3))
      cell = keep * cell + write * jnp.tanh(gates[2])
      hidden = read * jnp.tanh(cell)
      return jnp.stack([hidden, cell]), hidden

    return jax.lax.scan(step, state, driven)


def _uniform(rng, shape):
  # PyTorch's, for all four of a layer.
  bound = (4 / shape[0]) ** 0.5
  return jax.random.uniform(rng, shape, minval=-bound, maxval=bound)


def _through(layers, x):
  for layer in layers:
    x = layer(x)
  return x


class Encoder(nn.Module):
  """Waveform to latents.

  Attributes:
    config: Sizes.
  """

  config: EncodecConfig

  def setup(self):
    """The layers, at their published places."""
    c = self.config
    layers: list[Any] = [Conv(c, c.base_channels, _EDGE_KERNEL)]
    for i, stride in enumerate(c.strides):
      channels = c.base_channels * 2**i
      layers += [
        ResidualBlock(c, channels),
        nn.elu,
        Conv(c, 2 * channels, 2 * stride, stride),
      ]
    layers += [Lstm(c.top_channels), nn.elu]
    self.layers = [*layers, Conv(c, c.latent_dim, _EDGE_KERNEL)]

  def before(
    self, waveform: Float[Array, 'b samples']
  ) -> Float[Array, 'b frames dim']:
    """What the LSTM reads."""
    return _through(self.layers[:-3], waveform[..., None])

  def recurrent(
    self, x: Float[Array, 'b frames dim'], state: State
  ) -> tuple[Float[Array, 'b frames dim'], State]:
    """The LSTM."""
    return self.layers[-3](x, state)

  def after(
    self, x: Float[Array, 'b frames dim']
  ) -> Float[Array, 'b frames latent_dim']:
    """Latents of what the LSTM wrote."""
    return _through(self.layers[-2:], x)


class Decoder(nn.Module):
  """Latents to waveform.

  Attributes:
    config: Sizes.
  """

  config: EncodecConfig

  def setup(self):
    """The layers, at their published places."""
    c = self.config
    layers: list[Any] = [
      Conv(c, c.top_channels, _EDGE_KERNEL),
      Lstm(c.top_channels),
    ]
    for i, stride in reversed(list(enumerate(c.strides))):
      channels = c.base_channels * 2**i
      layers += [
        nn.elu,
        Upsample(c, channels, stride),
        ResidualBlock(c, channels),
      ]
    self.layers = [*layers, nn.elu, Conv(c, 1, _EDGE_KERNEL)]

  def before(
    self, latents: Float[Array, 'b frames latent_dim']
  ) -> Float[Array, 'b frames dim']:
    """What the LSTM reads."""
    return self.layers[0](latents)

  def recurrent(
    self, x: Float[Array, 'b frames dim'], state: State
  ) -> tuple[Float[Array, 'b frames dim'], State]:
    """The LSTM."""
    return self.layers[1](x, state)

  def after(self, x: Float[Array, 'b frames dim']) -> Float[Array, 'b samples']:
    """The waveform of what the LSTM wrote."""
    return jnp.squeeze(_through(self.layers[2:], x), -1)


class Quantizer(nn.Module):
  """Codebooks at the width of the latents, without projections.

  Attributes:
    config: Sizes.
  """

  config: EncodecConfig

  def setup(self):
    """One codebook a level."""
    c = self.config
    self.vectors = [
      self.param(
        f'layers.{k}.codebook.embed',
        nn.initializers.normal(),
        (c.codebook_size, c.latent_dim),
      )
      for k in range(c.num_levels)
    ]

  def encode(
    self, latents: Float[Array, 'b frames dim']
  ) -> Int[Array, 'b frames levels']:
    """Codes of every level."""
    flat = latents.reshape(-1, latents.shape[-1])
    codes = rvq.quantize(jnp.stack(self.vectors), flat)[0]
    return codes.T.reshape(*latents.shape[:2], -1).astype(jnp.int32)

  def decode(
    self, codes: Int[Array, 'b frames levels']
  ) -> Float[Array, 'b frames dim']:
    """Latents of codes of the first `levels` levels."""
    return rvq.lookup(jnp.stack(self.vectors), codes)
