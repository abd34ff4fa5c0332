"""Tensors of a published file, each taken by its name and with its shape."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np


class Tensors:
  """What a file of weights holds, and what to say when it is another file."""

  def __init__(self, tensors: Mapping[str, Any], wanted: str):
    """Wraps tensors.

    Args:
      tensors: By name.
      wanted: What the file should be, for errors.
    """
    self._tensors = tensors
    self._wanted = wanted

  def has(self, prefix: str) -> bool:
    """Whether a name begins with `prefix`."""
    return any(name.startswith(prefix) for name in self._tensors)

  def take(self, name: str, *shape: int) -> np.ndarray:
    """One tensor as float32; ValueError unless it is there, so, and finite."""
    if name not in self._tensors:
      some = ', '.join(sorted(self._tensors)[:3])
      raise ValueError(
        f'the weights have no {name!r} among their {len(self._tensors)} tensors'
        f' ({some}, ...); wanted {self._wanted}.'
      )
    found = np.asarray(self._tensors[name])
    if found.shape != shape:
      raise ValueError(
        f'{name!r} of the weights has shape {found.shape}, wanted {shape}: it'
        f' is not {self._wanted}, or not of the configured sizes.'
      )
    found = found.astype(np.float32)
    if not np.isfinite(found).all():
      raise ValueError(f'{name!r} of the weights is not finite; get it again.')
    return found


def flat(tree: Mapping[str, Any], prefix: str = '') -> dict[str, Any]:
  """{'a': {'b': x}} -> {'a/b': x}."""
  found = {}
  for name, value in tree.items():
    path = f'{prefix}{name}'
    if isinstance(value, Mapping):
      found |= flat(value, f'{path}/')
    else:
      found[path] = value
  return found
