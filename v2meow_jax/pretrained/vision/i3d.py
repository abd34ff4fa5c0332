"""Inception-I3D: turns a stretch of optical flow into one vector.

The two-stream inflated 3D ConvNet of Carreira and Zisserman (2017,
https://arxiv.org/abs/1705.07750), its flow half, as published at
https://github.com/google-deepmind/kinetics-i3d. Batch normalisation is folded
into the convolutions when weights are read: see `i3d_weights`.
"""

import dataclasses

from flax import linen as nn
import jax
import jax.numpy as jnp

# Channels of an Inception block: 1x1x1; 1x1x1 then 3x3x3; 1x1x1 then 3x3x3;
# pooling then 1x1x1.
Block = tuple[int, int, int, int, int, int]
# Window of the last pooling: frames (already an eighth), then a square of 7 x
# 7, a 32nd of 224.
_LAST_POOL = (2, 7, 7)
MIN_FRAMES = 9  # An eighth of these, rounded up, fills the last pooling.


@dataclasses.dataclass(frozen=True, kw_only=True)
class I3DConfig:
  """Sizes; the defaults are the published network's.

  Attributes:
    stem: Channels of the three convolutions before the blocks.
    blocks: Channels of each Inception block, by its published name.
    in_channels: 2 for flow, 3 for RGB.
  """

  stem: tuple[int, int, int] = (64, 64, 192)
  blocks: tuple[tuple[str, Block], ...] = (
    ('Mixed_3b', (64, 96, 128, 16, 32, 32)),
    ('Mixed_3c', (128, 128, 192, 32, 96, 64)),
    ('Mixed_4b', (192, 96, 208, 16, 48, 64)),
    ('Mixed_4c', (160, 112, 224, 24, 64, 64)),
    ('Mixed_4d', (128, 128, 256, 24, 64, 64)),
    ('Mixed_4e', (112, 144, 288, 32, 64, 64)),
    ('Mixed_4f', (256, 160, 320, 32, 128, 128)),
    ('Mixed_5b', (256, 160, 320, 32, 128, 128)),
    ('Mixed_5c', (384, 192, 384, 48, 128, 128)),
  )
  in_channels: int = 2

  def __post_init__(self):
    # Lists, as json and gin write them, would not hash.
    blocks = tuple((name, tuple(sizes)) for name, sizes in self.blocks)
    object.__setattr__(self, 'blocks', blocks)
    object.__setattr__(self, 'stem', tuple(self.stem))

  @property
  def dim(self) -> int:
    """Width of a feature vector: 1024 in the published network."""
    b0, _, b1, _, b2, b3 = self.blocks[-1][1]
    return b0 + b1 + b2 + b3

  @property
  def convolutions(self) -> dict[tuple[str, ...], tuple[int, int, int]]:
    """(kernel size, channels in, channels out) by path in the parameters."""
    first, second, third = self.stem
    sizes_by_path = {
      ('Conv3d_1a_7x7',): (7, self.in_channels, first),
      ('Conv3d_2b_1x1',): (1, first, second),
      ('Conv3d_2c_3x3',): (3, second, third),
    }
    width = third
    for name, (b0, b1a, b1b, b2a, b2b, b3b) in self.blocks:
      sizes_by_path |= {
        (name, 'b0'): (1, width, b0),
        (name, 'b1a'): (1, width, b1a),
        (name, 'b1b'): (3, b1a, b1b),
        (name, 'b2a'): (1, width, b2a),
        (name, 'b2b'): (3, b2a, b2b),
        (name, 'b3b'): (1, width, b3b),
      }
      width = b0 + b1b + b2b + b3b
    return sizes_by_path


