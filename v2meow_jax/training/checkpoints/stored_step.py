"""Reads one step of a checkpoint and verifies it against its digests."""

from collections.abc import Callable
from collections.abc import Mapping
import errno
import json
import os
import re
import time
from typing import Any
from typing import TypeVar

from absl import logging
from etils import epath
import jax
import numpy as np
import orbax.checkpoint as ocp

from v2meow_jax.files import paths
from v2meow_jax.training import distributed
from v2meow_jax.training.checkpoints import digests

INFO = 'info'

_MAX_LISTED = 10
# File that orbax writes last into a step in a bucket.
_COMMITTED = 'commit_success.txt'
# Schemes that other files are read from and written to.
_NOT_BY_ORBAX = ('s3://',)
# Status codes of unreachable storage, no reason to set a step aside.
_UNREACHABLE = (
  'DEADLINE_EXCEEDED',
  'PERMISSION_DENIED',
  'RESOURCE_EXHAUSTED',
  'UNAUTHENTICATED',
  'UNAVAILABLE',
)
# As TensorStore quotes the number of an operating system's error.
_OS_ERROR = re.compile(r"(?:OS error |os_error_code=')(\d+)")
# Errors of a file that is not there, which damage explains; no other does.
_GONE = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR)
# Waits before each further attempt to read.
RETRY_SECONDS = (0.1, 1.0, 5.0, 20.0)

T = TypeVar('T')


class CheckpointError(ValueError):
  """A checkpoint is missing, damaged or of another model."""


class DamagedError(CheckpointError):
  """A step differs from its digests or cannot be parsed."""


class UnreadableError(CheckpointError):
  """The storage gave no answer; the step may well be undamaged."""


def absolute(path: epath.PathLike) -> epath.Path:
  """Makes a path absolute for orbax; keeps one with a scheme, such as gs://.

  Raises:
    CheckpointError: Orbax cannot keep checkpoints there.
  """
  given = os.fspath(path)
  if given.startswith(_NOT_BY_ORBAX):
    raise CheckpointError(
      f'MODEL_DIR is {given}, and Orbax keeps no checkpoints in s3://; name a'
      ' folder of this machine or of a shared disk, and copy it when the run is'
      f' over (aws s3 sync FOLDER {given}), or one in gs://.'
    )
  return epath.Path(paths.absolute(path))


def committed(path: epath.Path) -> list[int]:
  """Returns the steps of a folder that were saved completely.

  All processes call this together. A folder that cannot be listed is not taken
  for an empty one.

  Raises:
    UnreadableError: The storage gave no answer.
  """
  return _together(lambda: _committed(path), path)


def _committed(path):
  # A rename commits a step. Orbax would leave out one that it cannot look at.
  if not paths.is_remote(path):
    try:
      return [int(name) for name in os.listdir(path) if name.isdigit()]
    except FileNotFoundError:
      return []
  return [int(step.name) for step in steps_in_bucket(path, are_committed=True)]


def steps_in_bucket(
  path: epath.Path, *, are_committed: bool
) -> list[epath.Path]:
  """Returns the folders of steps in a bucket, with their marker or without.

  A bucket renames no folder: orbax commits a step by a file written last.
  """
  steps = (
    [p for p in path.iterdir() if p.name.isdigit()] if path.exists() else []
  )
  return [p for p in steps if (p / _COMMITTED).exists() == are_committed]


def restore(step_path: epath.Path, like: Mapping[str, Any]) -> dict[str, Any]:
  """Restores verified trees of a step with the given shardings.

  All processes call this together, and all return or all raise.

  Args:
    step_path: Folder of a committed step.
    like: {item: tree of arrays or ShapeDtypeStructs, with shardings}.

  Returns:
    {item: tree}.

  Raises:
    DamagedError: The step differs from its digests or cannot be parsed.
    UnreadableError: The storage gave no answer.
    CheckpointError: The step is of another model or optimiser.
  """
  leaves = _together(lambda: _stored_leaves(step_path, tuple(like)), step_path)
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
    },
    step_path,
  )
  _together(lambda: _verify(restored, leaves), step_path, retried=False)
  return restored


