"""Keeps local copies of files in buckets, as many as fit.

FFmpeg and the readers of weights open files of this machine. A copy is named by
a hash of where it came from and of what was there; no name in a bucket becomes
one here, but for plain ones in folders of weights.
"""

import atexit
from collections.abc import Iterator
import contextlib
import fcntl
import hashlib
import os
import pathlib
import re
import tempfile
from typing import Any

from etils import epath

from v2meow_jax.files import paths

DIR_VARIABLE = 'V2MEOW_CACHE_DIR'
SIZE_VARIABLE = 'V2MEOW_CACHE_GB'
DEFAULT_GB = 20.0
_FILLING = '.part'
# A part of a name that links to copies take over.
_PLAIN = re.compile(r'(?!\.{1,2}$)[\w.+=@-]{1,200}', re.ASCII)
# Says that an object is another one now, best first; what else there is helps.
_VERSION = ('generation', 'ETag', 'etag', 'md5Hash', 'LastModified', 'mtime')

_kept = contextlib.ExitStack()
atexit.register(_kept.close)


class CopyError(ValueError):
  """A file in a bucket cannot be copied to this machine."""


@contextlib.contextmanager
def held(path: epath.PathLike) -> Iterator[pathlib.Path]:
  """Gives a local path of a file, here or in a bucket, for a while.

  Copies of files in buckets stay until others need their room; not while they
  are held. Several processes may hold, fill and drop them at once.

  Args:
    path: File; one of this machine is given back as it is.

  Yields:
    Path of the file or of its copy.

  Raises:
    FileNotFoundError: The bucket has no such file.
    CopyError: The file is larger than the cache, or came incomplete.
  """
  if not paths.is_remote(path):
    yield pathlib.Path(path)
    return
  version, size = _describe(path)
  key = hashlib.sha256(f'{os.fspath(path)}\n{version}'.encode()).hexdigest()
  folder = _folder()
  while (lock := _open_copy(folder / key, path, size)) is None:
    pass
  try:
    yield folder / key
  finally:
    os.close(lock)


def local(path: epath.PathLike) -> pathlib.Path:
  """Gives a local path of a file or folder that lasts as long as this process.

  For weights, whose names tell readers what they are; media are `held` while
  they are read. What is in a bucket becomes links to copies.

  Raises:
    FileNotFoundError: The bucket has nothing of this name.
    CopyError: A file cannot be copied, or cannot have its name on this machine.
  """
  if not paths.is_remote(path):
    return pathlib.Path(path)
  remote = paths.path(path)
  is_folder = remote.is_dir()
  root = remote if is_folder else remote.parent
  folder = pathlib.Path(_kept.enter_context(tempfile.TemporaryDirectory()))
  for name in paths.inside(remote) if is_folder else [remote.name]:
    if not all(map(_PLAIN.fullmatch, name.split('/'))):
      raise CopyError(
        f'{root} holds {name!r}, which is no name for a file of weights; rename'
        ' it: letters, digits and any of _.+=@-.'
      )
    link = folder / name
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(_kept.enter_context(held(root / name)))
  return folder if is_folder else folder / remote.name


def version(path: epath.PathLike) -> str:
  """What tells the content of a file from what it was, without reading it.

  Raises:
    FileNotFoundError: There is no such file.
  """
  if paths.is_remote(path):
    return _describe(path)[0]
  state = pathlib.Path(path).stat()
  return f'size={state.st_size} mtime={state.st_mtime_ns}'


def _describe(path: epath.PathLike) -> tuple[str, int]:
  """What tells the content of an object from another, and its size in bytes."""
  remote, name = paths.file_system(path)
  info: dict[str, Any] = remote.info(name)
  if info['type'] != 'file':
    raise FileNotFoundError(2, 'not a file', os.fspath(path))
  facts = [f'{fact}={info[fact]}' for fact in _VERSION if info.get(fact)]
  return ' '.join([f'size={info["size"]}', *facts]), int(info['size'])


