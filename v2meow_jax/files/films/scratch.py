"""Numbers that lie on a disk while they are worked at, not in memory."""

from collections.abc import Callable
from collections.abc import Iterable
import functools
import math
import os
import pathlib
import tempfile

import numpy as np
import numpy.typing as npt

from v2meow_jax.files import full_disk
from v2meow_jax.files import paths

# Makes an array of zeros of a shape and type, float32 unless one is named.
Room = Callable[..., np.ndarray]

# ours: numbers of a minute are 4 MB at 16 kHz.
_MEMORY_SECONDS = 60.0


def folder(output: pathlib.Path) -> pathlib.Path:
  """The folder of an output; of one in a bucket, that of temporary files."""
  if paths.is_remote(output):
    return pathlib.Path(tempfile.gettempdir())
  return output.parent


def in_memory(
  shape: int | tuple[int, ...], dtype: npt.DTypeLike = np.float32
) -> np.ndarray:
  """Zeros in memory, dtype[shape]."""
  return np.zeros(shape, dtype)


def room(folder: str | os.PathLike[str] | None, seconds: float) -> Room:
  """Makes room for numbers about a clip, on a disk for those of a film.

  Args:
    folder: Folder of this machine, on whose disk numbers about more than a minute
      lie; None: all are in memory.
    seconds: Length of the clip, in seconds.

  Returns:
    Function that gives zeros of a shape and type.
  """
  if folder is None or seconds <= _MEMORY_SECONDS:
    return in_memory
  return functools.partial(zeros, folder)


def check(
  folder: str | os.PathLike[str] | None,
  clips_seconds: Iterable[float],
  bytes_per_second: float,
) -> None:
  """Raises OSError when a disk has no room for what lies there of films.

  Arguments are those of `room`, of all clips that are worked at together, and how
  much there is of a second.
  """
  films = [s for s in clips_seconds if s > _MEMORY_SECONDS]
  if folder is not None and films:
    num_bytes = round(sum(films) * bytes_per_second)
    full_disk.check(os.path.join(folder, ''), num_bytes)


def zeros(
  folder: str | os.PathLike,
  shape: int | tuple[int, ...],
  dtype: npt.DTypeLike = np.float32,
) -> np.ndarray:
  """Zeros in a file without a name, which is gone when nobody holds them.

  Args:
    folder: Folder of this machine, on whose disk they lie.
    shape: Number of them, 1 or more, or of each axis.
    dtype: Type of the numbers.

  Returns:
    dtype[shape], a `np.memmap`.

  Raises:
    OSError: The disk has no room for them.
  """
  num_bytes = np.dtype(dtype).itemsize * math.prod(
    np.atleast_1d(shape).tolist()
  )
  full_disk.check(os.path.join(folder, ''), num_bytes)
  with tempfile.TemporaryFile(dir=folder) as file:
    if hasattr(os, 'posix_fallocate'):
      # Writing to a map of what the disk cannot hold kills the process.
      os.posix_fallocate(file.fileno(), 0, num_bytes)
    else:
      file.truncate(num_bytes)
    return np.memmap(file, dtype, 'r+', shape=shape)
