"""Biases on attention scores: by distance in ids, and by distance in time.

A bias is kept small, by distance or by time, until some of its matrix is wanted:
at full size the matrix of one layer has hundreds of megabytes.
"""

from typing import Any
from typing import NamedTuple
from typing import Protocol

from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from v2meow_jax.models import layers
from v2meow_jax.models import logical_axes as axes

# Head h of a new model prefers keys within about this many seconds, from the
# first head to the last.
# A quarter of a frame of 25 Hz looks at that frame alone: what a bias learns with
# a step of 1e-3 an update, it would have to learn for thousands of updates.
_NARROWEST_SECONDS = 0.01
_WIDEST_SECONDS = 4.0


def relative_buckets(
  distance: np.ndarray,
  num_buckets: int,
  max_distance: int,
  bidirectional: bool,
) -> np.ndarray:
  """T5's buckets: exact for near positions, logarithmic for far ones.

  As in Raffel et al. 2019 (https://arxiv.org/abs/1910.10683), section 2.1.

  Args:
    distance: Integers: place of the key minus place of the query.
    num_buckets: Buckets in all.
    max_distance: Distances from here on share the last bucket.
    bidirectional: Half of the buckets for keys after the query; otherwise such
      keys share the bucket of distance 0.

  Returns:
    int32 in [0, num_buckets), of the shape of `distance`.
  """
  first = np.zeros_like(distance)
  if bidirectional:
    num_buckets //= 2
    first = np.where(distance > 0, num_buckets, 0)
    far = np.abs(distance)
  else:
    far = np.maximum(-distance, 0)
  exact = num_buckets // 2
  # float32 as elsewhere: the edges of the buckets depend on it.
  ratio = np.maximum(far, 1).astype(np.float32) / np.float32(exact)
  log = np.log(ratio) / np.float32(np.log(max_distance / exact))
  log = exact + (log * np.float32(num_buckets - exact)).astype(np.int32)
  log = np.minimum(log, num_buckets - 1)
  return (first + np.where(far < exact, far, log)).astype(np.int32)


class Bias(Protocol):
  """A bias float32[heads, queries, keys], of which blocks can be made."""

  def dense(self) -> jax.Array:
    """float32[heads, queries, keys]: all of it."""
    ...

  def block(self, first: jax.Array | int, size: int) -> jax.Array:
    """float32[heads, size, keys] of the queries from `first` on.

    Numbers of queries beyond the last are finite.
    """
    ...


def toeplitz(diagonals: jax.Array, num_queries: int) -> jax.Array:
  """A matrix that is constant along each diagonal.

  A gather would do, but its gradient is a scatter, which is slow.

  Args:
    diagonals: float[heads, queries + keys - 1]; entry `queries - 1 + key -
      query`.
    num_queries: Number of queries.

  Returns:
    float[heads, queries, keys], indexed [head, query, key].
  """
  heads, width = diagonals.shape
  rows = jnp.pad(diagonals, ((0, 0), (0, 1)))[:, None]
  rows = jnp.broadcast_to(rows, (heads, num_queries, width + 1))
  # Reading rows of width + 1 as rows of width moves each one by one place.
  rows = rows.reshape(heads, -1)[:, : num_queries * width]
  return rows.reshape(heads, num_queries, width)[:, :, num_queries - 1 :]


class DistanceBias(NamedTuple):
  """Bias of as many queries as keys, by their distance in ids.

  Attributes:
    diagonals: float32[heads, 2 * length - 1], by `length - 1 + key - query`.
  """

  diagonals: jax.Array

  @property
  def length(self) -> int:
    """Number of queries and of keys."""
    return (self.diagonals.shape[1] + 1) // 2

  def dense(self) -> jax.Array:
    """See `Bias`."""
    return toeplitz(self.diagonals, self.length)

  def block(self, first: jax.Array | int, size: int) -> jax.Array:
    """See `Bias`."""
    # In front, distances of queries beyond the last.
    padded = jnp.pad(self.diagonals, ((0, 0), (size, 0)))
    width = self.length + size - 1
    some = jax.lax.dynamic_slice_in_dim(padded, self.length - first, width, 1)
    return toeplitz(some, size)


class TimesBias(NamedTuple):
  """Bias by the times of query and key, of which many have the same.

  Attributes:
    values: float32[heads, query times, key times], of the times that occur.
    query_times: int32[queries], place of each query's time in `values`.
    key_times: int32[keys], place of each key's time in `values`.
  """

  values: jax.Array
  query_times: jax.Array
  key_times: jax.Array

  def dense(self) -> jax.Array:
    """See `Bias`."""
    return self.block(0, len(self.query_times))

  def block(self, first: jax.Array | int, size: int) -> jax.Array:
    """See `Bias`."""
    padded = jnp.pad(self.query_times, (0, size), mode='edge')
    times = jax.lax.dynamic_slice_in_dim(padded, first, size)
    return self.values[:, times][:, :, self.key_times]


