"""VideoMAE V2 (Wang et al. 2023, https://arxiv.org/abs/2303.16727).

The published layout is that of `modeling_videomaev2.py` beside the weights of
OpenGVLab/VideoMAEv2-Base and -Large: a vision Transformer over 16 frames.
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

TUBELET = 2  # paper: frames of a token
_MLP_RATIO = 4
_PERIOD = 10_000  # Of the slowest of the sines that tell places.


@dataclasses.dataclass(frozen=True, kw_only=True)
class VideoMaeConfig:
  """Sizes of a `VideoMae`.

  Attributes:
    num_frames: Frames of a clip; even.
    image_size: Side of the square frames, in pixels.
    patch_size: Side of a patch; divides `image_size`.
    emb_dim: Width of the Transformer.
    num_layers: Number of layers.
    num_heads: Attention heads of each layer; divides `emb_dim`.
    artefact: Name in `v2meow weights list`, for errors.
  """

  num_frames: int = 16
  image_size: int = 224
  patch_size: int = 16
  emb_dim: int
  num_layers: int
  num_heads: int
  artefact: str

  def __post_init__(self):
    pairs = (
      (self.num_frames, TUBELET),
      (self.image_size, self.patch_size),
      (self.emb_dim, self.num_heads),
    )
    if any(whole % part for whole, part in pairs):
      raise ValueError(
        f'{self}: num_frames must be even, patch_size divide image_size, and'
        ' num_heads emb_dim.'
      )

  @property
  def num_steps(self) -> int:
    """Tokens of a clip in time, of two frames each."""
    return self.num_frames // TUBELET


# paper: table 9; the sizes of OpenGVLab/VideoMAEv2-Base and -Large.
BASE = VideoMaeConfig(
  emb_dim=768, num_layers=12, num_heads=12, artefact='videomae2-base'
)
LARGE = VideoMaeConfig(
  emb_dim=1024, num_layers=24, num_heads=16, artefact='videomae2-large'
)


class Layer(nn.Module):
  """Self-attention and a feed-forward layer, each normalised before.

  Attributes:
    config: Sizes.
  """

  config: VideoMaeConfig

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """float32[b, length, emb_dim], the same."""
    y = vit.norm('attention_norm')(x)
    x += vit.self_attention(y, self.config.num_heads)
    return x + vit.feed_forward(vit.norm('mlp_norm')(x), _MLP_RATIO)


class VideoMae(nn.Module):
  """A vision Transformer over the patches of two frames each.

  Attributes:
    config: Sizes.
  """

  config: VideoMaeConfig

  @nn.compact
  def __call__(self, pixels: jax.Array) -> jax.Array:
    """float32[b, frames, size, size, 3] -> float32[b, steps * patches, emb_dim].

    Frames by frames, each row by row; as the last layer leaves them.
    """
    config = self.config
    patch = (TUBELET, config.patch_size, config.patch_size)
    x = nn.Conv(config.emb_dim, patch, patch, 'VALID', name='patches')(pixels)
    x = x.reshape(len(x), -1, config.emb_dim)
    x += _places(x.shape[1], config.emb_dim)
    for i in range(config.num_layers):
      x = Layer(config, name=f'layer_{i}')(x)
    return x


def _places(length: int, dim: int) -> np.ndarray:
  """float32[length, dim]: sine and cosine in turn, as the first Transformer."""
  rates = _PERIOD ** (-2 * (np.arange(dim) // 2) / dim)
  angles = np.arange(length)[:, None] * rates
  places = np.where(np.arange(dim) % 2, np.cos(angles), np.sin(angles))
  return places.astype(np.float32)


@functools.partial(jax.jit, static_argnums=(0, 3))
def patch_features(
  config: VideoMaeConfig, params: Any, frames: jax.Array, side: int
) -> jax.Array:
  """Means of the patches of each cell of a grid of `side` x `side`, normalised.

  The norm is that of the published network, which takes it of the mean of a
  whole clip.

  uint8[b, frames, size, size, 3] -> float32[b, frames / 2, side^2, emb_dim], in
  full precision; row by row.
  """
  with jax.default_matmul_precision('float32'):
    network = {'params': params['network']}
    x = VideoMae(config).apply(network, vit.normalize(frames))
    steps = x.reshape(len(x) * config.num_steps, -1, config.emb_dim)
    cells = patch_grid.cell_means(steps, side)
    cells = vit.norm('norm').apply({'params': params['norm']}, cells)
    return cells.reshape(len(x), config.num_steps, *cells.shape[1:])


def read(state: Mapping[str, Any], config: VideoMaeConfig) -> dict[str, Any]:
  """Parameters for `patch_features` from the state of the published model.

  Args:
    state: Tensors of `tensors.load`, such as `model.blocks.0.attn.qkv.weight`.
    config: Sizes of the network.

  Returns:
    The parameters, nested: those of `VideoMae`, and of the norm.

  Raises:
    ValueError: A tensor is missing, of another shape, or not finite.
  """
  held = tensors.Tensors(state, f'weights of {config}', config.artefact)
  take, dense, norm = held.take, held.dense, held.norm
  dim, size = config.emb_dim, config.patch_size

  def attention(name):
    # One matrix of all three; keys have no bias.
    kernels = np.split(take(f'{name}.qkv.weight', 3 * dim, dim).T, 3, axis=1)
    biases = (
      take(f'{name}.q_bias', dim),
      np.zeros(dim, np.float32),
      take(f'{name}.v_bias', dim),
    )
    layers = zip(('query', 'key', 'value'), kernels, biases, strict=True)
    return {
      **{n: {'kernel': kernel, 'bias': bias} for n, kernel, bias in layers},
      'out': dense(f'{name}.proj', dim, dim),
    }

  patch = 'model.patch_embed.proj'
  kernel = take(f'{patch}.weight', dim, 3, TUBELET, size, size)
  network: dict[str, Any] = {
    'patches': {
      'kernel': kernel.transpose(2, 3, 4, 1, 0),
      'bias': take(f'{patch}.bias', dim),
    }
  }
  for i in range(config.num_layers):
    layer = f'model.blocks.{i}'
    network[f'layer_{i}'] = {
      'attention_norm': norm(f'{layer}.norm1', dim),
      **attention(f'{layer}.attn'),
      'mlp_norm': norm(f'{layer}.norm2', dim),
      'wide': dense(f'{layer}.mlp.fc1', dim, _MLP_RATIO * dim),
      'narrow': dense(f'{layer}.mlp.fc2', _MLP_RATIO * dim, dim),
    }
  return {'network': network, 'norm': norm('model.fc_norm', dim)}
