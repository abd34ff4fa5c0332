"""DINOv2 (Oquab et al. 2023, https://arxiv.org/abs/2304.07193), for its patches.

The published layout is that of Hugging Face's `Dinov2Model`, whose sizes base
and large are read; that of giant has another feed-forward layer.
"""

from collections.abc import Mapping
import dataclasses
import functools
from typing import Any

from flax import linen as nn
import jax
import numpy as np

from v2meow_jax.pretrained import tensors
from v2meow_jax.pretrained.vision import patch_grid
from v2meow_jax.pretrained.vision import vit

_MLP_RATIO = 4


@dataclasses.dataclass(frozen=True, kw_only=True)
class Dinov2Config:
  """Sizes of a `Dinov2`.

  Attributes:
    image_size: Side of the square images, in pixels.
    trained_size: Side of the images of the last training, whose places are read
      between those of `image_size`.
    patch_size: Side of a patch; divides both sizes.
    emb_dim: Width of the Transformer.
    num_layers: Number of layers.
    num_heads: Attention heads of each layer; divides `emb_dim`.
    artefact: Name in `v2meow weights list`, for errors.
  """

  image_size: int = 224
  trained_size: int = 518
  patch_size: int = 14
  emb_dim: int
  num_layers: int
  num_heads: int
  artefact: str

  def __post_init__(self):
    sizes = (self.image_size, self.trained_size)
    if any(s % self.patch_size for s in sizes) or self.emb_dim % self.num_heads:
      raise ValueError(
        f'{self}: patch_size must divide image_size and trained_size, and'
        ' num_heads emb_dim.'
      )

  @property
  def side(self) -> int:
    """Patches along a side of an image."""
    return self.image_size // self.patch_size


# paper: table 17; the sizes of facebook/dinov2-base and dinov2-large.
BASE = Dinov2Config(
  emb_dim=768, num_layers=12, num_heads=12, artefact='dinov2-base'
)
LARGE = Dinov2Config(
  emb_dim=1024, num_layers=24, num_heads=16, artefact='dinov2-large'
)


class ScaledLayer(nn.Module):
  """Self-attention and a feed-forward layer, each with a scale per channel.

  Attributes:
    config: Sizes.
  """

  config: Dinov2Config

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """float32[b, length, emb_dim], the same."""
    dim = self.config.emb_dim
    y = vit.self_attention(vit.norm('attention_norm')(x), self.config.num_heads)
    x += self.param('attention_scale', nn.initializers.ones, (dim,)) * y
    y = vit.feed_forward(vit.norm('mlp_norm')(x), _MLP_RATIO)
    return x + self.param('mlp_scale', nn.initializers.ones, (dim,)) * y


class Dinov2(nn.Module):
  """A vision Transformer whose class token and patches are its features.

  Attributes:
    config: Sizes.
  """

  config: Dinov2Config

  @nn.compact
  def __call__(self, pixels: jax.Array) -> jax.Array:
    """float32[b, size, size, 3] -> float32[b, 1 + side^2, emb_dim], normalised."""
    config = self.config
    x = vit.tokens(
      self, pixels, config.patch_size, config.emb_dim, use_bias=True
    )
    for i in range(config.num_layers):
      x = ScaledLayer(config, name=f'layer_{i}')(x)
    return vit.norm('norm')(x)


@functools.partial(jax.jit, static_argnums=(0, 3, 4))
def patch_features(
  config: Dinov2Config,
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
    x = Dinov2(config).apply({'params': params}, vit.normalize(images))
    return patch_grid.of_tokens(x, side, class_token)


def read(state: Mapping[str, Any], config: Dinov2Config) -> dict[str, Any]:
  """Parameters of `Dinov2` from the state of the published model.

  Args:
    state: Tensors of `tensors.load`, such as
      `encoder.layer.0.attention.attention.query.weight`; the token of masked
      patches is ignored.
    config: Sizes of the network.

  Returns:
    The parameters, nested.

  Raises:
    ValueError: A tensor is missing, of another shape, or not finite.
  """
  what = f'weights of {config}'
  held = tensors.Tensors(state, what, config.artefact)
  take, dense, norm = held.take, held.dense, held.norm
  dim, size = config.emb_dim, config.patch_size

  patch = 'embeddings.patch_embeddings.projection'
  kernel = take(f'{patch}.weight', dim, 3, size, size)
  trained = config.trained_size // size
  places = take('embeddings.position_embeddings', 1, trained**2 + 1, dim)[0]
  grid = patch_grid.resized(places[1:], config.side)
  params: dict[str, Any] = {
    'patches': {
      'kernel': kernel.transpose(2, 3, 1, 0),
      'bias': take(f'{patch}.bias', dim),
    },
    'class': take('embeddings.cls_token', 1, 1, dim)[0, 0],
    'positions': np.concatenate([places[:1], grid]),
    'norm': norm('layernorm', dim),
  }
  for i in range(config.num_layers):
    layer = f'encoder.layer.{i}'
    inner = f'{layer}.attention.attention'
    params[f'layer_{i}'] = {
      'attention_norm': norm(f'{layer}.norm1', dim),
      **{n: dense(f'{inner}.{n}', dim, dim) for n in ('query', 'key', 'value')},
      'out': dense(f'{layer}.attention.output.dense', dim, dim),
      'attention_scale': take(f'{layer}.layer_scale1.lambda1', dim),
      'mlp_norm': norm(f'{layer}.norm2', dim),
      'wide': dense(f'{layer}.mlp.fc1', dim, _MLP_RATIO * dim),
      'narrow': dense(f'{layer}.mlp.fc2', _MLP_RATIO * dim, dim),
      'mlp_scale': take(f'{layer}.layer_scale2.lambda1', dim),
    }
  return params
