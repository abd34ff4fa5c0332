"""Attention of every position to every other, without a mask."""

import jax
import jax.numpy as jnp
from jaxtyping import Array
from jaxtyping import Float

Heads = Float[Array, 'b length heads head_dim']


def full(query: Heads, key: Heads, value: Heads) -> Heads:
  """softmax(query key^T / sqrt(head_dim)) value, for each head.

  On a CPU the heads run one after the other, so that the weights of one stay in
  the cache.

  Args:
    query: Queries of each position.
    key: Keys of each position.
    value: Values of each position.

  Returns:
    The weighted values of each position.
  """
  return jax.lax.platform_dependent(
    query,
    key,
    value,
    cpu=_one_by_one,
    default=jax.nn.dot_product_attention,
  )


def _one_by_one(query: Heads, key: Heads, value: Heads) -> Heads:
  scale = query.shape[-1] ** -0.5

  def head(rows):
    q, k, v = rows
    scores = (scale * q) @ k.T
    weights = jnp.exp(scores - scores.max(-1, keepdims=True))
    # Divided last: there are fewer values than weights.
    return weights @ v / weights.sum(-1, keepdims=True)

  # [b, length, heads, head_dim] -> [b, heads, length, head_dim] and back
  rows = [jnp.moveaxis(x, 2, 1) for x in (query, key, value)]
  flat = [x.reshape(-1, *x.shape[2:]) for x in rows]
  out = jax.lax.map(head, flat).reshape(rows[0].shape)
  return jnp.moveaxis(out, 1, 2)
