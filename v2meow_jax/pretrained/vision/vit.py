"""Parts of vision Transformers.

Functions that a module calls in its compact method, whose layers they become.
"""

from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from v2meow_jax.pretrained.vision import attention

# Statistics of the pixels of ImageNet, in [0, 1], RGB.
MEAN = np.array([0.485, 0.456, 0.406], np.float32)
STD = np.array([0.229, 0.224, 0.225], np.float32)


def normalize(images: jax.Array) -> jax.Array:
  """uint8[..., 3] RGB -> float32[..., 3], as in training on ImageNet."""
  return (images.astype(jnp.float32) / 255 - MEAN) / STD


def norm(name: str) -> nn.LayerNorm:
  """The norm of the networks that follow DeiT, such as DINOv2 and Hiera."""
  return nn.LayerNorm(1e-6, use_fast_variance=False, name=name)


def tokens(
  module: nn.Module,
  pixels: jax.Array,
  patch_size: int,
  emb_dim: int,
  *,
  use_bias: bool,
) -> jax.Array:
  """Embeds patches, puts a class token before them, and adds places.

  Args:
    module: Module that gets the layer 'patches' and the parameters 'class' and
      'positions'.
    pixels: Normalised pixels, float32[b, size, size, 3].
    patch_size: Side of a patch, in pixels.
    emb_dim: Width of a token.
    use_bias: Whether the embedding of patches has a bias.

  Returns:
    float32[b, 1 + patches, emb_dim], patches row by row.
  """
  patch = (patch_size, patch_size)
  x = nn.Conv(
    emb_dim, patch, patch, 'VALID', use_bias=use_bias, name='patches'
  )(pixels)
  x = x.reshape(len(x), -1, emb_dim)
  normal = nn.initializers.normal(0.02)
  first = module.param('class', normal, (emb_dim,))
  first = jnp.broadcast_to(first, (len(x), 1, emb_dim))
  x = jnp.concatenate([first, x], 1)
  return x + module.param('positions', normal, x.shape[1:])


def self_attention(x: jax.Array, num_heads: int) -> jax.Array:
  """Attends with layers 'query', 'key', 'value' and 'out', each with a bias.

  Args:
    x: float32[b, length, dim].
    num_heads: Number of heads; divides dim.

  Returns:
    float32[b, length, dim].
  """
  dim = x.shape[-1]
  heads = (*x.shape[:2], num_heads, -1)
  query, key, value = (
    nn.Dense(dim, name=name)(x).reshape(heads)
    for name in ('query', 'key', 'value')
  )
  y = attention.full(query, key, value).reshape(x.shape)
  return nn.Dense(dim, name='out')(y)


def feed_forward(x: jax.Array, ratio: int) -> jax.Array:
  """Widens and narrows by layers 'wide' and 'narrow', with an exact GELU.

  Args:
    x: float32[..., dim].
    ratio: Width between the two, over dim.

  Returns:
    float32[..., dim].
  """
  dim = x.shape[-1]
  y = nn.Dense(ratio * dim, name='wide')(x)
  return nn.Dense(dim, name='narrow')(jax.nn.gelu(y, approximate=False))