class RelativeBias(nn.Module):
  """A learned bias per head and bucket of distance, shared by a stack.

  Attributes:
    num_heads: Heads.
    num_buckets: Buckets.
    max_distance: Where the last bucket begins.
    bidirectional: False masks every key after its query.
  """

  num_heads: int
  num_buckets: int
  max_distance: int
  bidirectional: bool

  @nn.compact
  def __call__(self, length: int) -> jax.Array:
    """float32[heads, 2 * length - 1], by `length - 1 + key - query`."""
    table = self.param(
      'embedding',
      layers.normal(0.1, axes.HEADS, axes.RELPOS_BUCKETS),
      (self.num_heads, self.num_buckets),
    )
    distance = np.arange(1 - length, length)
    buckets = relative_buckets(
      distance, self.num_buckets, self.max_distance, self.bidirectional
    )
    bias = table[:, buckets]
    if self.bidirectional:
      return bias
    return jnp.where(distance > 0, layers.NEG_INF, bias)


def relative_bias(config: Any, bidirectional: bool) -> RelativeBias:
  """`RelativeBias` of sizes such as `transformer.TransformerConfig`."""
  return RelativeBias(
    config.num_heads,
    config.relative_num_buckets,
    config.relative_max_distance,
    bidirectional,
  )


def _time_bias_init(rate_hz: float, max_distance: int):
  """-|seconds| / reach, with a reach per head: see `TimeBias`."""

  def init(key: jax.Array, shape: tuple[int, int], dtype=jnp.float32):
    del key  # Nothing here is random.
    num_heads, num_buckets = shape[0], shape[1] - 1
    reach = np.geomspace(_NARROWEST_SECONDS, _WIDEST_SECONDS, num_heads)
    distance = np.arange(-max_distance, max_distance + 1)
    buckets = relative_buckets(distance, num_buckets, max_distance, True)
    nearest = np.full(num_buckets + 1, 0.0)
    for bucket in range(num_buckets):
      inside = np.abs(distance[buckets == bucket])
      nearest[bucket] = inside.min() if inside.size else 0
    return jnp.asarray(-nearest / rate_hz / reach[:, None], dtype)

  return init


class TimeBias(nn.Module):
  """A learned bias per head and bucket of time between a key and a query.

  Cross-attention in T5 knows no positions, so a small model learns slowly which
  frame of the picture belongs to which token of the music; this tells it. Each
  head starts with its own reach, from 0.01 s to 4 s; keys without a time have a
  bucket of their own.

  Attributes:
    num_heads: Heads.
    num_buckets: Buckets of time, half of them for keys after the query.
    max_distance: Where the last bucket begins, in 1 / rate_hz.
    rate_hz: Resolution of the nearest buckets.
  """

  num_heads: int
  num_buckets: int
  max_distance: int
  rate_hz: float

  @nn.compact
  def __call__(
    self, query_times: np.ndarray, key_times: np.ndarray
  ) -> TimesBias:
    """Bias of queries and keys at these times, float[queries] and float[keys].

    In seconds; a key whose time is NaN stands for a whole clip.
    """
    init = _time_bias_init(self.rate_hz, self.max_distance)
    table = self.param(
      'embedding',
      nn.with_logical_partitioning(init, (axes.HEADS, axes.TIME_BUCKETS)),
      (self.num_heads, self.num_buckets + 1),
    )
    query_times, query_places = np.unique(query_times, return_inverse=True)
    key_times, key_places = np.unique(key_times, return_inverse=True)
    static = np.isnan(key_times)
    distance = np.where(static, 0.0, key_times) - query_times[:, None]
    # Halves all round up: streams at 12.5 and 25 Hz are apart by halves.
    units = np.floor(distance * self.rate_hz + 0.5 + 1e-6).astype(np.int32)
    buckets = relative_buckets(units, self.num_buckets, self.max_distance, True)
    return TimesBias(
      table[:, np.where(static, self.num_buckets, buckets)],
      jnp.asarray(query_places, jnp.int32),
      jnp.asarray(key_places, jnp.int32),
    )


def time_bias(config: Any) -> TimeBias:
  """`TimeBias` of sizes such as `transformer.TransformerConfig`."""
  return TimeBias(
    config.num_heads,
    config.relative_num_buckets,
    config.relative_max_distance,
    config.time_bias_rate_hz,
  )
