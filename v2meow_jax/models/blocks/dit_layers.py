"""Layers of a Diffusion Transformer: scaled, shifted and gated by the time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from v2meow_jax.models import layers
from v2meow_jax.models import logical_axes as axes

if TYPE_CHECKING:
  from v2meow_jax.models import dit

# Shift, scale and gate of attention, and of the feed-forward block.
NUM_MODULATIONS = 6
_ROTARY_BASE = 10_000.0  # ours: RoFormer's
_TIME_DIM = 256  # ours: DiT's


def layer_norm(x: jax.Array) -> jax.Array:
  """float[..., dim] -> float32 of mean 0 and variance 1, without parameters."""
  x = x.astype(jnp.float32)
  centred = x - x.mean(-1, keepdims=True)
  variance = jnp.mean(centred**2, -1, keepdims=True)
  return centred * jax.lax.rsqrt(variance + 1e-6)


def time_features(times: jax.Array) -> jax.Array:
  """float[b] in [0, 1] -> float32[b, 256], sines and cosines of many periods."""
  half = _TIME_DIM // 2
  rates = np.exp(-np.log(1e4) * np.arange(half) / half).astype(np.float32)
  angles = 1000.0 * times.astype(jnp.float32)[:, None] * rates
  return jnp.concatenate([jnp.cos(angles), jnp.sin(angles)], -1)


def rotation(num_frames: int, head_dim: int) -> tuple[np.ndarray, np.ndarray]:
  """Cosines and sines, float32[frames, head_dim / 2], of rotary positions.

  As in Su et al. 2021 (https://arxiv.org/abs/2104.09864): scores depend on the
  distance of two frames alone, so that a network reads any number of frames.
  """
  half = head_dim // 2
  rates = _ROTARY_BASE ** (-np.arange(half) / half)
  angles = np.arange(num_frames)[:, None] * rates
  return np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)


def rotated(x: jax.Array, rotation: tuple[np.ndarray, np.ndarray]) -> jax.Array:
  """Turns pairs of dtype[b, frames, heads, head_dim] by their positions."""
  cos, sin = (jnp.asarray(part)[:, None] for part in rotation)
  first, second = jnp.split(x.astype(jnp.float32), 2, -1)
  turned = [first * cos - second * sin, second * cos + first * sin]
  return jnp.concatenate(turned, -1).astype(x.dtype)


class RotaryAttention(layers.Attention):
  """Attention among the frames of a target, whose positions turn its vectors."""

  def among(
    self,
    x: jax.Array,
    rotation: tuple[np.ndarray, np.ndarray],
    lengths: jax.Array,
    fused: bool,
  ) -> jax.Array:
    """Attends from every frame to the first `lengths` frames of its row.

    Args:
      x: dtype[b, frames, emb_dim].
      rotation: Result of `rotation`.
      lengths: int32[b], at least 1.
      fused: Whether a GPU runs cuDNN's kernel, which keeps no matrix of
        weights and wants bfloat16.

    Returns:
      dtype[b, frames, emb_dim].
    """
    query, key, value = (
      self._heads(x, kernel) for kernel in (self.query, self.key, self.value)
    )
    on_gpu = fused and jax.default_backend() == 'gpu'
    y = jax.nn.dot_product_attention(
      rotated(query, rotation),
      rotated(key, rotation),
      value,
      scale=1.0,  # It is in the scale of the query.
      key_value_seq_lengths=lengths,
      implementation='cudnn' if on_gpu else 'xla',
    )
    return self._merge(y)


class DitLayer(nn.Module):
  """Attention, then a feed-forward block, each gated by the time.

  adaLN of DiT (Peebles and Xie 2022, https://arxiv.org/abs/2212.09748), whose
  map of the time is shared by all layers and moved by a table of each, as in
  PixArt (Chen et al. 2023, https://arxiv.org/abs/2310.00426). Gates begin at 0.
  """

  config: dit.DitConfig

  @nn.compact
  def __call__(
    self,
    x: jax.Array,
    modulation: jax.Array,
    rotation: tuple[np.ndarray, np.ndarray],
    lengths: jax.Array,
    deterministic: bool,
  ) -> jax.Array:
    """One layer.

    Args:
      x: dtype[b, frames, emb_dim].
      modulation: float32[b, 6, emb_dim], what the time says.
      rotation: Rotary positions of the frames.
      lengths: int32[b], frames of each row.
      deterministic: Whether to leave dropout out.

    Returns:
      dtype[b, frames, emb_dim].
    """
    c = self.config
    x = axes.split_rows(x)
    table = self.param(
      'modulation', layers.zeros(axes.LEVELS, axes.EMBED), modulation.shape[1:]
    )
    parts = jnp.split((modulation + table)[:, :, None], NUM_MODULATIONS, 1)
    shift, scale, gate, mlp_shift, mlp_scale, mlp_gate = (
      p[:, 0] for p in parts
    )
    attention = RotaryAttention(
      emb_dim=c.emb_dim,
      num_heads=c.num_heads,
      head_dim=c.head_dim,
      dropout_rate=0.0,
      dtype=c.dtype,
      name='attention',
    )
    dropout = layers.Dropout(c.dropout_rate)
    y = modulated(x, shift, scale, c.dtype)
    y = attention.among(y, rotation, lengths, c.fused_attention)
    x = x + gate.astype(c.dtype) * dropout(y, deterministic)
    y = modulated(x, mlp_shift, mlp_scale, c.dtype)
    mlp = layers.GatedMlp(c.mlp_dim, c.dropout_rate, c.dtype, name='mlp')
    y = mlp(y, deterministic)
    return x + mlp_gate.astype(c.dtype) * dropout(y, deterministic)

  def scanned(self, x: jax.Array, *args) -> tuple[jax.Array, None]:
    """`__call__` as `flax.linen.scan` wants it."""
    return self(x, *args), None


def modulated(
  x: jax.Array, shift: jax.Array, scale: jax.Array, dtype: str
) -> jax.Array:
  """A normalised x, scaled and shifted: float[b, 1, emb_dim] each."""
  return (layer_norm(x) * (1 + scale) + shift).astype(dtype)
