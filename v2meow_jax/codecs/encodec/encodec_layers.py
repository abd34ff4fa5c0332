"""Layers of EnCodec: convolutions with mirrored edges, and an LSTM.

Défossez et al. 2022 (https://arxiv.org/abs/2210.13438), as built in
`transformers`. Modules and parameters are named as in the published files, so
that `torch_weights.read` finds them.
"""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array
from jaxtyping import Float

from v2meow_jax.codecs import arrays
from v2meow_jax.pretrained import torch_weights

RESIDUAL_KERNEL = 3
NUM_LSTM_LAYERS = 2

# Hidden and cell state of every layer of an LSTM.
LstmState = Float[Array, 'layers 2 b dim']


def padding(size: int, stride: int, causal: bool) -> tuple[int, int]:
  """Returns the numbers of steps that a convolution pads before and after."""
  right = 0 if causal else (size - stride) // 2
  return size - stride - right, right


def dropped(stride: int, causal: bool) -> int:
  """Returns the number of first steps that a transposed convolution drops."""
  return 0 if causal else -(-stride // 2)


class Conv(nn.Module):
  """A convolution over time, after mirroring the edges.

  Attributes:
    features: Number of output channels.
    size: Size of the kernel.
    causal: Whether a step depends on no later one.
    stride: Down-sampling factor.
  """

  features: int
  size: int
  causal: bool
  stride: int = 1

  @nn.compact
  def __call__(self, x: arrays.Steps) -> arrays.Steps:
    """float[b, steps, channels] -> float[b, steps / stride, features]."""
    left, right = padding(self.size, self.stride, self.causal)
    # Zeros extend an input that is too short to mirror.
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
    features: Number of output channels.
    stride: Up-sampling factor.
    causal: Whether a step depends on no later one.
  """

  features: int
  stride: int
  causal: bool

  @nn.compact
  def __call__(self, x: arrays.Steps) -> arrays.Steps:
    """float[b, steps, channels] -> float[b, steps * stride, features]."""
    first, length = dropped(self.stride, self.causal), x.shape[1] * self.stride
    y = torch_weights.TransposedConv(self.features, self.stride, name='conv')(x)
    return y[:, first : first + length]


class ResidualBlock(nn.Module):
  """Two convolutions through half the channels, added to the input.

  Attributes:
    channels: Number of input and output channels.
    causal: Whether a step depends on no later one.
    shortcut_conv: Whether to project the input before adding it.
  """

  channels: int
  causal: bool
  shortcut_conv: bool

  def setup(self):
    """Builds the layers, in their published order."""
    self.block = [
      nn.elu,
      Conv(self.channels // 2, RESIDUAL_KERNEL, self.causal),
      nn.elu,
      Conv(self.channels, 1, self.causal),
    ]
    if self.shortcut_conv:
      self.shortcut = Conv(self.channels, 1, self.causal)

  def __call__(self, x: arrays.Steps) -> arrays.Steps:
    """float[b, steps, channels] -> float[b, steps, channels]."""
    y = through(self.block, x)
    return y + (self.shortcut(x) if self.shortcut_conv else x)


class Lstm(nn.Module):
  """LSTM layers over the frames, added to their input.

  Attributes:
    dim: Width of input and output.
  """

  dim: int

  @nn.compact
  def __call__(
    self, x: arrays.Latents, state: LstmState
  ) -> tuple[arrays.Latents, LstmState]:
    """Returns the output and the last state; the first state is zeros."""
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
  # PyTorch's, for all four arrays of a layer.
  bound = (4 / shape[0]) ** 0.5
  return jax.random.uniform(rng, shape, minval=-bound, maxval=bound)


def through(layers: Sequence[Any], x: Array) -> Array:
  """Applies layers in order."""
  for layer in layers:
    x = layer(x)
  return x
