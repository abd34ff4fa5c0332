"""Contrastive losses of the pairs of a global batch, block by block.

Row i of one kind belongs with row i of the other, and every other row is a
negative. Rows may be split over the devices of a mesh: then the rows of one
kind stay where they are, and those of the other go once around a ring. Neither
the losses nor their gradients ever hold more of the matrix of similarities than
a block of a device's own rows with `BLOCK_ROWS` others, so that memory grows
with the rows of a device and not with their square.
"""

from collections.abc import Callable
import functools
import math
from typing import Any
from typing import NamedTuple

from flax import linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array
from jaxtyping import Float

from v2meow_jax.models import layers
from v2meow_jax.models import logical_axes as axes

# ours: a block with the 512 rows of a device has half a megabyte.
BLOCK_ROWS = 256


class RowSplit(NamedTuple):
  """How the rows of a batch lie on devices.

  Attributes:
    mesh: Mesh of the devices.
    names: Axes of the mesh that split the rows.
  """

  mesh: Any
  names: tuple[str, ...]

  @property
  def num_parts(self) -> int:
    """Number of parts of the rows."""
    return math.prod(self.mesh.shape[name] for name in self.names)


def row_split(num_rows: int) -> RowSplit | None:
  """The split that the trainer has set, as `logical_axes.split_rows` reads it.

  None where it has set none, where there is one part, or where the rows do not
  divide: the losses are the same, and XLA lays out the blocks.
  """
  mesh = jax.sharding.get_abstract_mesh()
  (names,) = nn.logical_to_mesh_axes((axes.BATCH,)) or (None,)
  names = (names,) if isinstance(names, str) else names
  # Without rules flax names no axis of the mesh.
  if not isinstance(names, tuple) or not {*names} <= {*mesh.axis_names}:
    return None
  split = RowSplit(mesh, names)
  divides = split.num_parts > 1 and num_rows % split.num_parts == 0
  return split if divides else None


def info_nce_rows(
  x: Float[Array, 'n dim'],
  y: Float[Array, 'n dim'],
  weights: Float[Array, ' n'] | None = None,
  split: RowSplit | None = None,
) -> Float[Array, ' n']:
  """Symmetric InfoNCE of each pair, as `contrastive.info_nce` in the mean.

  Args:
    x: Embeddings of one kind, times the scale of the similarities.
    y: Embeddings of the other.
    weights: Weight of each pair, 0 for one that is no part of the batch; None:
      all are part of it.
    split: Split of the rows over devices; None: one device has all.

  Returns:
    The mean of two cross-entropies, of the row among all columns and of the
    column among all rows; log(n) when all similarities are equal, and 0 where
    the weight is 0.
  """
  weights = jnp.ones(len(x)) if weights is None else weights
  rows, columns = _log_sums(x, y, weights, split)
  own = jnp.sum(x * y, -1)
  return jnp.where(weights > 0, (rows + columns) / 2 - own, 0.0)


def sigmoid_rows(
  x: Float[Array, 'n dim'],
  y: Float[Array, 'n dim'],
  bias: Float[Array, ''],
  weights: Float[Array, ' n'] | None = None,
  split: RowSplit | None = None,
) -> Float[Array, ' n']:
  """Sigmoid loss of each row (Zhai et al. 2023, https://arxiv.org/abs/2303.15343).

  Each pair of rows is a question of its own, whether they belong together. No
  row is compared with a sum over others, so that many negatives outweigh the
  one pair: `bias`, which begins at about -log(n), says that most do not match.

  Args:
    x: Embeddings of one kind, times the scale of the similarities.
    y: Embeddings of the other.
    bias: Number that is added to every similarity.
    weights: Weight of each pair, 0 for one that is no part of the batch; None:
      all are part of it.
    split: Split of the rows over devices; None: one device has all.

  Returns:
    Sum of the cross-entropies of a row with all columns; n log(2) when all
    similarities and the bias are 0, and 0 where the weight is 0.
  """
  weights = jnp.ones(len(x)) if weights is None else weights
  ones = jnp.ones((len(x), 1), x.dtype)
  x = jnp.concatenate([x, ones * bias], 1)
  y = jnp.concatenate([y, ones], 1)
  # log(1 + e^l) is the loss of a pair that does not match, and log(1 + e^-l)
  # that of one that does, which is less by l.
  sums = _softplus_sums(x, y, weights, split)
  return jnp.where(weights > 0, sums - jnp.sum(x * y, -1), 0.0)


