"""Linear maps from continuous streams, whole or in patches, to a width."""

from flax import linen as nn
import jax
import jax.numpy as jnp

from v2meow_jax.models import layers
from v2meow_jax.models import logical_axes as axes


def unit_rms(x: jax.Array) -> jax.Array:
  """float[..., dim] with a root mean square of 1; zeros stay zeros.

  Embeddings of a whole clip tell by their direction and mostly have unit norm:
  as they are, their elements would drown in an adaptor's bias.
  """
  power = jnp.mean(jnp.square(x), -1, keepdims=True)
  return x * jax.lax.rsqrt(power + 1e-8)


class LinearAdaptor(nn.Module):
  """Projects one continuous stream to the Transformer's width.

  Patches of a frame become positions, each with a learnt embedding of its
  place.

  Attributes:
    emb_dim: Width of the Transformer.
    dtype: Type of the computation; parameters stay float32.
    num_positions: Patches of a frame.
  """

  emb_dim: int
  dtype: jnp.dtype
  num_positions: int = 1

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """float[b, frames, dim] -> dtype[b, frames, emb_dim].

    Or of patches, float[b, frames, positions, dim] -> dtype[b, frames *
    positions, emb_dim].
    """
    dim = x.shape[-1]
    kernel = self.param(
      'kernel',
      layers.normal(dim**-0.5, axes.INPUT_DIM, axes.EMBED),
      (dim, self.emb_dim),
    )
    # The bias also tells the stream from the others.
    bias = self.param('bias', layers.normal(1.0, axes.EMBED), (self.emb_dim,))
    x = x.astype(self.dtype) @ kernel.astype(self.dtype)
    x = x + bias.astype(self.dtype)
    if self.num_positions == 1:
      return x
    places = self.param(
      'places',
      layers.normal(1.0, axes.LENGTH, axes.EMBED),
      (self.num_positions, self.emb_dim),
    )
    # [b, frames, positions, emb_dim] -> [b, frames * positions, emb_dim]
    x = x + places.astype(self.dtype)
    return x.reshape(x.shape[0], -1, self.emb_dim)
