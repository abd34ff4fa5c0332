"""Hiera (Ryali et al. 2023, https://arxiv.org/abs/2306.00989), of pictures.

The published layout is that of Hugging Face's `HieraForImageClassification`, of
networks that were trained as masked autoencoders and then on ImageNet.
"""

from collections.abc import Mapping
import dataclasses
import functools
from typing import Any

from flax import linen as nn
import jax
import jax.numpy as jnp

from v2meow_jax.pretrained import tensors
from v2meow_jax.pretrained.vision import patch_grid
from v2meow_jax.pretrained.vision import vit

# paper: section 3 and table 1; of all sizes.
_KERNEL, _STRIDE = 7, 4  # Pixels of the first layer.
_UNIT = 8  # Tokens along a side of what the first two stages attend within.
_NUM_LOCAL_STAGES = 2
_MLP_RATIO = 4


@dataclasses.dataclass(frozen=True, kw_only=True)
class HieraConfig:
  """Sizes of a `Hiera`.

  Each stage after the first has half as many tokens along a side, twice the
  width and twice the heads.

  Attributes:
    image_size: Side of the square images, in pixels; `patch_size` divides it.
    first_dim: Width of the first stage.
    first_heads: Attention heads of the first stage; divides `first_dim`.
    layers: Number of layers of each of the four stages.
    artefact: Name in `v2meow weights list`, for errors.
  """

  image_size: int = 224
  first_dim: int
  first_heads: int
  layers: tuple[int, ...]
  artefact: str

  def __post_init__(self):
    object.__setattr__(self, 'layers', tuple(self.layers))  # JSON has lists.
    if self.image_size % self.patch_size or self.first_dim % self.first_heads:
      raise ValueError(
        f'{self}: {self.patch_size} must divide image_size, and first_heads'
        ' first_dim.'
      )
    if len(self.layers) != 4 or min(self.layers) < 1:
      raise ValueError(f'{self}: layers must be of four stages, none empty.')

  @property
  def emb_dim(self) -> int:
    """Width of the last stage."""
    return self.first_dim << 3

  @property
  def patch_size(self) -> int:
    """Pixels along a side of what one token of the last stage stands for."""
    return _STRIDE << 3


# paper: table 1; the sizes of facebook/hiera-base-224-in1k-hf and -large-.
BASE = HieraConfig(
  first_dim=96, first_heads=1, layers=(2, 3, 16, 3), artefact='hiera-base'
)
LARGE = HieraConfig(
  first_dim=144, first_heads=2, layers=(2, 6, 36, 4), artefact='hiera-large'
)


