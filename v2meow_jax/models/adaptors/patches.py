"""Turns the patches of a frame into one vector: MuVi's visual adaptor.

The five ways of its Table 1 (Li et al. 2024, https://arxiv.org/abs/2410.12957).
"""

from collections.abc import Iterable
import dataclasses
import math

from flax import linen as nn
import jax
import jax.numpy as jnp

from v2meow_jax import specs
from v2meow_jax.models import layers
from v2meow_jax.models import logical_axes as axes

# Only networks that cut square pictures have a class token.
_WITH_TOKEN = 'records made with --gin_file=networks/class_token.gin'
KINDS = ('softmax', 'sigmoid', 'attention', 'average', 'cls')


@dataclasses.dataclass(frozen=True, kw_only=True)
class PatchAdaptorConfig:
  """How the patches of a frame become one vector.

  Attributes:
    kind: 'softmax': a sum with gates that compete; 'sigmoid': a mean with gates
      that do not; 'attention': a learnt query attends to the patches;
      'average': their mean; 'cls': the class token of the encoder alone.
    num_heads: Number of heads of 'attention', a divisor of the width.
    class_token: Whether the first patch of a frame is the class token of the
      encoder, which 'cls' needs and the other kinds leave out.
  """

  kind: str = 'softmax'
  num_heads: int = 8
  class_token: bool = False

  def __post_init__(self):
    if self.kind not in KINDS:
      raise ValueError(f'kind is {self.kind!r}; wanted one of {KINDS}.')
    if self.kind == 'cls' and not self.class_token:
      raise ValueError(
        "kind is 'cls' and class_token is False: only a stream whose frames"
        ' begin with a class token has one. Choose another kind, or'
        f' class_token = True and {_WITH_TOKEN}.'
      )
    if self.num_heads < 1:
      raise ValueError(f'num_heads is {self.num_heads}; wanted 1 or more.')

  def check(self, streams: Iterable[specs.FeatureSpec]) -> None:
    """Raises ValueError where a class token is to be first, and none can be."""
    for s in streams if self.class_token else ():
      side = math.isqrt(s.num_positions - 1)
      if s.num_positions > 1 and side**2 != s.num_positions - 1:
        raise ValueError(
          f'class_token is True, and stream {s.name!r} has {s.num_positions}'
          ' patches a frame: wanted a square number of cells and one more, the'
          f' token; give {_WITH_TOKEN}, or class_token = False.'
        )


class PatchAdaptor(nn.Module):
  """Projects a stream to a width, one vector a frame.

  Where the collection 'intermediates' is mutable, 'gates' are sown into it:
  float32[b, frames, patches], the weight of each patch in its frame; of
  'attention' it is the mean over the heads.

  Attributes:
    emb_dim: Width of the result.
    dtype: Type of the computation; parameters stay float32.
    config: Way to join patches.
    num_positions: Number of patches of a frame.
  """

  emb_dim: int
  dtype: jnp.dtype
  config: PatchAdaptorConfig
  num_positions: int = 1

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """float[b, frames, (patches,) dim] -> dtype[b, frames, emb_dim]."""
    dim = x.shape[-1]
    kernel = self.param(
      'kernel',
      layers.normal(dim**-0.5, axes.INPUT_DIM, axes.EMBED),
      (dim, self.emb_dim),
    )
    bias = self.param('bias', layers.zeros(axes.EMBED), (self.emb_dim,))
    x = x.astype(self.dtype) @ kernel.astype(self.dtype)
    x = x + bias.astype(self.dtype)
    if self.num_positions == 1:
      return x
    if self.config.kind == 'cls':
      return x[..., 0, :]
    if self.config.class_token:
      x = x[..., 1:, :]
    places = self.param(
      'places',
      layers.normal(0.5, axes.LENGTH, axes.EMBED),
      (x.shape[-2], self.emb_dim),
    )
    x = x + places.astype(self.dtype)
    weights = self._weights(x)
    if self.config.kind == 'attention':
      self.sow('intermediates', 'gates', weights.mean(-1))
      return self._attended(x, weights)
    self.sow('intermediates', 'gates', weights)
    return jnp.einsum('bfp,bfpm->bfm', weights.astype(self.dtype), x)

  def _weights(self, x: jax.Array) -> jax.Array:
    """float32[b, frames, patches], or with one more axis of heads."""
    if self.config.kind == 'average':
      return jnp.full(x.shape[:-1], 1 / x.shape[-2], jnp.float32)
    heads = self.config.num_heads if self.config.kind == 'attention' else 1
    # Of patches alone, so that a query is a gate for each head.
    gate = self.param(
      'gate',
      layers.normal(self.emb_dim**-0.5, axes.EMBED, axes.HEADS),
      (self.emb_dim, heads),
    )
    scores = layers.einsum32('bfpm,mh->bfph', x, gate.astype(self.dtype))
    if self.config.kind == 'attention':
      return jax.nn.softmax(scores, -2)
    if self.config.kind == 'softmax':
      return jax.nn.softmax(scores[..., 0], -1)
    return jax.nn.sigmoid(scores[..., 0]) / x.shape[-2]

  def _attended(self, x: jax.Array, weights: jax.Array) -> jax.Array:
    """Values of each head by its weights, and a map of them together."""
    heads = self.config.num_heads
    if self.emb_dim % heads:
      raise ValueError(
        f'num_heads of the adaptor is {heads}, and the width {self.emb_dim} is'
        ' no multiple of it; change one of the two.'
      )
    names = (axes.EMBED, axes.MLP)
    init = layers.normal(self.emb_dim**-0.5, *names)
    shape = (self.emb_dim, self.emb_dim)
    value = self.param('value', init, shape).astype(self.dtype)
    out = self.param('out', init, shape).astype(self.dtype)
    # Pooling before the map of the values: both are linear.
    pooled = jnp.einsum('bfph,bfpm->bfhm', weights.astype(self.dtype), x)
    by_head = value.reshape(self.emb_dim, heads, -1)
    y = jnp.einsum('bfhm,mhd->bfhd', pooled, by_head)
    return y.reshape(*x.shape[:2], self.emb_dim) @ out
