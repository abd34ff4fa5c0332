"""Numbers that lie on a disk while they are worked at, not in memory."""

import os
import pathlib
import tempfile

import numpy as np

from v2meow_jax.files import full_disk
from v2meow_jax.files import paths


def folder(output: pathlib.Path) -> pathlib.Path:
  """The folder of an output; of one in a bucket, that of temporary files."""
  if paths.is_remote(output):
    return pathlib.Path(tempfile.gettempdir())
  return output.parent


def zeros(folder: str | os.PathLike, num: int) -> np.ndarray:
  """Zeros in a file without a name, which is gone when nobody holds them.

  Args:
    folder: Folder of this machine, on whose disk they lie.
    num: Number of them, 1 or more.

  Returns:
    float32[num], a `np.memmap`.

  Raises:
    OSError: The disk has no room for them.
  """
  num_bytes = 4 * num
  full_disk.check(os.path.join(folder, 'samples'), num_bytes)
  with tempfile.TemporaryFile(dir=folder) as file:
    if hasattr(os, 'posix_fallocate'):
      # Writing to a map of what the disk cannot hold kills the process.
      os.posix_fallocate(file.fileno(), 0, num_bytes)
    else:
      file.truncate(num_bytes)
    return np.memmap(file, np.float32, 'r+', shape=(num,))
