"""Parts of vision Transformers that begin with a class token.

Functions that a module calls in its compact method, whose layers they become.
"""

from flax import linen as nn
import jax
import jax.numpy as jnp

from v2meow_jax.pretrained.vision import attention


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
