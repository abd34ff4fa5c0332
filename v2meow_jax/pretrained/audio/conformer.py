"""Conformers (Gulati et al. 2020, https://arxiv.org/abs/2005.08100).

Equal to transformers' `Wav2Vec2ConformerEncoder` with rotary positions, which
MusicFM uses, down to the names of parameters. Batch normalisation with fixed
statistics is folded into the convolution before it.
"""

import dataclasses

from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np

# Wavelengths of the rotary positions: 2 pi to about 2 pi times this.
_ROTARY_BASE = 10_000


@dataclasses.dataclass(frozen=True, kw_only=True)
class ConformerConfig:
  """Sizes of a `Conformer`.

  Attributes:
    emb_dim: Width of the frames.
    num_layers: Number of layers of the published network.
    num_heads: Attention heads of each layer; emb_dim / num_heads is even.
    mlp_dim: Width inside the feed-forward layers.
    kernel_size: Frames that the convolution of a layer spans, odd.
  """

  emb_dim: int
  num_layers: int
  num_heads: int
  mlp_dim: int
  kernel_size: int

  def __post_init__(self):
    if self.emb_dim % (2 * self.num_heads) or self.kernel_size % 2 == 0:
      raise ValueError(
        f'{self}: emb_dim must be an even multiple of num_heads, and'
        ' kernel_size odd.'
      )


def _norm(name: str) -> nn.LayerNorm:
  return nn.LayerNorm(1e-5, use_fast_variance=False, name=name)


def rotate(x: jax.Array, num_heads: int) -> jax.Array:
  """Rotary positions (Su et al. 2021, https://arxiv.org/abs/2104.09864).

  Dimensions j and j + head_dim / 2 of a head turn together, by frame *
  10,000^(-2j / head_dim).

  Args:
    x: float[b, frames, emb_dim].
    num_heads: Heads, which all turn alike.

  Returns:
    float[b, frames, emb_dim].
  """
  heads = x.reshape(*x.shape[:2], num_heads, -1)
  half = heads.shape[-1] // 2
  turns = _ROTARY_BASE ** -(np.arange(half) / half)
  angles = np.arange(x.shape[1])[:, None, None] * turns
  cos, sin = jnp.asarray(np.cos(angles)), jnp.asarray(np.sin(angles))
  a, b = heads[..., :half], heads[..., half:]
  turned = jnp.concatenate([a * cos - b * sin, b * cos + a * sin], -1)
  return turned.reshape(x.shape)


class FeedForward(nn.Module):
  """Two dense layers with swish between them.

  Attributes:
    config: Sizes.
  """

  config: ConformerConfig

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """float32[b, frames, emb_dim], the same."""
    x = nn.Dense(self.config.mlp_dim, name='intermediate_dense')(x)
    return nn.Dense(self.config.emb_dim, name='output_dense')(nn.silu(x))


class SelfAttention(nn.Module):
  """Attention to all frames.

  Rotates the input of queries and keys, not queries and keys themselves, as the
  published network does.

  Attributes:
    config: Sizes.
  """

  config: ConformerConfig

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """float32[b, frames, emb_dim], the same."""
    num_heads, dim = self.config.num_heads, self.config.emb_dim
    turned = rotate(x, num_heads)
    query, key, value = (
      nn.Dense(dim, name=name)(y).reshape(*x.shape[:2], num_heads, -1)
      for name, y in (
        ('linear_q', turned),
        ('linear_k', turned),
        ('linear_v', x),
      )
    )
    y = jax.nn.dot_product_attention(query, key, value).reshape(x.shape)
    return nn.Dense(dim, name='linear_out')(y)


class Convolution(nn.Module):
  """A gate, then a convolution of each channel over frames.

  Attributes:
    config: Sizes.
  """

  config: ConformerConfig

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """float32[b, frames, emb_dim], the same."""
    dim, size = self.config.emb_dim, self.config.kernel_size
    x = _norm('layer_norm')(x)
    x = nn.Conv(2 * dim, (1,), use_bias=False, name='pointwise_conv1')(x)
    x = nn.glu(x)
    x = nn.Conv(dim, (size,), feature_group_count=dim, name='depthwise_conv')(x)
    x = nn.silu(x)
    return nn.Conv(dim, (1,), use_bias=False, name='pointwise_conv2')(x)


class Layer(nn.Module):
  """Half a feed-forward, attention, convolution, half a feed-forward.

  Attributes:
    config: Sizes.
  """

  config: ConformerConfig

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """float32[b, frames, emb_dim], the same."""
    config = self.config
    x += 0.5 * FeedForward(config, name='ffn1')(_norm('ffn1_layer_norm')(x))
    y = _norm('self_attn_layer_norm')(x)
    x += SelfAttention(config, name='self_attn')(y)
    x += Convolution(config, name='conv_module')(x)
    x += 0.5 * FeedForward(config, name='ffn2')(_norm('ffn2_layer_norm')(x))
    return _norm('final_layer_norm')(x)


class Conformer(nn.Module):
  """The first layers of a Conformer.

  Attributes:
    config: Sizes.
    layer: Number of layers to run. 0 returns the input; `config.num_layers`
      adds a last normalisation.
  """

  config: ConformerConfig
  layer: int

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """float32[b, frames, emb_dim], the same."""
    for i in range(self.layer):
      x = Layer(self.config, name=f'layers_{i}')(x)
    return _norm('layer_norm')(x) if self.layer == self.config.num_layers else x
