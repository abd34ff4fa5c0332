"""Where long work is kept: tensors in one file, whole or not at all."""

from __future__ import annotations

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
# Of a damaged file, or of one whose metadata are of another form.
_UNREADABLE = (
  safetensors.SafetensorError,
  OSError,
  KeyError,
  TypeError,
  ValueError,
  AttributeError,
)


class SnapshotError(ValueError):
  """A file of kept work is damaged, or it is of other work."""


def write(
  path: pathlib.Path,
  tensors: Mapping[str, np.ndarray],
  *,
  identity: Mapping[str, Any],
  progress: Mapping[str, Any],
) -> None:
  """Replaces a file; whoever stops in between leaves the one before.

  Args:
    path: Of the safetensors file; its folder is made.
    tensors: By name.
    identity: JSON data that tells this work from other work: sizes, seed.
    progress: JSON data of how far it got.
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
  """What `write` kept.

  Args:
    path: Of the file.
    identity: Of the work that is to go on.

  Returns:
    Its tensors and its progress; None: there is no such file.

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
    found, progress = about['identity'], about['progress']
  except _UNREADABLE as e:
    raise _damaged(path, repr(e)) from e
  if not is_whole:
    raise _damaged(path, 'its content is not what its digest says')
  wanted = json.loads(json.dumps(dict(identity)))
  differing = sorted(
    k for k in {*found, *wanted} if found.get(k) != wanted.get(k)
  )
  if differing:
    what = ', '.join(
      f'{k} {found.get(k)!r} (wanted {wanted.get(k)!r})' for k in differing
    )
    raise SnapshotError(
      f'{path} is of other work: it has {what}. Ask for what it has, or remove'
      ' it to begin anew.'
    )
  return tensors, progress


def _damaged(path: pathlib.Path, why: str) -> SnapshotError:
  return SnapshotError(
    f'{path} is damaged or another kind of file ({why}); remove it to begin'
    ' anew.'
  )


def _digest(tensors: Mapping[str, np.ndarray], about: Mapping[str, Any]) -> str:
  """Hex digest of names, shapes, numbers and of what is said about them."""
  digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
  for name, tensor in sorted(tensors.items()):
    digest.update(f'{name} {tensor.dtype} {tensor.shape};'.encode())
    digest.update(tensor.tobytes())
  return digest.hexdigest()
