"""Numbers that lie on a disk while they are worked at, not in memory."""

from collections.abc import Callable
import functools
import os
import pathlib
import tempfile

import numpy as np
import numpy.typing as npt

from v2meow_jax.files import full_disk
from v2meow_jax.files import paths

# ours: numbers of a minute are 4 MB at 16 kHz.
_MEMORY_SECONDS = 60.0


def folder(output: pathlib.Path) -> pathlib.Path:
  """The folder of an output; of one in a bucket, that of temporary files."""
  if paths.is_remote(output):
    return pathlib.Path(tempfile.gettempdir())
  return output.parent


def in_memory(num: int, dtype: npt.DTypeLike = np.float32) -> np.ndarray:
  """So many zeros in memory, dtype[num]."""
  return np.zeros(num, dtype)


def room(
  folder: str | os.PathLike[str] | None,
  seconds: float,
  dtype: npt.DTypeLike = np.float32,
) -> Callable[[int], np.ndarray]:
  """Makes room for numbers about a clip, on a disk for those of a film.

  Args:
    folder: Folder of this machine, on whose disk numbers about more than a minute
      lie; None: all are in memory.
    seconds: Length of the clip, in seconds.
    dtype: Type of the numbers.

  Returns:
    Function that gives so many zeros, dtype[num].
  """
  if folder is None or seconds <= _MEMORY_SECONDS:
    return functools.partial(in_memory, dtype=dtype)
  return functools.partial(zeros, folder, dtype=dtype)


def zeros(
  folder: str | os.PathLike, num: int, dtype: npt.DTypeLike = np.float32
) -> np.ndarray:
  """Zeros in a file without a name, which is gone when nobody holds them.

  Args:
    folder: Folder of this machine, on whose disk they lie.
    num: Number of them, 1 or more.
    dtype: Type of the numbers.

  Returns:
    dtype[num], a `np.memmap`.

  Raises:
    OSError: The disk has no room for them.
  """
  num_bytes = np.dtype(dtype).itemsize * num
  full_disk.check(os.path.join(folder, 'samples'), num_bytes)
  with tempfile.TemporaryFile(dir=folder) as file:
    if hasattr(os, 'posix_fallocate'):
      # Writing to a map of what the disk cannot hold kills the process.
      os.posix_fallocate(file.fileno(), 0, num_bytes)
    else:
      file.truncate(num_bytes)
    return np.memmap(file, dtype, 'r+', shape=(num,))
