"""Splits parameters and batches over a mesh of devices.

Three axes: 'data' copies the parameters and splits the batch; 'fsdp' splits
both; 'tensor' splits the work on one row. Rules map the logical axes of a
parameter to axes of the mesh.
"""

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
import contextlib
import math
from typing import Any

from absl import logging
from flax import linen as nn
import jax
from jax import sharding
import numpy as np
import optax

from v2meow_jax.models import logical_axes as axes
from v2meow_jax.models import trainable
from v2meow_jax.training import train_state

AXES = ('data', 'fsdp', 'tensor')
Rules = Sequence[tuple[str, str | Sequence[str] | None]]

# An axis without a rule is replicated. Earlier rules win where two axes of a
# parameter would go to the same axis of the mesh.
DEFAULT_RULES: Rules = (
  (axes.BATCH, ('data', 'fsdp')),
  (axes.VOCAB, 'tensor'),
  (axes.HEADS, 'tensor'),
  (axes.MLP, 'tensor'),
  (axes.EMBED, 'fsdp'),
)


def make_mesh(
  data: int = -1,
  fsdp: int = 1,
  tensor: int = 1,
  devices: Callable[[], Sequence[Any]] = jax.devices,
) -> sharding.Mesh:
  """Arranges all devices of all processes along `AXES`.

  Args:
    data: Number of groups of devices that each hold all parameters; -1, in any
      one of the three, takes the devices that the others leave.
    fsdp: Number of devices that share parameters and the rows of a batch.
    tensor: Number of devices that work together on the same rows.
    devices: Function that gives the devices to arrange.

  Raises:
    ValueError: The product is not the number of devices.
  """
  sizes: dict[str, int] = dict(zip(AXES, (data, fsdp, tensor), strict=True))
  wanted = ', '.join(f'{name}={size}' for name, size in sizes.items())
  free = [name for name, size in sizes.items() if size == -1]
  known = math.prod(size for size in sizes.values() if size != -1)
  arranged = devices()
  count = len(arranged)
  if len(free) > 1 or any(s < 1 and s != -1 for s in sizes.values()):
    raise ValueError(
      f'the mesh {wanted} is impossible; make every axis at least 1, and at most'
      ' one -1, which takes the devices that are left.'
    )
  if free and count % known == 0:
    sizes[free[0]] = count // known
  if math.prod(sizes.values()) != count:
    raise ValueError(
      f'the mesh {wanted} does not fit {count} device(s); make the product of'
      ' its axes that number, or leave one axis at -1.'
    )
  return jax.make_mesh(
    tuple(sizes.values()),
    AXES,
    (sharding.AxisType.Auto,) * len(AXES),
    devices=arranged,
  )


def replicated(mesh: sharding.Mesh) -> sharding.NamedSharding:
  """Sharding of an array that every device holds whole."""
  return sharding.NamedSharding(mesh, sharding.PartitionSpec())


def batch_sharding(mesh: sharding.Mesh, rules: Rules) -> sharding.NamedSharding:
  """Sharding of the rows of a batch, by the rule of 'batch'."""
  spec = nn.logical_to_mesh_axes((axes.BATCH,), tuple(rules))
  return sharding.NamedSharding(mesh, spec)


@contextlib.contextmanager
def split_activations(
  split: sharding.NamedSharding | None, rows: int
) -> Iterator[None]:
  """Splits activations that are traced in the block like the rows of a batch.

  Args:
    split: Sharding from `batch_sharding`; None leaves it to XLA, as do rows that
      do not divide.
    rows: Number of rows of the batch or microbatch.
  """
  if split is None or rows % _ways(split, 0):
    yield
    return
  rules = ((axes.BATCH, split.spec[0]),)
  with (
    sharding.use_abstract_mesh(split.mesh.abstract_mesh),
    nn.logical_axis_rules(rules),
  ):
    yield


def process_shard(split: sharding.NamedSharding) -> tuple[int, int]:
  """Returns the part of a batch that this process reads, and the number of parts.

  Processes that work on the same rows read the same part.

  Raises:
    ValueError: The rows of two processes overlap in part.
  """
  rows = _ways(split, 0)
  held: dict[int, set[int]] = {}
  for device, (piece,) in split.devices_indices_map((rows,)).items():
    held.setdefault(device.process_index, set()).add(piece.start or 0)
  parts = sorted({tuple(sorted(pieces)) for pieces in held.values()})
  equal = len({len(part) for part in parts}) == 1
  if not equal or sum(map(len, parts)) != rows:
    raise ValueError(
      f'on the mesh {dict(split.mesh.shape)} processes share some rows of a'
      ' batch and not others; let the devices of a process divide an axis.'
    )
  return parts.index(tuple(sorted(held[jax.process_index()]))), len(parts)


