"""Attention by blocks is attention, in a fraction of the memory."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from v2meow_jax.models import fused_attention
from v2meow_jax.models import layers
from v2meow_jax.models import position_bias

pytestmark = pytest.mark.slow

HEADS, HEAD_DIM = 2, 4
# Of the largest number of an array, float32.
TOLERANCE = 1e-5


def inputs(queries, keys, rows=3, seed=0):
  rng = np.random.default_rng(seed)

  def normal(length):
    shape = (rows, length, HEADS, HEAD_DIM)
    return rng.normal(size=shape).astype(np.float32)

  return normal(queries), normal(keys), normal(keys)


def distances(length, seed=1):
  """Learnt numbers by distance, the future masked."""
  rng = np.random.default_rng(seed)
  values = rng.normal(size=(HEADS, 2 * length - 1)).astype(np.float32)
  values[:, length:] = layers.NEG_INF
  return position_bias.DistanceBias(jnp.asarray(values))


def times(queries, keys, seed=1):
  """Learnt numbers by time; four queries and several keys share each."""
  rng = np.random.default_rng(seed)
  shape = (HEADS, -(-queries // 4), 3)
  return position_bias.TimesBias(
    jnp.asarray(rng.normal(size=shape).astype(np.float32)),
    jnp.arange(queries) // 4,
    jnp.asarray(rng.integers(0, 3, keys)),
  )


def matrix(bias):
  """The bias, written as its definition with numpy's indices."""
  if bias is None:
    return 0.0
  if isinstance(bias, position_bias.TimesBias):
    queries, keys = np.ix_(bias.query_times, bias.key_times)
    return bias.values[:, queries, keys]
  places = np.arange(bias.length)
  return bias.diagonals[:, bias.length - 1 + places - places[:, None]]


def plain(query, key, value, bias):
  scores = jnp.einsum('bqhd,bkhd->bhqk', query, key) + matrix(bias)
  return jnp.einsum('bhqk,bkhd->bqhd', jax.nn.softmax(scores), value)


# Queries, keys, queries of a block, bias: one block, blocks that divide, and not.
CASES = (
  (5, 5, 8, distances(5)),
  (26, 26, 8, distances(26)),
  (12, 31, 4, times(12, 31)),
  (10, 6, 4, None),
)


def test_blocks_give_the_values_and_gradients_of_all_at_once():
  for queries, keys, block, bias in CASES:
    arrays = inputs(queries, keys)
    weights = np.random.default_rng(7).normal(size=arrays[0].shape)
    learnt = None if bias is None else bias[0]

    def loss(attend, arrays, learnt, bias=bias, weights=weights):
      if bias is not None:
        bias = bias._replace(**{bias._fields[0]: learnt})
      return (attend(*arrays, bias) * weights).sum()

    by_blocks = functools.partial(fused_attention.by_blocks, block=block)
    found, wanted = (
      jax.jit(jax.value_and_grad(functools.partial(loss, attend), (0, 1)))(
        arrays, learnt
      )
      for attend in (by_blocks, plain)
    )
    for x, y in zip(
      jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True
    ):
      case = (queries, keys, block)
      np.testing.assert_allclose(
        x, y, rtol=0, atol=TOLERANCE * np.abs(y).max(), err_msg=str(case)
      )


@pytest.mark.parametrize('bias', [distances(26), times(26, 7)])
def test_a_bias_is_its_blocks_one_after_the_other(bias):
  whole = matrix(bias)
  np.testing.assert_array_equal(bias.dense(), whole)
  blocks = [bias.block(first, 8) for first in range(0, 26, 8)]
  np.testing.assert_array_equal(jnp.concatenate(blocks, 1)[:, :26], whole)
  assert np.isfinite(np.stack(blocks)).all()


@pytest.mark.slow
def test_a_gradient_by_blocks_needs_a_fraction_of_the_memory():
  length, rows, block = 1024, 4, 64
  arrays = inputs(length, length, rows)
  bias = distances(length)

  def temporary_bytes(attend):
    def loss(arrays, bias):
      return (attend(*arrays, bias) ** 2).sum()

    gradient = jax.jit(jax.grad(loss, (0, 1)))
    compiled = gradient.lower(arrays, bias).compile()
    return compiled.memory_analysis().temp_size_in_bytes

  scores = 4 * rows * HEADS * length**2
  blocks = temporary_bytes(
    functools.partial(fused_attention.by_blocks, block=block)
  )
  # Half a dozen arrays of the scores of one block.
  assert blocks < 8 * scores * block / length
  assert blocks < 0.25 * temporary_bytes(plain)
