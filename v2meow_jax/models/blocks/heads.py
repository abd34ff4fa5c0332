"""Small networks that end a decoder beside its logits, or act on what it reads."""

import math

from flax import linen as nn
import jax
import jax.numpy as jnp

from v2meow_jax.models import layers
from v2meow_jax.models import logical_axes as axes

# Logarithms of the scale of cosines, as CLIP's: at first, and at most.
_FIRST_LOG_SCALE, _LARGEST_LOG_SCALE = math.log(1 / 0.07), math.log(100.0)

first_log_scale = nn.initializers.constant(_FIRST_LOG_SCALE)


def cosine_scale(log_scale: jax.Array) -> jax.Array:
  """float32[], the scale of cosines, at most 100."""
  return jnp.exp(jnp.minimum(log_scale, _LARGEST_LOG_SCALE))


class OnsetHead(nn.Module):
  """Predicts the onsets of the music from what is seen in each frame.

  Attributes:
    emb_dim: Width of the features.
    dtype: Type of the computation.
  """

  emb_dim: int
  dtype: jnp.dtype

  def setup(self):
    """Makes the parameters and layers."""
    self.norm = layers.RMSNorm(self.dtype)
    width = self.emb_dim
    self.kernel = self.param(
      'kernel',
      layers.normal(width**-0.5, axes.INPUT_DIM, axes.EMBED),
      (width, width),
    )
    self.out = self.param(
      'weights', layers.normal(width**-0.5, axes.EMBED), (width,)
    )
    self.bias = self.param('bias', nn.initializers.zeros, ())

  def features(self, x: jax.Array) -> jax.Array:
    """dtype[b, frames, emb_dim], the same."""
    return nn.gelu(self.norm(x) @ self.kernel.astype(self.dtype))

  def logits(self, features: jax.Array) -> jax.Array:
    """float32[b, frames] of `features`."""
    return features.astype(jnp.float32) @ self.out + self.bias


class Modulation(nn.Module):
  """Scale and shift of what the decoder reads; both begin as zeros.

  Attributes:
    emb_dim: Width of the residual stream.
    dtype: Type of the computation.
  """

  emb_dim: int
  dtype: jnp.dtype

  @nn.compact
  def __call__(self, features: jax.Array) -> jax.Array:
    """dtype[b, frames, emb_dim] -> dtype[b, frames, 2, emb_dim]."""
    parts = []
    for name in ('scale', 'shift'):
      init = layers.zeros(axes.INPUT_DIM, axes.EMBED)
      kernel = self.param(name, init, (features.shape[-1], self.emb_dim))
      parts.append(features @ kernel.astype(self.dtype))
    return jnp.stack(parts, 2)


class PairHead(nn.Module):
  """The mean of some vectors, projected to the sphere of the other kind.

  Attributes:
    joint_dim: Width of the sphere's space.
  """

  joint_dim: int

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """dtype[b, length, emb_dim] -> float32[b, joint_dim], unit rows."""
    x = layers.RMSNorm(jnp.float32, name='norm')(x).mean(1)
    kernel = self.param(
      'projection',
      layers.normal(x.shape[-1] ** -0.5, axes.EMBED, axes.JOINT_DIM),
      (x.shape[-1], self.joint_dim),
    )
    return layers.unit(x @ kernel)
