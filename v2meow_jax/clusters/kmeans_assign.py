"""Rows to their nearest centroids, split over all devices.

Rows stay on the host and go to the devices chunk by chunk, so that distances to
all centroids are held for one chunk alone.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
import dataclasses
import functools

import jax
from jax import sharding
import jax.numpy as jnp
import numpy as np

# Of one device and chunk.
_ROWS_AT_ONCE = 8192
_AXIS = 'rows'
_SPLIT = sharding.PartitionSpec(_AXIS)
_WHOLE = sharding.PartitionSpec()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tally:
  """Rows, sorted to their nearest centroids and added up.

  Attributes:
    index: int32[n], the nearest centroid of each row.
    distance: float32[n], squared, to it.
    sums: float64[k, dim], of each centroid's rows.
    counts: int64[k], rows of each centroid.
  """

  index: np.ndarray
  distance: np.ndarray
  sums: np.ndarray
  counts: np.ndarray


def tally(rows: np.ndarray, centroids: np.ndarray) -> Tally:
  """Sorts rows to their nearest centroids and adds them up.

  Args:
    rows: float[n, dim], split over the devices of this process.
    centroids: float[k, dim].

  Returns:
    The tally. Sums are float32 within a chunk, whose rows depend on the number
    of devices, and float64 from chunk to chunk.
  """
  mesh = _mesh()
  on_devices = _on_devices(mesh)
  sums = np.zeros(centroids.shape, np.float64)
  counts = np.zeros(len(centroids), np.int64)
  indices, distances = [], []
  centroids = jax.device_put(
    np.asarray(centroids, np.float32), sharding.NamedSharding(mesh, _WHOLE)
  )
  for chunk, num_rows in _chunks(rows, mesh):
    index, distance, more_sums, more_counts = on_devices(
      chunk, centroids, num_rows
    )
    indices.append(np.asarray(index)[:num_rows])
    distances.append(np.asarray(distance)[:num_rows])
    sums += np.asarray(more_sums)
    counts += np.asarray(more_counts)
  return Tally(
    index=np.concatenate(indices),
    distance=np.concatenate(distances),
    sums=sums,
    counts=counts,
  )


def assign(
  rows: np.ndarray, centroids: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  """The nearest centroid of each row.

  Args:
    rows: float[n, dim].
    centroids: float[k, dim].

  Returns:
    int32[n] indices and float32[n] squared distances.
  """
  found = tally(rows, centroids)
  return found.index, found.distance


@functools.cache
def _mesh() -> sharding.Mesh:
  """All devices of this process, in a line."""
  devices = jax.local_devices()
  return jax.make_mesh(
    (len(devices),), (_AXIS,), (sharding.AxisType.Auto,), devices=devices
  )


@functools.cache
def _on_devices(mesh: sharding.Mesh) -> Callable[..., tuple[jax.Array, ...]]:
  """`_tally`, with the rows split over a mesh."""
  in_order = mesh.devices.flat[0].platform == 'cpu'
  return jax.jit(
    jax.shard_map(
      functools.partial(_tally, in_order=in_order),
      mesh=mesh,
      in_specs=(_SPLIT, _WHOLE, _WHOLE),
      out_specs=(_SPLIT, _SPLIT, _WHOLE, _WHOLE),
    )
  )


def _tally(
  rows: jax.Array, centroids: jax.Array, num_rows: jax.Array, in_order: bool
) -> tuple[jax.Array, ...]:
  """The fields of a `Tally`, on one device of several.

  Args:
    rows: float32[rows of this device, dim].
    centroids: float32[k, dim].
    num_rows: int32[], of all devices; rows behind them are padding.
    in_order: See `_sums`.
  """
  # At full precision: a code must not depend on the machine.
  products = jnp.matmul(rows, centroids.T, precision='highest')
  index = jnp.argmax(products - 0.5 * jnp.sum(centroids**2, -1), -1)
  distance = jnp.sum((rows - centroids[index]) ** 2, -1)
  number = jax.lax.axis_index(_AXIS) * len(rows) + jnp.arange(len(rows))
  index = jnp.where(number < num_rows, index, len(centroids))
  sums = _sums(rows, index, len(centroids), in_order)
  counts = jax.ops.segment_sum(jnp.ones_like(index), index, len(centroids))
  return (
    index.astype(jnp.int32),
    distance,
    jax.lax.psum(sums, _AXIS),
    jax.lax.psum(counts, _AXIS),
  )


def _sums(
  rows: jax.Array, index: jax.Array, k: int, in_order: bool
) -> jax.Array:
  """float32[k, dim] sums of rows by index; the index k belongs to nobody.

  A scatter is quick on a CPU, and adds in order there. A GPU would add in
  another order each time, which a product with one-hot rows does not.
  """
  if in_order:
    return jax.ops.segment_sum(rows, index, k)
  one_hot = jax.nn.one_hot(index, k, dtype=rows.dtype)
  return jnp.matmul(one_hot.T, rows, precision='highest')


def _chunks(
  rows: np.ndarray, mesh: sharding.Mesh
) -> Iterator[tuple[jax.Array, int]]:
  """Rows on the devices, and how many of them are no padding.

  The last chunk is padded to a power of two of rows a device: few shapes are
  compiled.
  """
  place = sharding.NamedSharding(mesh, _SPLIT)
  rows_at_once = _ROWS_AT_ONCE * mesh.size
  for start in range(0, max(len(rows), 1), rows_at_once):
    chunk = np.asarray(rows[start : start + rows_at_once], np.float32)
    of_device = max(-(-len(chunk) // mesh.size), 1)
    padding = (1 << (of_device - 1).bit_length()) * mesh.size - len(chunk)
    if padding:
      padded = np.pad(chunk, ((0, padding), (0, 0)))
    else:
      padded = chunk
    yield jax.device_put(padded, place), len(chunk)