class Unit(nn.Module):
  """Convolution over time and space with TensorFlow's SAME padding, then relu.

  The frames under the kernel become channels of one frame, so that the
  convolution runs in space alone; on a CPU that is much faster.

  Attributes:
    features: Channels of the result.
    size: Width of the kernel in time and space.
    stride: Step of the kernel in time and space.
  """

  features: int
  size: int
  stride: int = 1

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """float32[b, t, h, w, channels] -> float32[b, t_out, h_out, w_out, features]."""
    batch_size, num_frames, *square, channels = x.shape
    shape = (self.size,) * 3 + (channels, self.features)
    kernel = self.param('kernel', nn.initializers.lecun_normal(), shape)
    bias = self.param('bias', nn.initializers.zeros, (self.features,))
    steps = -(-num_frames // self.stride)
    last = (steps - 1) * self.stride
    missing = max(last + self.size - num_frames, 0)
    padding = ((missing // 2, missing - missing // 2),)
    x = jnp.pad(x, ((0, 0), *padding, (0, 0), (0, 0), (0, 0)))
    windows = [
      x[:, first : first + last + 1 : self.stride] for first in range(self.size)
    ]
    y = jax.lax.conv_general_dilated(
      jnp.concatenate(windows, -1).reshape(batch_size * steps, *square, -1),
      # Channels of the first frame come first.
      jnp.moveaxis(kernel, 0, 2).reshape(*shape[1:3], -1, self.features),
      window_strides=(self.stride, self.stride),
      padding='SAME',
      dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
    )
    return nn.relu(y + bias).reshape(batch_size, steps, *y.shape[1:])


class Inception(nn.Module):
  """Four branches over the same input, side by side in the result.

  Attributes:
    channels: Channels of the branches.
  """

  channels: Block

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """float32[b, t, h, w, channels in] -> float32[b, t, h, w, channels out]."""
    b0, b1a, b1b, b2a, b2b, b3b = self.channels
    pooled = x
    # A cube's maximum, one axis after the other: 9 numbers, not 27.
    for window in ((3, 1, 1), (1, 3, 1), (1, 1, 3)):
      pooled = nn.max_pool(pooled, window, padding='SAME')
    return jnp.concatenate(
      [
        Unit(b0, 1, name='b0')(x),
        Unit(b1b, 3, name='b1b')(Unit(b1a, 1, name='b1a')(x)),
        Unit(b2b, 3, name='b2b')(Unit(b2a, 1, name='b2a')(x)),
        Unit(b3b, 1, name='b3b')(pooled),
      ],
      -1,
    )


class I3D(nn.Module):
  """I3D up to its pooled features.

  Attributes:
    config: Sizes.
  """

  config: I3DConfig

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """Pooled features of clips.

    Args:
      x: float32[b, frames, 224, 224, in_channels], in [-1, 1]; at least
        `MIN_FRAMES` frames.

    Returns:
      float32[b, dim], the mean of the published average pooling (2 x 7 x 7,
      stride 1).
    """
    first, second, third = self.config.stem
    x = Unit(first, 7, stride=2, name='Conv3d_1a_7x7')(x)
    x = max_pool(x, (1, 3, 3), (1, 2, 2))
    x = Unit(second, 1, name='Conv3d_2b_1x1')(x)
    x = Unit(third, 3, name='Conv3d_2c_3x3')(x)
    x = max_pool(x, (1, 3, 3), (1, 2, 2))
    previous = '3'
    for name, channels in self.config.blocks:
      stage = name.removeprefix('Mixed_')[0]
      if stage != previous:
        x = max_pool(
          x, *(((3,) * 3, (2,) * 3) if stage == '4' else ((2,) * 3,) * 2)
        )
      previous = stage
      x = Inception(channels, name=name)(x)
    return last_pool(x)


def max_pool(x: jax.Array, window, strides) -> jax.Array:
  """float[b, t, h, w, channels], each axis divided by its stride, rounded up."""
  return nn.max_pool(x, window, strides, padding='SAME')


def last_pool(x: jax.Array) -> jax.Array:
  """float[b, t, h, w, channels] -> [b, channels]; at least 2 x 7 x 7."""
  return nn.avg_pool(x, _LAST_POOL).mean((1, 2, 3))