def restore_numpy(
  step_path: epath.Path, item: str, *, alone: bool = False
) -> Any:
  """Restores a verified tree of a step as numpy arrays, of any structure.

  Args:
    step_path: Folder of a committed step.
    item: Name of the tree.
    alone: Whether this process reads without the others.

  Raises:
    DamagedError: The step differs from its digests or cannot be parsed.
    UnreadableError: The storage gave no answer.
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

  agreed = _here if alone else _together
  leaves = agreed(lambda: _stored_leaves(step_path, (item,)), step_path)
  tree = agreed(read, step_path)
  agreed(lambda: _verify({item: tree}, leaves), step_path, retried=False)
  return tree


def verify(step_path: epath.Path) -> None:
  """Reads a whole step in this process, which waits for no other.

  Raises:
    DamagedError: The step differs from its digests or cannot be parsed.
    UnreadableError: The storage gave no answer.
  """
  for item in ('variables', 'optimizer'):
    restore_numpy(step_path, item, alone=True)


def facts(step_path: epath.Path) -> dict[str, Any]:
  """Reads the facts of a step; raises DamagedError if they are unreadable."""
  return _together(lambda: _read_facts(step_path), step_path)


def _read_facts(step_path):
  return json.loads((step_path / INFO / 'metadata').read_bytes())


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


def _together(
  read: Callable[[], T], path: epath.Path, retried: bool = True
) -> T:
  """Returns what `read` returns, once it succeeded on every process.

  Args:
    read: Function that reads a step.
    path: Folder that it reads.
    retried: Whether to try again; not what several processes do together.

  Raises:
    DamagedError: On some process it raised, twice, what damage explains.
    UnreadableError: On some process the storage gave no answer, to the last.
  """
  result, cause = _attempted(read, path, retried)
  severity = 0 if cause is None else 2 - isinstance(cause, DamagedError)
  worst = distributed.worst(severity)
  if cause is not None and severity == worst:
    raise cause
  if worst:
    error = UnreadableError if worst > 1 else DamagedError
    raise error('another process could not read it') from cause
  return result


def _here(read: Callable[[], T], path: epath.Path, retried: bool = True) -> T:
  """Like `_together`, without the other processes."""
  result, cause = _attempted(read, path, retried)
  if cause is not None:
    raise cause
  return result


def _attempted(
  read: Callable[[], T], path: epath.Path, retried: bool
) -> tuple[Any, BaseException | None]:
  """Returns what `read` returns, or else what it raises to the last."""
  result: Any = None
  cause: BaseException | None = None
  for delay in (*(RETRY_SECONDS if retried else ()), None):
    try:
      result, cause = read(), None
      break
    except BaseException as e:  # Raised again once the others know.
      was_damaged = isinstance(cause, DamagedError)
      cause = _judged(e, path if retried else None)
    if delay is None or (was_damaged and isinstance(cause, DamagedError)):
      break
    if not isinstance(cause, (DamagedError, UnreadableError)):
      break
    logging.warning('Reading again in %g s: %s', delay, cause)
    time.sleep(delay)
  return result, cause


def _judged(e: BaseException, path: epath.Path | None) -> BaseException:
  """Classifies an error as damage or as storage without an answer.

  Libraries take a file that they cannot look at for one that is not there, so
  damage is believed only where every file can be read.

  Args:
    e: Error of reading a step; what is neither comes back as it is.
    path: Folder of the step; None for values that were read.
  """
  if isinstance(e, CheckpointError) or not isinstance(e, Exception):
    return e
  if isinstance(e, (MemoryError, PermissionError, jax.errors.JaxRuntimeError)):
    return e
  chain = [e]
  while chain[-1].__cause__ or chain[-1].__context__:
    chain.append(chain[-1].__cause__ or chain[-1].__context__)
  is_passing = any(
    isinstance(x, (TimeoutError, ConnectionError))
    or (isinstance(x, OSError) and x.errno not in (None, *_GONE))
    or paths.is_of_storage(x)
    for x in chain
  )
  text = ' '.join(map(str, chain))
  numbers = {int(n) for n in _OS_ERROR.findall(text)}
  is_passing |= bool(numbers.difference(_GONE))
  is_passing |= any(status in text for status in _UNREACHABLE)
  if not is_passing and path is not None:
    try:
      _read_all(path)
    except OSError as other:
      is_passing = other.errno not in _GONE
  judged = (UnreadableError if is_passing else DamagedError)(one_line(e))
  judged.__cause__ = e
  return judged


def _read_all(path: epath.Path) -> None:
  """Reads every file of a local folder; raises OSError if one cannot be read."""

  def fail(error: OSError):
    raise error

  if not paths.is_remote(path):
    for folder, _, files in os.walk(path, onerror=fail):
      for name in files:
        with open(os.path.join(folder, name), 'rb') as f:
          while f.read(1 << 20):
            pass


def _listed(names: list[str]) -> str:
  more = len(names) - _MAX_LISTED
  return ', '.join(names[:_MAX_LISTED]) + (f' and {more} more' * (more > 0))


def one_line(e: Exception) -> str:
  """Shortens the message of an error to one line."""
  text = ' '.join(str(e).split())
  kind = '' if isinstance(e, DamagedError) else f'{type(e).__name__}: '
  # Beginning and end say what failed and why; paths are in between.
  return kind + (text if len(text) < 400 else f'{text[:200]} ... {text[-200:]}')
