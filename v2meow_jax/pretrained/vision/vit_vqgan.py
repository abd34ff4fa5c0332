"""ViT-VQGAN's encoder: turns a picture into tokens, one for each patch.

Yu et al. 2021 (https://arxiv.org/abs/2110.04627). Google published no weights;
the sizes and the layout of files are those of the public reimplementation,
https://github.com/thuanz123/enhancing-transformers.
"""

from collections.abc import Mapping
import dataclasses
from typing import Any

from flax import linen as nn
import jax
import jax.numpy as jnp

from v2meow_jax.pretrained import tensors
from v2meow_jax.pretrained.vision import attention

_WANTED = 'a ViT-VQGAN of enhancing-transformers (vitvqgan-imagenet-base)'
_EPSILON = 1e-5  # PyTorch's default in layer normalisation.


@dataclasses.dataclass(frozen=True, kw_only=True)
class VitVqganConfig:
  """Sizes; the defaults are those of the published base model.

  Attributes:
    image_size: Side of a picture, in pixels.
    trained_size: Side of the pictures of its training, in pixels. A smaller
      picture is taken for the first corner of one; None: `image_size`.
    patch_size: Side of a patch, in pixels; a patch is one token.
    emb_dim: Width of the Transformer.
    num_layers: Number of layers of the Transformer.
    num_heads: Attention heads, of `head_dim` each.
    head_dim: Width of a head.
    mlp_dim: Width inside the feed-forward layers.
    code_dim: Width of a code.
    codebook_size: Number of codes.
  """

  image_size: int = 256
  trained_size: int | None = None
  patch_size: int = 8
  emb_dim: int = 768
  num_layers: int = 12
  num_heads: int = 12
  head_dim: int = 64
  mlp_dim: int = 3072
  code_dim: int = 32
  codebook_size: int = 8192

  def __post_init__(self):
    if self.trained_size is not None and self.trained_size < self.image_size:
      raise ValueError(
        f'image_size is {self.image_size} and trained_size'
        f' {self.trained_size}; a picture is no larger than those of the'
        ' training, so make image_size smaller.'
      )

  @property
  def side(self) -> int:
    """Patches in a row of a picture."""
    return self.image_size // self.patch_size

  @property
  def num_tokens(self) -> int:
    """Number of tokens of a picture, row by row."""
    return self.side**2


class _Layer(nn.Module):
  """Attention, then a tanh block, each normalised before and added."""

  config: VitVqganConfig

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    c = self.config
    width = c.num_heads * c.head_dim
    y = nn.LayerNorm(epsilon=_EPSILON, name='attention_norm')(x)
    y = nn.Dense(3 * width, use_bias=False, name='qkv')(y)
    heads = y.reshape(*y.shape[:2], 3, c.num_heads, c.head_dim)
    y = attention.full(*jnp.moveaxis(heads, 2, 0))
    x = x + nn.Dense(c.emb_dim, name='out')(y.reshape(*y.shape[:2], width))
    y = nn.LayerNorm(epsilon=_EPSILON, name='mlp_norm')(x)
    y = jnp.tanh(nn.Dense(c.mlp_dim, name='wi')(y))
    return x + nn.Dense(c.emb_dim, name='wo')(y)


class VitVqgan(nn.Module):
  """Turns pixels into codes.

  Attributes:
    config: Sizes.
  """

  config: VitVqganConfig

  @nn.compact
  def __call__(self, images: jax.Array) -> jax.Array:
    """float32[b, size, size, 3] in [0, 1] -> int32[b, num_tokens]."""
    c = self.config
    size = (c.patch_size, c.patch_size)
    x = nn.Conv(c.emb_dim, size, size, padding='VALID', name='patch')(images)
    x = x.reshape(len(x), c.num_tokens, c.emb_dim)
    shape = (c.num_tokens, c.emb_dim)
    x = x + self.param('positions', nn.initializers.normal(0.02), shape)
    for i in range(c.num_layers):
      x = _Layer(c, name=f'layers_{i}')(x)
    x = nn.LayerNorm(epsilon=_EPSILON, name='norm')(x)
    x = nn.Dense(c.code_dim, name='pre_quant')(x)
    codebook = self.param(
      'codebook',
      nn.initializers.normal(1.0),
      (c.codebook_size, c.code_dim),
    )
    # The nearest unit vector has the largest product.
    return jnp.argmax(_unit(x) @ _unit(codebook).T, -1).astype(jnp.int32)


def _unit(x: jax.Array) -> jax.Array:
  return x / jnp.maximum(jnp.linalg.norm(x, axis=-1, keepdims=True), 1e-12)


def read(state: Mapping[str, Any], config: VitVqganConfig) -> dict[str, Any]:
  """Parameters of `VitVqgan` from the state of the published model.

  Args:
    state: Tensors of `tensors.load`, such as
      `encoder.transformer.layers.0.0.fn.to_qkv.weight`; those of the decoder
      are ignored.
    config: Sizes of the network.

  Returns:
    The parameters, nested.

  Raises:
    ValueError: A tensor is missing, of another shape, or not finite.
  """
  held = tensors.Tensors(state, _WANTED, 'vit-vqgan-base')
  take, dense, norm = held.take, held.dense, held.norm
  c = config
  width = c.num_heads * c.head_dim

  patch = 'encoder.to_patch_embedding.0'
  size = c.patch_size
  kernel = take(f'{patch}.weight', c.emb_dim, 3, size, size)
  trained = (c.trained_size or c.image_size) // c.patch_size
  places = take('encoder.en_pos_embedding', 1, trained**2, c.emb_dim)
  corner = places.reshape(trained, trained, -1)[: c.side, : c.side]
  params: dict[str, Any] = {
    'patch': {
      'kernel': kernel.transpose(2, 3, 1, 0),
      'bias': take(f'{patch}.bias', c.emb_dim),
    },
    'positions': corner.reshape(c.num_tokens, c.emb_dim),
    'norm': norm('encoder.transformer.norm', c.emb_dim),
    'pre_quant': dense('pre_quant', c.emb_dim, c.code_dim),
    'codebook': take('quantizer.embedding.weight', c.codebook_size, c.code_dim),
  }
  for i in range(c.num_layers):
    layer = f'encoder.transformer.layers.{i}'
    qkv = take(f'{layer}.0.fn.to_qkv.weight', 3 * width, c.emb_dim)
    params[f'layers_{i}'] = {
      'attention_norm': norm(f'{layer}.0.norm', c.emb_dim),
      'qkv': {'kernel': qkv.T},
      'out': dense(f'{layer}.0.fn.to_out', width, c.emb_dim),
      'mlp_norm': norm(f'{layer}.1.norm', c.emb_dim),
      'wi': dense(f'{layer}.1.fn.net.0', c.emb_dim, c.mlp_dim),
      'wo': dense(f'{layer}.1.fn.net.2', c.mlp_dim, c.emb_dim),
    }
  return params
