"""Says of a full disk what did not fit, how much is needed and what is free."""

from collections.abc import Iterator
import contextlib
import errno
import os
import pathlib
import shutil
import tempfile

from v2meow_jax.files import paths

_ERRORS = (errno.ENOSPC, errno.EDQUOT)


class FullDiskError(OSError):
  """Says which file did not fit, how much is needed and what is free."""


@contextlib.contextmanager
def naming(
  target: str | os.PathLike, partial: str | os.PathLike
) -> Iterator[None]:
  """Names a target when there is no room for the file that will become it.

  Args:
    target: File or folder that the user knows, here or in a bucket.
    partial: File or folder of this machine that the block writes to.

  Raises:
    OSError: The block failed because a disk is full.
  """
  try:
    yield
  except Exception as e:
    if not is_of_full_disk(e):
      raise
    if isinstance(e, FullDiskError) and e.filename == os.fspath(partial):
      # What became the partial file is gone, and with it its size.
      raise FullDiskError(e.errno, e.strerror, os.fspath(target)) from e
    needed = max(_size(pathlib.Path(partial)), _free(partial))
    raise _error(target, partial, f'over {_megabytes(needed)}') from e


def check(path: str | os.PathLike, num_bytes: int) -> None:
  """Raises OSError when a file to be written is larger than what is free.

  Args:
    path: File to write; its folder must exist.
    num_bytes: Estimate of its size.
  """
  if _free(path) < num_bytes:
    raise _error(path, path, f'about {_megabytes(num_bytes)}')


def _error(
  target: str | os.PathLike, partial: str | os.PathLike, needed: str
) -> FullDiskError:
  return FullDiskError(
    errno.ENOSPC,
    f'the disk is full: {needed} are needed and {_megabytes(_free(partial))}'
    ' are free; make room, or write to another disk',
    os.fspath(target),
  )


def _free(path: str | os.PathLike) -> int:
  if paths.is_remote(path):  # It is written here first.
    return shutil.disk_usage(tempfile.gettempdir()).free
  return shutil.disk_usage(os.path.dirname(os.path.abspath(path))).free


def _size(path: pathlib.Path) -> int:
  files = [path, *path.rglob('*')] if path.is_dir() else [path]
  return sum(f.stat().st_size for f in files if f.is_file())


def _megabytes(num_bytes: int) -> str:
  return f'{num_bytes / 1e6:,.1f} MB'


def is_of_full_disk(error: BaseException | None) -> bool:
  """Whether an error, or one that it came from, says that a disk is full."""
  while error is not None:
    if getattr(error, 'errno', None) in _ERRORS:
      return True
    if os.strerror(errno.ENOSPC) in str(error):
      return True  # Of a library that has errors of its own.
    error = error.__cause__ or error.__context__
  return False
