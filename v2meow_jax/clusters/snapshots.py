"""Saves progress of long work as tensors in one file, whole or not at all."""

from collections.abc import Mapping
import hashlib
import json
import pathlib
from typing import Any

import numpy as np
import safetensors
from safetensors import numpy as safetensors_numpy

from v2meow_jax.files import atomic

_FORMAT = 1
_KEY = 'snapshot'
# Errors of a damaged file, or of one with metadata of another form.
_UNREADABLE = (
  safetensors.SafetensorError,
  OSError,
  KeyError,
  TypeError,
  ValueError,
  AttributeError,
)


class SnapshotError(ValueError):
  """A snapshot is damaged or of other work."""


def write(
  path: pathlib.Path,
  tensors: Mapping[str, np.ndarray],
  *,
  identity: Mapping[str, Any],
  progress: Mapping[str, Any],
) -> None:
  """Replaces a snapshot; an interruption leaves the one before.

  Args:
    path: Path of the safetensors file; its folder is created.
    tensors: Tensors by name.
    identity: JSON data that identify this work, such as sizes and seed.
    progress: JSON data on the progress so far.
  """
  tensors = {k: np.array(v, order='C') for k, v in tensors.items()}
  about = {
    'format': _FORMAT,
    'identity': dict(identity),
    'progress': dict(progress),
  }
  about['sha256'] = _digest(tensors, about)
  path.parent.mkdir(parents=True, exist_ok=True)
  with atomic.replacing(path) as partial:
    content = safetensors_numpy.save(tensors, {_KEY: json.dumps(about)})
    pathlib.Path(partial).write_bytes(content)


def read(
  path: pathlib.Path, *, identity: Mapping[str, Any]
) -> tuple[dict[str, np.ndarray], dict[str, Any]] | None:
  """Reads a snapshot.

  Args:
    path: Path of the file.
    identity: Identity of the work to resume.

  Returns:
    Tensors and progress; None if there is no such file.

  Raises:
    SnapshotError: The file is damaged, or of work with another identity.
  """
  if not path.exists():
    return None
  try:
    with safetensors.safe_open(str(path), 'numpy') as opened:
      about = json.loads((opened.metadata() or {})[_KEY])
      tensors = {name: opened.get_tensor(name) for name in opened.keys()}
    digest, is_whole = about.pop('sha256'), about['format'] == _FORMAT
    is_whole = is_whole and digest == _digest(tensors, about)
    theirs, progress = about['identity'], about['progress']
  except _UNREADABLE as e:
    raise _damaged(path, repr(e)) from e
  if not is_whole:
    raise _damaged(path, 'its content does not match its digest')
  wanted = json.loads(json.dumps(dict(identity)))
  differing = sorted(
    k for k in {*theirs, *wanted} if theirs.get(k) != wanted.get(k)
  )
  if differing:
    values = ', '.join(
      f'{k} {theirs.get(k)!r} (wanted {wanted.get(k)!r})' for k in differing
    )
    raise SnapshotError(
      f'{path} is of other work: it has {values}. Choose the same values, or'
      ' remove it to start again.'
    )
  return tensors, progress


def _damaged(path: pathlib.Path, why: str) -> SnapshotError:
  return SnapshotError(
    f'{path} is damaged or another kind of file ({why}); remove it to start'
    ' again.'
  )


def _digest(tensors: Mapping[str, np.ndarray], about: Mapping[str, Any]) -> str:
  """Hex SHA-256 of names, dtypes, shapes, numbers and metadata."""
  digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
  for name, tensor in sorted(tensors.items()):
    digest.update(f'{name} {tensor.dtype} {tensor.shape};'.encode())
    digest.update(tensor.tobytes())
  return digest.hexdigest()