def put_batch(
  batch: Mapping[str, np.ndarray], split: sharding.NamedSharding
) -> trainable.Batch:
  """Puts this process's rows on its devices, as part of the global batch.

  Args:
    batch: Rows of this `process_shard`, {key: array[rows, ...]}.
    split: Sharding from `batch_sharding`.

  Returns:
    The batch of all processes, {key: array[all rows, ...]}.

  Raises:
    ValueError: The rows do not divide among the devices.
  """
  parts = process_shard(split)[1]
  rows = len(next(iter(batch.values()))) * parts
  check_rows(rows, split)
  return {
    key: jax.make_array_from_process_local_data(
      split, value, (rows, *value.shape[1:])
    )
    for key, value in batch.items()
  }


def check_rows(rows: int, split: sharding.NamedSharding) -> None:
  """Raises ValueError unless a batch of `rows` divides among the devices."""
  if rows % _ways(split, 0):
    raise ValueError(
      f'a batch of {rows} does not divide among {_ways(split, 0)} devices; make'
      ' BATCH_SIZE a multiple.'
    )


def variable_shardings(
  model: trainable.Trainable,
  batch: trainable.Batch,
  mesh: sharding.Mesh,
  rules: Rules,
) -> dict[str, Any]:
  """Returns the sharding of every variable of a model, by its logical axes.

  Arrays without names of axes are replicated, and so are axes that do not
  divide. Arguments as of `state_shardings`.
  """
  boxed = jax.eval_shape(model.init, jax.random.key(0), batch)
  names = nn.get_partition_spec(boxed)
  wanted = nn.logical_to_mesh_sharding(names, mesh, tuple(rules))
  return jax.tree_util.tree_map_with_path(
    _fitting, nn.unbox(boxed), dict(wanted)
  )


def state_shardings(
  model: trainable.Trainable,
  optimizer: optax.GradientTransformation,
  shapes: train_state.TrainState,
  batch: trainable.Batch,
  mesh: sharding.Mesh,
  rules: Rules,
) -> train_state.TrainState:
  """Returns the sharding of every leaf of a state.

  Parameters follow the rules, as of `variable_shardings`; moments and averages
  lie with their parameter.

  Args:
    model: Model of the parameters.
    optimizer: Optimiser of the state.
    shapes: State as shapes and dtypes, by `jax.eval_shape`.
    batch: Batch that the state was made for; arrays or shapes.
    mesh: Mesh from `make_mesh`.
    rules: Mesh axes of the logical axes.
  """
  variables = variable_shardings(model, batch, mesh, rules)
  params = variables.pop('params')
  copied = replicated(mesh)
  extras = {
    name: variables.get(name, jax.tree.map(lambda _: copied, tree))
    for name, tree in shapes.extras.items()
  }
  if train_state.EMA in extras:
    extras[train_state.EMA] = params
  # Factored moments have fewer axes than their parameter, and are small.
  opt_state = optax.tree_map_params(
    optimizer,
    lambda leaf, of, place: place if leaf.shape == of.shape else copied,
    shapes.opt_state,
    shapes.params,
    params,
    transform_non_params=lambda _: copied,
  )
  return train_state.TrainState(
    step=copied, params=params, extras=extras, opt_state=opt_state
  )


def _ways(split: sharding.NamedSharding, axis: int) -> int:
  """Number of pieces that an axis of an array is cut into."""
  names = split.spec[axis] if axis < len(split.spec) else None
  names = (names,) if isinstance(names, str) else names or ()
  return math.prod(split.mesh.shape[name] for name in names)


def _fitting(
  path: tuple[Any, ...], leaf: Any, split: sharding.NamedSharding
) -> sharding.NamedSharding:
  """Replicates the axes that the sharding does not divide evenly."""
  spec = list(split.spec)
  for axis, size in enumerate(leaf.shape[: len(spec)]):
    if size % _ways(split, axis):
      logging.info(
        'Axis %d of %s has %d entries, which do not divide by %s: copied.',
        axis, jax.tree_util.keystr(path), size, spec[axis],
      )  # fmt: skip
      spec[axis] = None
  return sharding.NamedSharding(split.mesh, sharding.PartitionSpec(*spec))
