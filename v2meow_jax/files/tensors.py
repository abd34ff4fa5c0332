"""Reads and writes trees of arrays as safetensors."""

from collections.abc import Mapping
import os
from typing import Any

from etils import epath
import numpy as np
from safetensors import numpy as safetensors_numpy

from v2meow_jax.files import atomic
from v2meow_jax.files import copies


def flatten(tree: Mapping[str, Any], prefix: str = '') -> dict[str, np.ndarray]:
  """Turns nested dicts of arrays into {'a/b': array}."""
  flat = {}
  for key, value in tree.items():
    if isinstance(value, Mapping):
      flat.update(flatten(value, f'{prefix}{key}/'))
    else:
      flat[f'{prefix}{key}'] = np.asarray(value)
  return flat


def unflatten(flat: Mapping[str, np.ndarray]) -> dict[str, Any]:
  """Inverts `flatten`."""
  tree: dict[str, Any] = {}
  for name, value in flat.items():
    *parents, leaf = name.split('/')
    node = tree
    for parent in parents:
      node = node.setdefault(parent, {})
    node[leaf] = value
  return tree


def write(
  path: epath.PathLike,
  tree: Mapping[str, Any],
  dtype: str | None = None,
  metadata: Mapping[str, str] | None = None,
) -> None:
  """Writes a tree, whole or not at all; floats become `dtype` unless None."""
  # Not ascontiguousarray, which turns a scalar into a vector.
  flat = {k: np.array(v, order='C') for k, v in flatten(tree).items()}
  if dtype:
    flat = {
      k: v.astype(dtype) if np.issubdtype(v.dtype, np.floating) else v
      for k, v in flat.items()
    }
  with atomic.replacing(path) as temp:
    safetensors_numpy.save_file(
      flat, temp, dict(metadata) if metadata else None
    )
    os.chmod(temp, 0o644)  # It lets nobody else read them.


def read(path: epath.PathLike) -> dict[str, Any]:
  """Reads a tree; half precision becomes float32."""
  with copies.held(path) as file:
    flat = safetensors_numpy.load_file(file)
  return unflatten(
    {
      k: v.astype(np.float32) if v.dtype == np.float16 else v
      for k, v in flat.items()
    }
  )
