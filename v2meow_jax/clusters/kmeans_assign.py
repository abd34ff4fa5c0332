"""Assigns rows to their nearest centroids, on all devices.

Rows go from the host to the devices chunk by chunk, so that distances to all
centroids exist for one chunk at a time.
"""

from collections.abc import Callable
from collections.abc import Iterator
import dataclasses
import functools

import jax
from jax import sharding
import jax.numpy as jnp
import numpy as np

# Rows of a chunk on one device.
_ROWS_AT_ONCE = 8192
_AXIS = 'rows'
_SPLIT = sharding.PartitionSpec(_AXIS)
_WHOLE = sharding.PartitionSpec()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Assignment:
  """Nearest centroids of rows, and sums of rows by centroid.

  Attributes:
    index: Nearest centroid of each row, int32[n].
    distance: Squared distance to it, float32[n].
    sums: Sum of the rows of each centroid, float64[k, dim].
    counts: Number of rows of each centroid, int64[k].
  """

  index: np.ndarray
  distance: np.ndarray
  sums: np.ndarray
  counts: np.ndarray


def assign(rows: np.ndarray, centroids: np.ndarray) -> Assignment:
  """Assigns rows to their nearest centroids and sums them.

  Sums are float32 within a chunk, whose rows depend on the number of devices,
  and float64 across chunks.

  Args:
    rows: Rows to assign, float[n, dim].
    centroids: Centres of the clusters, float[k, dim].
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
  return Assignment(
    index=np.concatenate(indices),
    distance=np.concatenate(distances),
    sums=sums,
    counts=counts,
  )


@functools.cache
def _mesh() -> sharding.Mesh:
  """Mesh of one axis over all devices of this process."""
  devices = jax.local_devices()
  return jax.make_mesh(
    (len(devices),), (_AXIS,), (sharding.AxisType.Auto,), devices=devices
  )


@functools.cache
def _on_devices(mesh: sharding.Mesh) -> Callable[..., tuple[jax.Array, ...]]:
  """Compiles `_assign` with the rows split over a mesh."""
  in_order = mesh.devices.flat[0].platform == 'cpu'
  return jax.jit(
    jax.shard_map(
      functools.partial(_assign, in_order=in_order),
      mesh=mesh,
      in_specs=(_SPLIT, _WHOLE, _WHOLE),
      out_specs=(_SPLIT, _SPLIT, _WHOLE, _WHOLE),
    )
  )


def _assign(
  rows: jax.Array, centroids: jax.Array, num_rows: jax.Array, in_order: bool
) -> tuple[jax.Array, ...]:
  """Computes the fields of an `Assignment` on one device of several.

  Args:
    rows: Rows of this device, float32[rows, dim].
    centroids: Centres of the clusters, float32[k, dim].
    num_rows: Number of rows of all devices, int32[]; later ones are padding.
    in_order: Whether the device scatters in order, see `_sums`.
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
  """Sums rows by index, float32[k, dim]; drops the index k.

  A scatter is fast on a CPU and adds in order there. On a GPU its order varies;
  that of a product with one-hot rows does not.
  """
  if in_order:
    return jax.ops.segment_sum(rows, index, k)
  one_hot = jax.nn.one_hot(index, k, dtype=rows.dtype)
  return jnp.matmul(one_hot.T, rows, precision='highest')


def _chunks(
  rows: np.ndarray, mesh: sharding.Mesh
) -> Iterator[tuple[jax.Array, int]]:
  """Yields rows on the devices, and their number without padding.

  Pads the last chunk to a power of two of rows per device, so that few shapes
  are compiled.
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
