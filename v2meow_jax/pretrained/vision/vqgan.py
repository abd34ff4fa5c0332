"""The VQGAN encoder of MaskGIT: turns a picture into 16 x 16 tokens.

Chang et al. 2022 (https://arxiv.org/abs/2202.04200), whose tokenizer is that of
Esser et al. 2021 (https://arxiv.org/abs/2012.09841) without attention. Weights:
https://github.com/google-research/maskgit, Apache-2.0, `tokenizer_imagenet256`.
"""

from collections.abc import Mapping
import dataclasses
from typing import Any

from flax import linen as nn
import jax
import jax.numpy as jnp

from v2meow_jax.pretrained import tensors

_WANTED = "the 'tokenizer' checkpoint of MaskGIT"
_EPSILON = 1e-6  # Flax's default in group normalisation.


@dataclasses.dataclass(frozen=True, kw_only=True)
class VqganConfig:
  """Sizes; the defaults are those of the published 256-pixel tokenizer.

  Attributes:
    image_size: Side of a picture, in pixels.
    filters: Channels before multiplication.
    channel_multipliers: Factor of the channels at each resolution; each halves
      the one before.
    num_res_blocks: Residual blocks at each resolution and at the end.
    code_dim: Width of a code.
    codebook_size: Number of codes.
    num_groups: Groups of the group normalisation.
  """

  image_size: int = 256
  filters: int = 128
  channel_multipliers: tuple[int, ...] = (1, 1, 2, 2, 4)
  num_res_blocks: int = 2
  code_dim: int = 256
  codebook_size: int = 1024
  num_groups: int = 32

  def __post_init__(self):
    # A list, as json and gin write it, would not hash.
    multipliers = tuple(self.channel_multipliers)
    object.__setattr__(self, 'channel_multipliers', multipliers)

  @property
  def num_tokens(self) -> int:
    """Number of tokens of a picture, row by row."""
    side = self.image_size // 2 ** (len(self.channel_multipliers) - 1)
    return side**2


class GroupNorm(nn.Module):
  """Group normalisation (https://arxiv.org/abs/1803.08494), as `nn.GroupNorm`.

  Averages each channel first and then the few channels of a group, which is
  faster on a CPU than averaging groups at once.

  Attributes:
    num_groups: Number of groups; divides the channels.
  """

  num_groups: int

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """float32[b, h, w, n], the same."""
    channels = x.shape[-1]
    scale = self.param('scale', nn.initializers.ones, (channels,))
    bias = self.param('bias', nn.initializers.zeros, (channels,))

    def of_groups(values):  # [b, h, w, n] -> [b, 1, 1, n]
      sums = values.mean((1, 2)).reshape(len(x), self.num_groups, -1).mean(-1)
      return jnp.repeat(sums, channels // self.num_groups, -1)[:, None, None]

    mean = of_groups(x)
    variance = jnp.maximum(of_groups(x**2) - mean**2, 0)
    gain = scale * jax.lax.rsqrt(variance + _EPSILON)
    return x * gain + (bias - mean * gain)


class ResBlock(nn.Module):
  """Two convolutions with a shortcut; unnamed as in the published files.

  Attributes:
    channels: Channels of the output.
    num_groups: Groups of the normalisation.
  """

  channels: int
  num_groups: int

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """float32[b, h, w, n] -> float32[b, h, w, channels]."""
    y = x
    for _ in range(2):
      y = nn.swish(GroupNorm(self.num_groups)(y))
      y = nn.Conv(self.channels, (3, 3), use_bias=False)(y)
    if x.shape[-1] == self.channels:
      return x + y
    # The published network was trained with a shortcut that reads the block's
    # own result.
    return y + nn.Conv(self.channels, (1, 1), use_bias=False)(y)


class Encoder(nn.Module):
  """Turns pixels into vectors to quantise.

  Attributes:
    config: Sizes.
  """

  config: VqganConfig

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """float32[b, size, size, 3] -> float32[b, side, side, code_dim]."""
    c = self.config
    channels = [c.filters * m for m in c.channel_multipliers]
    x = nn.Conv(c.filters, (3, 3), use_bias=False)(x)
    for i, n in enumerate([*channels, channels[-1]]):
      if 0 < i < len(channels):
        x = nn.avg_pool(x, (2, 2), (2, 2))
      for _ in range(c.num_res_blocks):
        x = ResBlock(n, c.num_groups)(x)
    x = nn.swish(GroupNorm(c.num_groups)(x))
    return nn.Conv(c.code_dim, (1, 1))(x)


class Vqgan(nn.Module):
  """Turns pixels into codes.

  Attributes:
    config: Sizes.
  """

  config: VqganConfig

  @nn.compact
  def __call__(self, images: jax.Array) -> jax.Array:
    """float32[b, size, size, 3] in [0, 1] -> int32[b, num_tokens]."""
    c = self.config
    x = Encoder(c, name='encoder')(images)
    x = x.reshape(len(x), c.num_tokens, c.code_dim)
    codebook = self.param(
      'codebook', nn.initializers.normal(1.0), (c.codebook_size, c.code_dim)
    )
    distances = (codebook**2).sum(-1) - 2 * x @ codebook.T
    return jnp.argmin(distances, -1).astype(jnp.int32)


def read(state: Mapping[str, Any], config: VqganConfig) -> dict[str, Any]:
  """Parameters of `Vqgan` from the published checkpoint.

  Args:
    state: Tensors of `tensors.load`: `params/encoder/...` and
      `params/quantizer/...`; those of the decoder are ignored.
    config: Sizes of the network.

  Returns:
    The parameters, nested.

  Raises:
    ValueError: An array is missing, of another shape, or not finite.
  """
  source = tensors.Tensors(state, _WANTED, 'maskgit-vqgan')
  picture = jnp.zeros((1, config.image_size, config.image_size, 3))
  shapes = jax.eval_shape(Vqgan(config).init, jax.random.key(0), picture)
  codes = source.take(
    'params/quantizer/codebook', config.codebook_size, config.code_dim
  )

  def take(path, leaf):
    name = '/'.join(str(key.key) for key in path)
    return source.take(f'params/encoder/{name}', *leaf.shape)

  encoder = jax.tree_util.tree_map_with_path(take, shapes['params']['encoder'])
  return {'encoder': encoder, 'codebook': codes}