def is_nearest(
  x: Float[Array, 'n dim'],
  y: Float[Array, 'n dim'],
  weights: Float[Array, ' n'] | None = None,
  split: RowSplit | None = None,
) -> Float[Array, ' n']:
  """1 for each row of `x` that has no likelier partner than its own, else 0.

  Args and laying out as `info_nce_rows`; no gradient.
  """
  weights = jnp.ones(len(x)) if weights is None else weights
  x, y = jax.lax.stop_gradient((x, y))

  def local(x, y, weights):
    # By the same product as the others, which a sum would miss by a rounding.
    own = jax.vmap(lambda a, b: _products(a[None], b[None])[0, 0])(x, y)

    def visit(most, block):
      scores = _scores(x, weights, *block)
      return jnp.maximum(most, scores.max(1)), block

    start = jnp.full(len(x), layers.NEG_INF)
    most, _ = _around(visit, start, (y, weights), split)
    margin = 1e-6 * (1 + jnp.abs(own))
    return (own >= most - margin).astype(jnp.float32)

  return _on_devices(local, split)(x, y, weights)


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def _log_sums(x, y, weights, split):
  """Log of the sum of exp(similarity) of each row and of each column."""
  return _log_sums_forward(x, y, weights, split)[0]


def _log_sums_forward(x, y, weights, split):
  def local(x, y, weights):
    def visit(rows, block):
      y, w, columns = block
      scores = _scores(x, weights, y, w)
      rows = jnp.logaddexp(rows, jax.nn.logsumexp(scores, 1))
      columns = jnp.logaddexp(columns, jax.nn.logsumexp(scores, 0))
      return rows, (y, w, columns)

    start = jnp.full(len(x), 2 * layers.NEG_INF)
    rows, (_, _, columns) = _around(visit, start, (y, weights, start), split)
    return rows, columns

  sums = _on_devices(local, split)(x, y, weights)
  return sums, (x, y, weights, sums)


def _log_sums_backward(split, saved, gradients):
  x, y, weights, sums = saved

  def local(x, y, weights, rows, columns, row_grads, column_grads):
    def share(block):
      y, w, columns, column_grads = block
      scores = _scores(x, weights, y, w)
      of_rows = jnp.exp(scores - rows[:, None]) * row_grads[:, None]
      return of_rows + jnp.exp(scores - columns) * column_grads

    passing = (y, weights, columns, column_grads)
    return _product_gradients(share, x, passing, split)

  grads = _on_devices(local, split)(x, y, weights, *sums, *gradients)
  return *grads, jnp.zeros_like(weights)


_log_sums.defvjp(_log_sums_forward, _log_sums_backward)


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def _softplus_sums(x, y, weights, split):
  """Sum of log(1 + exp(similarity)) of each row over the columns."""
  return _softplus_sums_forward(x, y, weights, split)[0]


def _softplus_sums_forward(x, y, weights, split):
  def local(x, y, weights):
    def visit(rows, block):
      return rows + jax.nn.softplus(_scores(x, weights, *block)).sum(1), block

    return _around(visit, jnp.zeros(len(x)), (y, weights), split)[0]

  sums = _on_devices(local, split)(x, y, weights)
  return sums, (x, y, weights)


