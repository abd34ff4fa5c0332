"""Reads and writes trees of arrays as safetensors."""

from collections.abc import Mapping
import pathlib
from typing import Any

import numpy as np
from safetensors import numpy as safetensors_numpy


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
  path: pathlib.Path,
  tree: Mapping[str, Any],
  dtype: str | None = None,
  metadata: Mapping[str, str] | None = None,
) -> None:
  """Writes a tree; floats become `dtype`, unless it is None."""
  # Not ascontiguousarray, which turns a scalar into a vector.
  flat = {k: np.array(v, order='C') for k, v in flatten(tree).items()}
  if dtype:
    flat = {
      k: v.astype(dtype) if np.issubdtype(v.dtype, np.floating) else v
      for k, v in flat.items()
    }
  safetensors_numpy.save_file(flat, path, dict(metadata) if metadata else None)


def read(path: pathlib.Path) -> dict[str, Any]:
  """Reads a tree; half precision becomes float32."""
  return unflatten(
    {
      k: v.astype(np.float32) if v.dtype == np.float16 else v
      for k, v in safetensors_numpy.load_file(path).items()
    }
  )