def _halved(x: jax.Array) -> jax.Array:
  """Maxima of each 2 x 2 of float[..., h, w, dim]."""
  *lead, h, w, dim = x.shape
  return x.reshape(*lead, h // 2, 2, w // 2, 2, dim).max((-4, -2))


def _units(x: jax.Array, side: int) -> jax.Array:
  """Squares of `side`: [b, h, w, dim] -> [b, h/side, w/side, side, side, dim]."""
  b, h, w, dim = x.shape
  x = x.reshape(b, h // side, side, w // side, side, dim)
  return x.swapaxes(2, 3)


class Layer(nn.Module):
  """Self-attention, in squares or over all, and a feed-forward layer.

  Attributes:
    dim: Width of what comes out.
    num_heads: Attention heads; divides `dim`.
    unit: Tokens along a side of a square that attends to itself.
  """

  dim: int
  num_heads: int
  unit: int

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """float32[b, h, w, dim_in] -> [b, h, w, dim], or halves where wider."""
    y = vit.norm('attention_norm')(x)
    if x.shape[-1] != self.dim:
      x = _halved(nn.Dense(self.dim, name='widen')(y))
    x += self._attend(y)
    return x + vit.feed_forward(vit.norm('mlp_norm')(x), _MLP_RATIO)

  def _attend(self, x: jax.Array) -> jax.Array:
    """Where the layer widens, 2 x 2 queries are one, their maximum."""
    is_wider = x.shape[-1] != self.dim
    x = nn.Dense(3 * self.dim, name='query_key_value')(_units(x, self.unit))
    query, key, value = jnp.split(x, 3, -1)
    query = _halved(query) if is_wider else query
    b, rows, columns, side, _, dim = query.shape
    flat = (
      y.reshape(b * rows * columns, -1, self.num_heads, dim // self.num_heads)
      for y in (query, key, value)
    )
    y = jax.nn.dot_product_attention(*flat).reshape(query.shape).swapaxes(2, 3)
    y = y.reshape(b, rows * side, columns * side, dim)
    return nn.Dense(self.dim, name='out')(y)


class Hiera(nn.Module):
  """A vision Transformer of four stages, whose last one's tokens are features.

  Attributes:
    config: Sizes.
  """

  config: HieraConfig

  @nn.compact
  def __call__(self, pixels: jax.Array) -> jax.Array:
    """float32[b, size, size, 3] -> float32[b, tokens, emb_dim], row by row.

    As the last layer leaves them, before any norm.
    """
    config = self.config
    x = nn.Conv(
      config.first_dim, (_KERNEL,) * 2, _STRIDE, _KERNEL // 2, name='patches'
    )(pixels)
    shape = (x.shape[1] * x.shape[2], config.first_dim)
    places = self.param('positions', nn.initializers.normal(0.02), shape)
    x += places.reshape(x.shape[1:])
    for stage, layer, dim, heads in _layers(config):
      # The first layer of a stage still attends as the stage before it did.
      before = max(stage - (layer == 0), 0)
      is_local = before < _NUM_LOCAL_STAGES
      unit = _UNIT >> before if is_local else x.shape[1]
      x = Layer(dim, heads, unit, name=f'stage_{stage}_layer_{layer}')(x)
    return x.reshape(len(x), -1, config.emb_dim)


def _layers(config: HieraConfig) -> list[tuple[int, int, int, int]]:
  """(stage, layer, width, heads) of each layer."""
  return [
    (stage, layer, config.first_dim << stage, config.first_heads << stage)
    for stage, num_layers in enumerate(config.layers)
    for layer in range(num_layers)
  ]


@functools.partial(jax.jit, static_argnums=(0, 3))
def patch_features(
  config: HieraConfig, params: Any, images: jax.Array, side: int
) -> jax.Array:
  """Means of the tokens of each cell of a grid of `side` x `side`, normalised.

  The norm is that of the published network, which takes it of the mean of all
  tokens: with a side of 1 this is what its classifier reads.

  uint8[b, size, size, 3] -> float32[b, side^2, emb_dim], in full precision; row
  by row.
  """
  with jax.default_matmul_precision('float32'):
    network = {'params': params['network']}
    x = Hiera(config).apply(network, vit.normalize(images))
    cells = patch_grid.cell_means(x, side)
    return vit.norm('norm').apply({'params': params['norm']}, cells)


def read(state: Mapping[str, Any], config: HieraConfig) -> dict[str, Any]:
  """Parameters for `patch_features` from the state of the published model.

  Args:
    state: Tensors of `tensors.load`, such as
      `hiera.encoder.stages.0.layers.0.attn.qkv.weight`; the classifier is
      ignored.
    config: Sizes of the network.

  Returns:
    The parameters, nested: those of `Hiera`, and of the norm.

  Raises:
    ValueError: A tensor is missing, of another shape, or not finite.
  """
  held = tensors.Tensors(state, f'weights of {config}', config.artefact)
  take, dense, norm = held.take, held.dense, held.norm

  before = config.first_dim
  patch = 'hiera.embeddings.patch_embeddings.projection'
  kernel = take(f'{patch}.weight', before, 3, _KERNEL, _KERNEL)
  num_places = (config.image_size // _STRIDE) ** 2
  places = take('hiera.embeddings.position_embeddings', 1, num_places, before)
  network: dict[str, Any] = {
    'patches': {
      'kernel': kernel.transpose(2, 3, 1, 0),
      'bias': take(f'{patch}.bias', before),
    },
    'positions': places[0],
  }
  for stage, i, dim, _ in _layers(config):
    layer = f'hiera.encoder.stages.{stage}.layers.{i}'
    params: dict[str, Any] = {
      'attention_norm': norm(f'{layer}.layernorm_before', before),
      'query_key_value': dense(f'{layer}.attn.qkv', before, 3 * dim),
      'out': dense(f'{layer}.attn.proj', dim, dim),
      'mlp_norm': norm(f'{layer}.layernorm_after', dim),
      'wide': dense(f'{layer}.mlp.fc1', dim, _MLP_RATIO * dim),
      'narrow': dense(f'{layer}.mlp.fc2', _MLP_RATIO * dim, dim),
    }
    if dim != before:
      params['widen'] = dense(f'{layer}.proj', before, dim)
    network[f'stage_{stage}_layer_{i}'] = params
    before = dim
  last = norm('hiera.pooler.layernorm', config.emb_dim)
  return {'network': network, 'norm': last}
