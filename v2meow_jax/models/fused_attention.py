"""Attention that keeps no matrix of weights or biases of a whole row."""

import jax
import jax.numpy as jnp

from v2meow_jax.models import layers
from v2meow_jax.models import position_bias

# Entries of a bias that cuDNN may be given: half a gigabyte, once and not for
# every row.
_MOST_BIASES = 2**28


def attend(
  query: jax.Array,
  key: jax.Array,
  value: jax.Array,
  bias: position_bias.Bias | None,
  causal: bool,
) -> jax.Array:
  """softmax(query key + bias) value without a matrix per row.

  By cuDNN where it can, else `by_blocks`. cuDNN wants a half type, at most 128
  numbers a head in eighths, even lengths for the gradient of a bias, and the
  bias whole.

  Args:
    query: dtype[b, queries, heads, head_dim].
    key: dtype[b, keys, heads, head_dim].
    value: Values, shaped like `key`.
    bias: Bias on the scores, or None.
    causal: `bias` masks every key after its query, so they may be left out.

  Returns:
    dtype[b, queries, heads, head_dim].
  """
  _, queries, heads, head_dim = query.shape
  keys = key.shape[1]
  by_cudnn = (
    jax.default_backend() == 'gpu'
    and query.dtype == jnp.bfloat16
    and head_dim <= 128
    and head_dim % 8 == 0
  )
  if bias is not None:
    even = queries % 2 == 0 and keys % 2 == 0
    by_cudnn &= even and heads * queries * keys <= _MOST_BIASES
  if not by_cudnn:
    return by_blocks(query, key, value, bias)
  return jax.nn.dot_product_attention(
    query,
    key,
    value,
    None if bias is None else bias.dense()[None].astype(query.dtype),
    scale=1.0,
    is_causal=causal,
    implementation='cudnn',
  )


def by_blocks(
  query: jax.Array,
  key: jax.Array,
  value: jax.Array,
  bias: position_bias.Bias | None,
  block: int = 128,
) -> jax.Array:
  """Attends from one block of queries after another; see `attend`.

  Memory holds the scores and the biases of one block at a time, also for the
  gradient, which computes them again.

  Args:
    query: dtype[b, queries, heads, head_dim].
    key: dtype[b, keys, heads, head_dim].
    value: Values, shaped like `key`.
    bias: Bias on the scores, or None.
    block: Most queries of a block. Blocks are of one size, and the last has
      queries that do not count when it does not divide them.

  Returns:
    dtype[b, queries, heads, head_dim].
  """
  rows, queries, *heads = query.shape
  num_blocks = -(-queries // block)
  size = -(-queries // num_blocks)
  # The gradients of keys and values are sums over blocks, in float32.
  wide_key, wide_value = key.astype(jnp.float32), value.astype(jnp.float32)

  @jax.checkpoint
  def one_block(number, some):
    scores = layers.einsum32(
      'bqhd,bkhd->bhqk', some, wide_key.astype(key.dtype)
    )
    if bias is not None:
      scores = scores + bias.block(number * size, size)
    weights = jax.nn.softmax(scores).astype(value.dtype)
    return jnp.einsum(
      'bhqk,bkhd->bqhd', weights, wide_value.astype(value.dtype)
    )

  if num_blocks == 1:
    return one_block(0, query)
  padded = jnp.pad(
    query, ((0, 0), (0, num_blocks * size - queries), (0, 0), (0, 0))
  )
  blocks = padded.reshape(rows, num_blocks, size, *heads).swapaxes(0, 1)
  out = jax.lax.map(lambda x: one_block(*x), (jnp.arange(num_blocks), blocks))
  return out.swapaxes(0, 1).reshape(padded.shape)[:, :queries]
