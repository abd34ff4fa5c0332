"""Reads one step of a checkpoint and verifies it against its digests."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
import json
from typing import Any
from typing import TypeVar

from absl import logging
from etils import epath
import jax
from jax.experimental import multihost_utils
import numpy as np
import orbax.checkpoint as ocp

from v2meow_jax.training.checkpoints import digests

INFO = 'info'

_MAX_LISTED = 10
# Status codes of unreachable storage, no reason to set a step aside.
_UNREACHABLE = (
  'DEADLINE_EXCEEDED',
  'PERMISSION_DENIED',
  'RESOURCE_EXHAUSTED',
  'UNAUTHENTICATED',
  'UNAVAILABLE',
)

T = TypeVar('T')


class CheckpointError(ValueError):
  """A checkpoint is missing, damaged or of another model."""


class DamagedError(CheckpointError):
  """A step differs from its digests or cannot be read."""


def absolute(path: epath.PathLike) -> epath.Path:
  """Makes a path absolute for orbax; keeps one with a scheme, such as gs://."""
  path = epath.Path(path)
  return path if '://' in str(path) else path.resolve()


def committed(path: epath.Path) -> list[int]:
  """Returns the steps of a folder that were saved completely."""
  return ocp.utils.checkpoint_steps(path) if path.exists() else []


def restore(step_path: epath.Path, like: Mapping[str, Any]) -> dict[str, Any]:
  """Restores verified trees of a step with the given shardings.

  All processes call this together, and all return or all raise.

  Args:
    step_path: Folder of a committed step.
    like: {item: tree of arrays or ShapeDtypeStructs, with shardings}.

  Returns:
    {item: tree}.

  Raises:
    DamagedError: The step differs from its digests or cannot be read.
    CheckpointError: The step is of another model or optimiser.
  """
  leaves = _together(lambda: _stored_leaves(step_path, tuple(like)))
  _refuse_other_structure(step_path, leaves, digests.describe(like))
  handler = ocp.StandardCheckpointHandler()
  # Not a checkpointer, which would wait for processes that failed.
  restored = _together(
    lambda: {
      name: handler.restore(
        step_path / name,
        args=ocp.args.StandardRestore(
          jax.tree.map(ocp.utils.to_shape_dtype_struct, tree)
        ),
      )
      for name, tree in like.items()
    }
  )
  _together(lambda: _verify(restored, leaves))
  return restored


def restore_numpy(step_path: epath.Path, item: str) -> Any:
  """Restores a verified tree of a step as numpy arrays, of any structure.

  Args:
    step_path: Folder of a committed step.
    item: Name of the tree.

  Raises:
    DamagedError: The step differs from its digests or cannot be read.
  """

  def read():
    handler = ocp.PyTreeCheckpointHandler()
    as_numpy = jax.tree.map(
      lambda _: ocp.RestoreArgs(restore_type=np.ndarray),
      handler.metadata(step_path / item).tree,
    )
    return handler.restore(
      step_path / item, args=ocp.args.PyTreeRestore(restore_args=as_numpy)
    )

  leaves = _together(lambda: _stored_leaves(step_path, (item,)))
  tree = _together(read)
  _together(lambda: _verify({item: tree}, leaves))
  return tree


def verify(step_path: epath.Path) -> None:
  """Reads a whole step; raises DamagedError if it differs from its digests."""
  for item in ('variables', 'optimizer'):
    restore_numpy(step_path, item)


def facts(step_path: epath.Path) -> dict[str, Any]:
  """Reads the facts of a step; raises DamagedError if they are unreadable."""
  return _together(lambda: _read_facts(step_path))


def _read_facts(step_path):
  return json.loads((step_path / INFO / 'metadata').read_text())


def _stored_leaves(
  step_path: epath.Path, items: tuple[str, ...]
) -> dict[str, digests.Leaf]:
  """Returns the leaves of a step, without regions if it has no digests."""
  if _has_digests(step_path):
    leaves = digests.read(step_path)
    return {p: x for p, x in leaves.items() if p.partition('/')[0] in items}
  logging.warning(
    '%s was written without digests: damage in it cannot be seen.', step_path
  )
  handler = ocp.PyTreeCheckpointHandler()
  return digests.describe(
    {name: handler.metadata(step_path / name).tree for name in items}
  )


def _has_digests(step_path: epath.Path) -> bool:
  """Whether the step has digests, or lost those it was written with."""
  if (step_path / digests.ITEM).exists():
    return True
  return digests.ITEM in _read_facts(step_path)


def _verify(tree: Any, leaves: Mapping[str, digests.Leaf]) -> None:
  if any(leaf.regions for leaf in leaves.values()):
    differences = digests.differences(tree, leaves)
    if differences:
      raise DamagedError(_listed(differences))


def _refuse_other_structure(step_path, leaves, wanted) -> None:
  """Raises CheckpointError if a step is of another model or optimiser."""
  shapes = {p: (x.shape, x.dtype) for p, x in leaves.items()}
  complaints = {
    'missing from it': [p for p in wanted if p not in leaves],
    'unknown to this model': [p for p in leaves if p not in wanted],
    'of another shape or dtype': [
      f'{p} ({leaves[p]}, wanted {leaf})'
      for p, leaf in wanted.items()
      if shapes.get(p, (leaf.shape, leaf.dtype)) != (leaf.shape, leaf.dtype)
    ],
  }
  if any(complaints.values()):
    raise CheckpointError(
      f'{step_path} does not fit this model and optimiser; train into a new'
      ' MODEL_DIR (loop.train.warm_start keeps the weights that fit) or restore'
      ' the config that wrote it.'
      + ''.join(
        f'\n  {len(paths)} leaves are {how}: {_listed(paths)}'
        for how, paths in complaints.items()
        if paths
      )
    )


def _together(read: Callable[[], T]) -> T:
  """Returns what `read` returns, once it succeeded on every process.

  Raises:
    DamagedError: It raised on some process an error that damage explains.
  """
  result: Any = None
  cause: Exception | None = None
  try:
    result = read()
  except (MemoryError, PermissionError, jax.errors.JaxRuntimeError):
    raise
  except Exception as e:
    if any(status in str(e) for status in _UNREACHABLE):
      raise
    cause = e
  succeeded = np.asarray(cause is None)
  if jax.process_count() > 1:
    succeeded = multihost_utils.process_allgather(succeeded)
  if not np.all(succeeded):
    text = one_line(cause) if cause else 'another process could not read it'
    raise DamagedError(text) from cause
  return result


def _listed(names: list[str]) -> str:
  more = len(names) - _MAX_LISTED
  return ', '.join(names[:_MAX_LISTED]) + (f' and {more} more' * (more > 0))


def one_line(e: Exception) -> str:
  """Shortens the message of an error to one line."""
  text = ' '.join(str(e).split())
  kind = '' if isinstance(e, DamagedError) else f'{type(e).__name__}: '
  # Beginning and end say what failed and why; paths are in between.
  return kind + (text if len(text) < 400 else f'{text[:200]} ... {text[-200:]}')
