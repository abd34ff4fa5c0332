"""Layers of a `transformer.Transformer`: norms before, sums after."""

from __future__ import annotations

import inspect
from typing import Any
from typing import TYPE_CHECKING

from flax import linen as nn
import jax

from v2meow_jax.models import fused_attention
from v2meow_jax.models import layers
from v2meow_jax.models import logical_axes as axes

if TYPE_CHECKING:
  from v2meow_jax.models import position_bias
  from v2meow_jax.models import transformer

# Keys and values of each layer of a decoder.
Caches = tuple[layers.KeyValue, ...]


class _Layer(nn.Module):
  """Parts that the layers of encoder and decoder share."""

  config: transformer.TransformerConfig

  def setup(self):
    """Makes the parameters and layers."""
    c = self.config
    self.attention_norm = layers.RMSNorm(c.dtype)
    self.attention = _attention(c)
    self.mlp_norm = layers.RMSNorm(c.dtype)
    self.mlp = layers.GatedMlp(c.mlp_dim, c.dropout_rate, c.dtype)
    self.dropout = layers.Dropout(c.dropout_rate)

  def scanned(self, x: jax.Array, *args) -> tuple[jax.Array, None]:
    """`__call__` as `flax.linen.scan` wants it."""
    return self(x, *args), None


class EncoderLayer(_Layer):
  """Self-attention, then a feed-forward block; norms before, sums after."""

  def __call__(
    self,
    x: jax.Array,
    bias: position_bias.Bias | jax.Array | None,
    deterministic: bool,
  ) -> jax.Array:
    """dtype[b, length, emb_dim] -> the same; bias as `Attention.attend`."""
    x = axes.split_rows(x)
    y = self.attention_norm(x)
    y = self.attention.attend(y, y, bias, deterministic)
    x = x + self.dropout(y, deterministic)
    y = self.mlp(self.mlp_norm(x), deterministic)
    return x + self.dropout(y, deterministic)


class DecoderLayer(_Layer):
  """Self-attention, cross-attention if there is an encoder, feed-forward."""

  def setup(self):
    """Makes the parameters and layers."""
    super().setup()
    if self.config.num_encoder_layers:
      self.cross_norm = layers.RMSNorm(self.config.dtype)
      self.cross_attention = _attention(self.config)

  def __call__(
    self,
    x: jax.Array,
    bias: position_bias.Bias | jax.Array,
    encoded: jax.Array | None,
    cross_bias: position_bias.Bias | jax.Array | None,
    deterministic: bool,
  ) -> jax.Array:
    """One layer on whole sequences.

    Args:
      x: dtype[b, length, emb_dim].
      bias: Bias of the decoder as `Attention.attend` takes it, the future masked.
      encoded: dtype[b, keys, emb_dim], the encoder's output, or None.
      cross_bias: Bias on it as `Attention.attend` takes it, or None.
      deterministic: No dropout.

    Returns:
      dtype[b, length, emb_dim].
    """
    x = axes.split_rows(x)
    y = self.attention_norm(x)
    y = self.attention.attend(y, y, bias, deterministic, causal=True)
    x = x + self.dropout(y, deterministic)
    if encoded is not None:
      y = self.cross_norm(x)
      y = self.cross_attention.attend(y, encoded, cross_bias, deterministic)
      x = x + self.dropout(y, deterministic)
    y = self.mlp(self.mlp_norm(x), deterministic)
    return x + self.dropout(y, deterministic)

  def cross_keys_values(self, encoded: jax.Array) -> layers.KeyValue:
    """Keys and values of the encoder's output, the same for every step."""
    return self.cross_attention.keys_values(encoded)

  def extend(
    self,
    x: jax.Array,
    cache: layers.KeyValue,
    first: jax.Array | int,
    bias: jax.Array,
    cross: layers.KeyValue | None,
    cross_bias: jax.Array | None,
  ) -> tuple[jax.Array, layers.KeyValue]:
    """One layer on some positions after others, without dropout.

    Args:
      x: dtype[b, queries, emb_dim].
      cache: Keys and values of self-attention, those before `x` written.
      first: Position of the first query.
      bias: float32[heads, queries, keys] on the cache.
      cross: Keys and values of the encoder's output; None without an encoder.
      cross_bias: float32[heads, queries, keys] on it, or None.

    Returns:
      dtype[b, queries, emb_dim], and the cache with these positions.
    """
    y = self.attention_norm(x)
    y, cache = self.attention.extend(y, cache, first, bias)
    x = x + y
    if cross is not None:
      y = self.cross_norm(x)
      x = x + self.cross_attention.read(y, cross, cross_bias)
    return x + self.mlp(self.mlp_norm(x), deterministic=True), cache


def _attention(c: transformer.TransformerConfig) -> layers.Attention:
  return layers.Attention(
    c.emb_dim,
    c.num_heads,
    c.head_dim,
    c.dropout_rate,
    c.dtype,
    fused_attention.attend if c.fused_attention else None,
  )


def stack(kind: type[nn.Module], config: Any, num_layers: int) -> Any:
  """Layers one after the other: a list, or one that stands for all.

  Args:
    kind: Class of a layer, whose one attribute is the config. The last argument
      of its `__call__` is `deterministic`, and `scanned` is `__call__` as
      `flax.linen.scan` wants it.
    config: Sizes with `remat` and `scan_layers`.
    num_layers: Number of layers.

  Returns:
    What `through` takes.
  """
  if config.remat:
    # `deterministic` decides what is traced.
    last = len(inspect.signature(kind.__call__).parameters) - 1
    kind = nn.remat(
      kind, prevent_cse=not config.scan_layers, static_argnums=last
    )
  if not config.scan_layers:
    return [kind(config) for _ in range(num_layers)]
  kind = nn.scan(
    kind,
    methods=['scanned'],
    variable_axes={'params': 0},
    split_rngs={'params': True, 'dropout': True},
    in_axes=nn.broadcast,
    length=num_layers,
    metadata_params={nn.PARTITION_NAME: axes.LAYERS},
  )
  return kind(config)


def through(stacked: Any, x: jax.Array, *args: Any) -> jax.Array:
  """Takes an array through a `stack`, with the same arguments for each."""
  if isinstance(stacked, nn.Module):
    return stacked.scanned(x, *args)[0]  # pyright: ignore
  for layer in stacked:
    x = layer(x, *args)
  return x