def _folder() -> pathlib.Path:
  """The folder of copies: $V2MEOW_CACHE_DIR, or one in the user's cache."""
  chosen = os.environ.get(DIR_VARIABLE)
  if not chosen:
    chosen = paths.user_cache() / 'copies'
  folder = pathlib.Path(chosen)
  folder.mkdir(parents=True, exist_ok=True)
  return folder


def _max_bytes() -> int:
  value = os.environ.get(SIZE_VARIABLE, DEFAULT_GB)
  try:
    return round(float(value) * 1e9)
  except ValueError as e:
    raise ValueError(
      f'${SIZE_VARIABLE} is {value!r}; wanted the size of the cache of files in'
      ' buckets, in gigabytes.'
    ) from e


def _open_copy(copy: pathlib.Path, path: epath.PathLike, size: int):
  """A descriptor that holds a copy, filled if need be; None: try again.

  A copy is filled under another name, locked against other processes; who holds
  a copy has a shared lock on it.
  """
  with contextlib.suppress(FileNotFoundError):
    lock = os.open(copy, os.O_RDONLY)
    return _shared(lock, copy)
  partial = copy.with_name(copy.name + _FILLING)
  lock = os.open(partial, os.O_RDWR | os.O_CREAT, 0o600)
  try:
    fcntl.flock(lock, fcntl.LOCK_EX)
    is_first = _is_at(lock, partial)
    if is_first and copy.exists():  # Filled since this process looked.
      partial.unlink()
    elif is_first:
      _make_room(copy.parent, path, size)
      _fill(partial, path, size)
      os.replace(partial, copy)
  except BaseException:
    os.close(lock)
    raise
  return _shared(lock, copy)


def _shared(lock: int, copy: pathlib.Path) -> int | None:
  """The descriptor with a shared lock, if it still is that of the copy."""
  fcntl.flock(lock, fcntl.LOCK_SH)
  if _is_at(lock, copy):
    os.utime(copy)  # Used last now.
    return lock
  os.close(lock)
  return None


def _is_at(lock: int, path: pathlib.Path) -> bool:
  """Whether a path still names the file of a descriptor."""
  try:
    return os.path.samestat(os.fstat(lock), os.stat(path))
  except FileNotFoundError:
    return False


def _fill(partial: pathlib.Path, path: epath.PathLike, size: int) -> None:
  remote, name = paths.file_system(path)
  try:
    remote.get_file(name, os.fspath(partial))
    came = partial.stat().st_size
    if came != size:
      raise CopyError(
        f'{os.fspath(path)}: {came} of {size} bytes came; it was written to'
        ' meanwhile, or the connection was lost. Try again.'
      )
  except BaseException:
    partial.unlink(missing_ok=True)
    raise


def _make_room(folder: pathlib.Path, path: epath.PathLike, size: int) -> None:
  """Drops the copies used longest ago until one of this size fits.

  Those that a process holds or fills stay.
  """
  most = _max_bytes()
  if size > most:
    raise CopyError(
      f'{os.fspath(path)} has {size / 1e9:.3g} GB, and copies of files in buckets'
      f' take {most / 1e9:g} GB at most; raise ${SIZE_VARIABLE}.'
    )
  copies = []
  for entry in os.scandir(folder):
    with contextlib.suppress(FileNotFoundError):
      state = entry.stat()
      copies.append((state.st_mtime, state.st_size, entry.path))
  total = sum(num_bytes for _, num_bytes, _ in copies)
  for _, num_bytes, name in sorted(copies):
    if total + size <= most:
      return
    if _dropped(name):
      total -= num_bytes


def _dropped(name: str) -> bool:
  """Removes a copy unless a process holds or fills it; whether it is gone."""
  try:
    lock = os.open(name, os.O_RDONLY)
  except FileNotFoundError:
    return True
  try:
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.unlink(name)
    return True
  except BlockingIOError:
    return False
  except FileNotFoundError:
    return True
  finally:
    os.close(lock)