def _softplus_sums_backward(split, saved, gradients):
  x, y, weights = saved

  def local(x, y, weights, row_grads):
    def share(block):
      return jax.nn.sigmoid(_scores(x, weights, *block)) * row_grads[:, None]

    return _product_gradients(share, x, (y, weights), split)

  grads = _on_devices(local, split)(x, y, weights, gradients)
  return *grads, jnp.zeros_like(weights)


_softplus_sums.defvjp(_softplus_sums_forward, _softplus_sums_backward)


def _products(x: jax.Array, y: jax.Array) -> jax.Array:
  """float32[rows, columns] of all similarities."""
  return jnp.einsum(
    'nd,md->nm', x, y, precision='highest', preferred_element_type=jnp.float32
  )


def _scores(x, weights, y, other_weights) -> jax.Array:
  """Similarities, of which those of pairs that are out do not count."""
  out = jnp.where(weights > 0, 0.0, layers.NEG_INF)[:, None]
  other_out = jnp.where(other_weights > 0, 0.0, layers.NEG_INF)
  return _products(x, y) + out + other_out


def _product_gradients(
  share: Callable[[Any], jax.Array],
  x: jax.Array,
  passing: tuple[jax.Array, ...],
  split: RowSplit | None,
) -> tuple[jax.Array, jax.Array]:
  """Gradients of both kinds, given that of the similarities of a block.

  Args:
    share: Function of a block of `passing` that gives float32[rows, columns].
    x: Rows that stay.
    passing: Rows that pass, of which the first array is embeddings.
    split: Split of the rows.
  """

  def visit(x_grads, block):
    (*first, y_grads), y = block, block[0]
    grads = share(tuple(first))
    x_grads += jnp.einsum('nm,md->nd', grads, y, precision='highest')
    y_grads += jnp.einsum('nm,nd->md', grads, x, precision='highest')
    return x_grads, (*first, y_grads)

  y_grads = jnp.zeros_like(passing[0])
  own, (*_, y_grads) = _around(
    visit, jnp.zeros_like(x), (*passing, y_grads), split
  )
  return own, y_grads


def _around(
  visit: Callable[[Any, Any], tuple[Any, Any]],
  own: Any,
  passing: Any,
  split: RowSplit | None,
) -> tuple[Any, Any]:
  """Lets the rows that pass visit every device, in blocks, and come home.

  Args:
    visit: Function of what stays and of a block of what passes, which gives
      both as they are afterwards.
    own: Arrays that stay on the device.
    passing: Arrays whose first axis is the rows of the device; rows of zeros
      complete the last block.
    split: Split of the rows; None: there is one device.
  """
  num_rows = len(jax.tree.leaves(passing)[0])
  size = min(BLOCK_ROWS, num_rows)
  missing = -num_rows % size
  passing = jax.tree.map(
    lambda x: jnp.pad(x, ((0, missing), *((0, 0),) * (x.ndim - 1))), passing
  )
  count = 1 if split is None else split.num_parts

  def turn(carry, _):
    own, passing = carry
    blocks = jax.tree.map(lambda x: x.reshape(-1, size, *x.shape[1:]), passing)
    own, blocks = jax.lax.scan(visit, own, blocks)
    passing = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), blocks)
    if split is not None:
      ring = [(i, (i + 1) % count) for i in range(count)]
      passing = jax.lax.ppermute(passing, split.names, ring)
    return (own, passing), None

  (own, passing), _ = jax.lax.scan(turn, (own, passing), None, length=count)
  return own, jax.tree.map(lambda x: x[:num_rows], passing)


def _on_devices(function: Callable[..., Any], split: RowSplit | None):
  """A function of the rows of a device, as one of the rows of all."""
  if split is None:
    return function
  rows = jax.sharding.PartitionSpec(split.names)
  return jax.shard_map(
    function,
    mesh=split.mesh,
    in_specs=rows,
    out_specs=rows,
    check_vma=False,
  )
