"""Caches arrays on disk by everything that they depend on."""

from collections.abc import Callable
from collections.abc import Mapping
import hashlib
import io
import json
import os
import pathlib
from typing import Any
import zipfile

from absl import logging
import numpy as np

from v2meow_jax.files import atomic
from v2meow_jax.files import paths

Arrays = dict[str, np.ndarray]


class FeatureCache:
  """A folder of .npz files named by the digest of a key.

  A key names the computation, its version and the digest of its input, never
  file names. Files appear whole or not at all, nothing in them is unpickled,
  and one that cannot be read is computed again.

  Attributes:
    num_computed: Number of computations, of keys not in the cache.
  """

  def __init__(self, folder: str | os.PathLike):
    """Makes no folder before the first array is written."""
    self._folder = paths.path(folder)
    self.num_computed = 0

  def get(
    self, key: Mapping[str, Any], compute: Callable[[], Arrays]
  ) -> Arrays:
    """Returns the arrays of a key, computing them if needed.

    Args:
      key: Everything that the arrays depend on, as json.
      compute: Function that returns arrays of numbers by name.

    Returns:
      The arrays.
    """
    text = json.dumps(key, sort_keys=True, allow_nan=False)
    digest = hashlib.sha256(text.encode()).hexdigest()
    path = self._folder / digest[:2] / f'{digest}.npz'
    arrays = _read(path)
    if arrays is not None:
      return arrays
    self.num_computed += 1
    arrays = compute()
    try:
      _write(path, arrays)
    except OSError as e:
      # The arrays are good without a cache.
      logging.log_first_n(
        logging.WARNING, '%s is not cached, nor others perhaps: %s', 1, path, e
      )
    return arrays


def _write(path: pathlib.Path, arrays: Arrays) -> None:
  path.parent.mkdir(parents=True, exist_ok=True)
  with atomic.replacing(path) as part:
    # The names of arrays are ours, so none is an argument of savez.
    np.savez(part, allow_pickle=False, **arrays)


def _read(path: pathlib.Path) -> Arrays | None:
  try:
    content = io.BytesIO(path.read_bytes())
    with np.load(content, allow_pickle=False) as file:
      return {name: file[name] for name in file.files}
  except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile):
    return None
