"""Puts files and folders into place when they are whole; SHA-256 of both."""

from collections.abc import Iterator
import contextlib
import fcntl
import hashlib
import os
import pathlib
import secrets
import shutil
import socket
import tempfile
from typing import Any

from etils import epath

from v2meow_jax.files import copies
from v2meow_jax.files import full_disk
from v2meow_jax.files import paths

_BLOCK_BYTES = 1 << 20
# Lies in a folder of a bucket while its objects are being replaced.
_UNFINISHED = 'UNFINISHED.txt'
_UNFINISHED_TEXT = (
  'The objects of this folder were being replaced. If that was interrupted, run'
  ' the same command again, which replaces them all.\n'
)


@contextlib.contextmanager
def replacing(path: epath.PathLike) -> Iterator[str]:
  """Gives a path to write to; moves it to `path` when the block succeeds.

  Args:
    path: Target file, or a link to it, which stays. Its folder must exist; in a
      bucket there are none.

  Yields:
    Path of an empty file of this machine with the same suffix, for a target
    here in its folder. It is removed when the block raises.

  Raises:
    OSError: The folder is missing or cannot be written to.
  """
  if paths.is_remote(path):
    with tempfile.TemporaryDirectory() as folder:
      whole = pathlib.Path(folder, f'whole{paths.path(path).suffix}')
      whole.touch()
      with full_disk.naming(path, whole):
        yield str(whole)
      paths.upload(whole, path)
    return
  target = pathlib.Path(os.path.abspath(path))
  # A link stays, and the file that it names is replaced.
  whole = pathlib.Path(os.path.realpath(target))
  temp = _beside(whole, target.suffix)
  try:
    if target.is_dir():
      raise IsADirectoryError(21, 'is a folder')
    lock = _locked(temp)
  except OSError as error:
    raise OSError(
      error.errno, f'cannot write here ({error.strerror})', str(target)
    ) from error
  try:
    with full_disk.naming(target, temp):
      yield str(temp)
      with open(temp, 'rb') as written:
        os.fsync(written.fileno())
    os.replace(temp, whole)
  except BaseException as error:
    temp.unlink(missing_ok=True)
    if isinstance(error, OSError) and error.filename == str(temp):
      raise OSError(error.errno, error.strerror, str(target)) from error
    raise
  finally:
    os.close(lock)


def _locked(temp: pathlib.Path) -> int:
  """Descriptor of a new, empty file, locked while it is written."""
  lock = os.open(temp, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
  with contextlib.suppress(OSError):  # Not every file system has locks.
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
  return lock


def remove_left(path: epath.PathLike) -> None:
  """Removes what killed processes of this machine have left of a file.

  Args:
    path: File that `replacing` was to replace; in a bucket nothing is left.
  """
  if paths.is_remote(path):
    return
  whole = pathlib.Path(os.path.realpath(path))
  for temp in whole.parent.glob(f'{_mark(whole)}-*'):
    with contextlib.suppress(OSError), open(temp, 'rb') as left:
      # Whoever still writes it has it locked.
      fcntl.flock(left, fcntl.LOCK_EX | fcntl.LOCK_NB)
      temp.unlink()


@contextlib.contextmanager
def replacing_folder(path: epath.PathLike, *, marker: str) -> Iterator[str]:
  """Gives a new folder to fill; moves it to `path` when the block succeeds.

  A folder of this machine is moved at once. Buckets move objects one by one:
  there the marker goes first and comes last, so that whoever asks for it takes
  no half of a folder for a whole one. What is there when a process is killed,
  says so, and is replaced by the next.

  Args:
    path: Target folder. One that is there, and `is_replaceable`, is removed once
      the new one is ready.
    marker: Name of the file without which the folder is not taken for whole.

  Yields:
    Path of an empty folder: beside the target, in a bucket inside it. It is
    removed when the block raises.
  """
  if paths.is_remote(path):
    target = paths.path(path)
    building: Any = _beside(target / 'building')
    try:
      yield os.fspath(building)
      _move_objects(building, target, marker)
    finally:
      building.rmtree(missing_ok=True)
    return
  target = epath.Path(os.path.abspath(path))
  temp = _beside(target)
  temp.mkdir(parents=True)
  try:
    with full_disk.naming(target, temp):
      yield os.fspath(temp)
    if target.exists():
      old = target.rename(_beside(target))
      temp.rename(target)
      old.rmtree()
    else:
      temp.rename(target)
  finally:
    temp.rmtree(missing_ok=True)


def is_replaceable(path: epath.PathLike, *, marker: str) -> bool:
  """Whether `replacing_folder` would replace nothing but its own.

  Args:
    path: Target folder.
    marker: Name of the file without which the folder is not taken for whole.

  Returns:
    Whether nothing is there, or an empty folder, or a whole one, or what was
    left of one in a bucket.
  """
  folder = paths.path(path)
  if not folder.exists():
    return True
  if not folder.is_dir():
    return False
  # In a bucket, one that is being filled lies inside.
  names = {p.name for p in folder.iterdir() if not p.name.startswith('.')}
  return not names or not names.isdisjoint((marker, _UNFINISHED))


def _move_objects(source: Any, target: Any, marker: str) -> None:
  """Moves all objects of one folder to another, in place of those there."""
  bucket, root = paths.file_system(target)
  building = paths.file_system(source)[1]
  (target / _UNFINISHED).write_bytes(_UNFINISHED_TEXT.encode())
  (target / marker).unlink(missing_ok=True)
  for name in paths.inside(target):
    is_new = f'{root}/{name}'.startswith(f'{building}/')
    if not is_new and name != _UNFINISHED:
      bucket.rm_file(f'{root}/{name}')
  for name in sorted(paths.inside(source), key=marker.__eq__):
    bucket.mv(f'{building}/{name}', f'{root}/{name}')
  (target / _UNFINISHED).unlink()


def write_text(path: epath.PathLike, text: str) -> None:
  """Writes a file of UTF-8 text, whole or not at all.

  Bytes of file names that are not UTF-8, which Python holds as lone surrogates,
  are written as `\\udcff`: in JSON, an escape that stands for the same name.
  """
  with replacing(path) as temp:
    pathlib.Path(temp).write_bytes(text.encode('utf-8', 'backslashreplace'))


def copy(source: epath.PathLike, path: epath.PathLike) -> None:
  """Copies a file, whole or not at all."""
  with copies.held(source) as file, replacing(path) as temp:
    shutil.copyfile(file, temp)


def sha256(path: epath.PathLike) -> str:
  """Hex digest of a file; of a folder, over the names and digests in it."""
  path = paths.path(path)
  if path.is_dir():
    lines = [f'{name} {sha256(path / name)}' for name in paths.inside(path)]
    return hashlib.sha256(os.fsencode('\n'.join(lines))).hexdigest()
  digest = hashlib.sha256()
  # The copy of a file in a bucket is at hand when the file is read next.
  with copies.held(path) as file, file.open('rb') as f:
    while block := f.read(_BLOCK_BYTES):
      digest.update(block)
  return digest.hexdigest()


def _beside(target, suffix: str | None = None):
  """A path in the target's folder, of its or another suffix, for us alone."""
  suffix = target.suffix if suffix is None else suffix
  return target.with_name(f'{_mark(target)}-{secrets.token_hex(8)}{suffix}')


def _mark(target) -> str:
  """How names begin that this machine gives to what becomes the target."""
  name = hashlib.sha256(os.fsencode(target.name)).hexdigest()[:8]
  return f'.{socket.gethostname()[:32]}-{name}'
