"""Residual quantiser of DAC, which searches by cosine in few dimensions.

Kumar et al. 2023 (https://arxiv.org/abs/2306.06546), section 3.2: factorised
and L2-normalised codes, so that training uses all of a codebook.
"""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array
from jaxtyping import Float
from jaxtyping import Int

from v2meow_jax.codecs import arrays
from v2meow_jax.codecs import rvq
from v2meow_jax.codecs.dac import dac_network


class Level(nn.Module):
  """A codebook, searched by cosine after a projection to few dimensions."""

  config: dac_network.DacConfig

  def setup(self):
    """Builds projections and vectors."""
    c = self.config
    self.in_proj = nn.Conv(c.code_dim, (1,))
    self.out_proj = nn.Conv(c.latent_dim, (1,))
    self.codebook = nn.Embed(c.codebook_size, c.code_dim)

  def encode(self, residual: arrays.Latents) -> Int[Array, 'b frames']:
    """Encodes the residual of the levels before."""
    x = self.in_proj(residual)
    codes = rvq.nearest(
      _unit(x.reshape(-1, x.shape[-1])), _unit(self.codebook.embedding)
    )
    return codes.reshape(x.shape[:-1]).astype(jnp.int32)

  def decode(self, codes: Int[Array, 'b frames']) -> arrays.Latents:
    """Returns the latents of codes."""
    return self.out_proj(self.codebook(codes))


def _unit(x: Float[Array, 'n dim']) -> Float[Array, 'n dim']:
  norm = jnp.linalg.norm(x, axis=-1, keepdims=True)
  return x / jnp.maximum(norm, 1e-12)


class Quantizer(nn.Module):
  """Levels that each quantise the residual of those before."""

  config: dac_network.DacConfig

  def setup(self):
    """Builds the levels."""
    self.quantizers = [
      Level(self.config) for _ in range(self.config.num_levels)
    ]

  def encode(self, latents: arrays.Latents) -> arrays.Codes:
    """Returns codes of all levels."""
    codes = []
    for level in self.quantizers:
      codes.append(level.encode(latents))
      latents -= level.decode(codes[-1])
    return jnp.stack(codes, axis=-1)

  def decode(self, codes: arrays.Codes) -> arrays.Latents:
    """Returns latents of the first `levels` levels."""
    levels = self.quantizers[: codes.shape[-1]]
    return sum(level.decode(codes[..., k]) for k, level in enumerate(levels))
