"""Reads one step of a checkpoint, and knows whether it is as it was written."""

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
# What storage that cannot be reached says; no reason to set a step aside.
_UNREACHABLE = (
  'DEADLINE_EXCEEDED',
  'PERMISSION_DENIED',
  'RESOURCE_EXHAUSTED',
  'UNAUTHENTICATED',
  'UNAVAILABLE',
)

T = TypeVar('T')


class CheckpointError(ValueError):
  """A checkpoint is missing, damaged, or not what is to be restored."""


class DamagedError(CheckpointError):
  """A step does not read as it was written."""


def absolute(path: epath.PathLike) -> epath.Path:
  """As orbax wants a path; one with a scheme, such as gs://, is so already."""
  path = epath.Path(path)
  return path if '://' in str(path) else path.resolve()


def committed(path: epath.Path) -> list[int]:
  """The steps of a folder that were saved to the end."""
  return ocp.utils.checkpoint_steps(path) if path.exists() else []


def restore(step_path: epath.Path, like: Mapping[str, Any]) -> dict[str, Any]:
  """The trees of a step, laid out as asked, each leaf as it was written.

  All processes call this together, and all return or all raise.

  Args:
    step_path: Of a committed step.
    like: {item: tree of arrays or ShapeDtypeStructs, with shardings}.

  Returns:
    {item: tree}.

  Raises:
    DamagedError: The step does not read as it was written.
    CheckpointError: It is of another model or optimiser.
  """
  saved = _together(lambda: _saved_leaves(step_path, tuple(like)))
  _refuse_other_structure(step_path, saved, digests.describe(like))
  handler = ocp.StandardCheckpointHandler()
  # The handler alone: a checkpointer would wait for processes that failed.
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
  _together(lambda: _verify(restored, saved))
  return restored


def restore_numpy(step_path: epath.Path, item: str) -> Any:
  """A tree of a step as numpy arrays, whatever its structure.

  Args:
    step_path: Of a committed step.
    item: Its name.

  Returns:
    The tree.

  Raises:
    DamagedError: The step does not read as it was written.
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

  saved = _together(lambda: _saved_leaves(step_path, (item,)))
  tree = _together(read)
  _together(lambda: _verify({item: tree}, saved))
  return tree


def verify(step_path: epath.Path) -> None:
  """Reads a step whole; raises DamagedError unless it is as it was written."""
  for item in ('variables', 'optimizer'):
    restore_numpy(step_path, item)


def facts(step_path: epath.Path) -> dict[str, Any]:
  """What was told when a step was saved; DamagedError when it is unreadable."""
  return _together(lambda: _read_facts(step_path))


def _read_facts(step_path):
  return json.loads((step_path / INFO / 'metadata').read_text())


def _saved_leaves(
  step_path: epath.Path, items: tuple[str, ...]
) -> dict[str, digests.Leaf]:
  """The leaves of a step, with regions unless it was written without digests."""
  if _has_digests(step_path):
    saved = digests.read(step_path)
    return {p: x for p, x in saved.items() if p.partition('/')[0] in items}
  logging.warning(
    '%s was written without digests: damage in it cannot be seen.', step_path
  )
  handler = ocp.PyTreeCheckpointHandler()
  return digests.describe(
    {name: handler.metadata(step_path / name).tree for name in items}
  )


def _has_digests(step_path: epath.Path) -> bool:
  """False only when what wrote the step knew of none."""
  if (step_path / digests.ITEM).exists():
    return True
  return digests.ITEM in _read_facts(step_path)


def _verify(tree: Any, saved: Mapping[str, digests.Leaf]) -> None:
  if any(leaf.regions for leaf in saved.values()):
    found = digests.differences(tree, saved)
    if found:
      raise DamagedError(_listed(found))


def _refuse_other_structure(step_path, saved, wanted) -> None:
  """Raises when a step is of another model or optimiser."""
  shapes = {p: (x.shape, x.dtype) for p, x in saved.items()}
  complaints = {
    'missing from it': [p for p in wanted if p not in saved],
    'unknown to this model': [p for p in saved if p not in wanted],
    'of another shape or dtype': [
      f'{p} ({saved[p]}, wanted {leaf})'
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
  """What `read` returns, once it returned on every process.

  Raises:
    DamagedError: On any process it raised something that damage explains.
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
  fine = np.asarray(cause is None)
  if jax.process_count() > 1:
    fine = multihost_utils.process_allgather(fine)
  if not np.all(fine):
    where = 'another process could not read it'
    raise DamagedError(one_line(cause) if cause else where) from cause
  return result


def _listed(names: list[str]) -> str:
  more = len(names) - _MAX_LISTED
  return ', '.join(names[:_MAX_LISTED]) + (f' and {more} more' * (more > 0))


def one_line(e: Exception) -> str:
  """What an error says, for a log."""
  text = ' '.join(str(e).split())
  kind = '' if isinstance(e, DamagedError) else f'{type(e).__name__}: '
  # Its ends say what was done and why that failed; paths lie between.
  return kind + (text if len(text) < 400 else f'{text[:200]} ... {text[-200:]}')
