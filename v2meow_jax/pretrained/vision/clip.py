"""CLIP's image tower (Radford et al. 2021, https://arxiv.org/abs/2103.00020).

`clip_weights` reads the published weights; `extractors.clip` makes a stream.
"""

import dataclasses
import functools
from typing import Any

from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from v2meow_jax.pretrained.vision import patch_grid
from v2meow_jax.pretrained.vision import vit

# Statistics of the pixels of CLIP's training images, in [0, 1], RGB.
MEAN = np.array([0.48145466, 0.4578275, 0.40821073], np.float32)
STD = np.array([0.26862954, 0.26130258, 0.27577711], np.float32)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImageTowerConfig:
  """Sizes of an `ImageTower`.

  Attributes:
    image_size: Side of the square images, in pixels.
    patch_size: Side of a patch; divides `image_size`.
    emb_dim: Width of the Transformer.
    num_layers: Number of layers of the Transformer.
    num_heads: Attention heads of each layer; divides `emb_dim`.
    mlp_dim: Width inside the feed-forward layers.
    projection_dim: Width of the space that images and texts share.
  """

  image_size: int
  patch_size: int
  emb_dim: int
  num_layers: int
  num_heads: int
  mlp_dim: int
  projection_dim: int

  def __post_init__(self):
    if self.image_size % self.patch_size or self.emb_dim % self.num_heads:
      raise ValueError(
        f'{self}: patch_size must divide image_size, and num_heads emb_dim.'
      )


# paper: CLIP, table 20; openai/clip-vit-large-patch14. 303 million parameters.
VIT_L_14 = ImageTowerConfig(
  image_size=224,
  patch_size=14,
  emb_dim=1024,
  num_layers=24,
  num_heads=16,
  mlp_dim=4096,
  projection_dim=768,
)


def normalize(images: jax.Array) -> jax.Array:
  """uint8[..., 3] RGB -> float32[..., 3], scaled as in CLIP's training."""
  return (images.astype(jnp.float32) / 255 - MEAN) / STD


def _norm(name: str) -> nn.LayerNorm:
  # A few channels of CLIP are far larger than the others: E[x^2] - E[x]^2
  # would cancel.
  return nn.LayerNorm(1e-5, use_fast_variance=False, name=name)


class Layer(nn.Module):
  """Self-attention and a feed-forward layer, each normalised before.

  Attributes:
    config: Sizes.
  """

  config: ImageTowerConfig

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """float32[b, length, emb_dim], the same."""
    config = self.config
    x += vit.self_attention(_norm('attention_norm')(x), config.num_heads)
    y = nn.Dense(config.mlp_dim, name='wide')(_norm('mlp_norm')(x))
    # The logistic approximation of GELU, which CLIP was trained with.
    y *= jax.nn.sigmoid(1.702 * y)
    return x + nn.Dense(config.emb_dim, name='narrow')(y)


class ImageTower(nn.Module):
  """A vision Transformer, whose first position is a class token.

  Attributes:
    config: Sizes.
    of_patches: Whether it gives the class token and every patch as the last
      layer leaves them, not the projected class token.
  """

  config: ImageTowerConfig
  of_patches: bool = False

  @nn.compact
  def __call__(self, pixels: jax.Array) -> jax.Array:
    """Embeds normalised pixels, float32[b, size, size, 3].

    Returns:
      float32[b, projection_dim]; or of class token and patches, row by row,
      float32[b, 1 + (size / patch_size)^2, emb_dim].
    """
    config = self.config
    x = vit.tokens(
      self, pixels, config.patch_size, config.emb_dim, use_bias=False
    )
    x = _norm('first_norm')(x)
    for i in range(config.num_layers):
      x = Layer(config, name=f'layer_{i}')(x)
    if self.of_patches:
      return x
    x = _norm('last_norm')(x[:, 0])
    return nn.Dense(config.projection_dim, use_bias=False, name='projection')(x)


@functools.partial(jax.jit, static_argnums=0)
def embed(
  config: ImageTowerConfig, params: Any, images: jax.Array
) -> jax.Array:
  """uint8[b, size, size, 3] -> float32[b, projection_dim], in full precision."""
  # In full: accelerators would round the factors of a float32 product.
  with jax.default_matmul_precision('float32'):
    return ImageTower(config).apply({'params': params}, normalize(images))


@functools.partial(jax.jit, static_argnums=(0, 3, 4))
def patch_features(
  config: ImageTowerConfig,
  params: Any,
  images: jax.Array,
  side: int,
  class_token: bool = False,
) -> jax.Array:
  """Means of the patches of each cell of a grid of `side` x `side`.

  uint8[b, size, size, 3] -> float32[b, side^2, emb_dim], in full precision; row
  by row. With the class token, that comes first.
  """
  with jax.default_matmul_precision('float32'):
    tower = ImageTower(config, of_patches=True)
    x = tower.apply({'params': params}, normalize(images))
    return patch_grid.of_tokens(x, side, class_token)
