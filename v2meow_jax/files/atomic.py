"""Puts files and folders into place when they are whole; SHA-256 of both."""

from collections.abc import Iterator
import contextlib
import hashlib
import os
import pathlib
import secrets
import shutil
import socket

from etils import epath

_BLOCK_BYTES = 1 << 20


@contextlib.contextmanager
def replacing(path: epath.PathLike) -> Iterator[str]:
  """Gives a path to write to; moves it to `path` when the block succeeds.

  Args:
    path: Target file, here or in a bucket. Its folder must exist.

  Yields:
    Path in the same folder, with the same suffix; here an empty file. It is
    removed when the block raises.

  Raises:
    OSError: The folder is missing or cannot be written to.
  """
  if _is_remote(path):
    remote = _beside(epath.Path(path))
    try:
      yield os.fspath(remote)
      remote.replace(path)
    except BaseException:
      remote.unlink(missing_ok=True)
      raise
    return
  target = pathlib.Path(os.path.abspath(path))
  temp = _beside(target)
  try:
    if target.is_dir():
      raise IsADirectoryError(21, 'is a folder')
    open(temp, 'xb').close()
  except OSError as error:
    raise OSError(
      error.errno, f'cannot write here ({error.strerror})', str(target)
    ) from error
  try:
    yield str(temp)
    with open(temp, 'rb') as written:
      os.fsync(written.fileno())
    os.replace(temp, target)
  except BaseException as error:
    temp.unlink(missing_ok=True)
    if isinstance(error, OSError) and error.filename == str(temp):
      raise OSError(error.errno, error.strerror, str(target)) from error
    raise


@contextlib.contextmanager
def replacing_folder(path: epath.PathLike) -> Iterator[str]:
  """Gives a new folder to fill; moves it to `path` when the block succeeds.

  Args:
    path: Target folder, here or in a bucket. One that is there is removed once
      the new one is in its place.

  Yields:
    Path of an empty folder beside the target. It is removed when the block
    raises.
  """
  target = epath.Path(path if _is_remote(path) else os.path.abspath(path))
  temp = _beside(target)
  temp.mkdir(parents=True)
  try:
    yield os.fspath(temp)
    if target.exists():
      old = target.rename(_beside(target))
      temp.rename(target)
      old.rmtree()
    else:
      temp.rename(target)
  finally:
    temp.rmtree(missing_ok=True)


def write_text(path: epath.PathLike, text: str) -> None:
  """Writes a file of UTF-8 text, whole or not at all."""
  with replacing(path) as temp:
    epath.Path(temp).write_bytes(text.encode())


def copy(source: epath.PathLike, path: epath.PathLike) -> None:
  """Copies a file, whole or not at all."""
  with replacing(path) as temp:
    shutil.copyfile(source, temp)


def sha256(path: epath.PathLike) -> str:
  """Hex digest of a file; of a folder, over the names and digests in it."""
  # Unlike epath's, pathlib's `rglob` finds hidden files.
  path = epath.Path(path) if _is_remote(path) else pathlib.Path(path)
  if path.is_dir():
    files = sorted(p for p in path.rglob('*') if p.is_file())
    lines = [f'{p.relative_to(path).as_posix()} {sha256(p)}' for p in files]
    return hashlib.sha256('\n'.join(lines).encode()).hexdigest()
  digest = hashlib.sha256()
  with path.open('rb') as f:
    while block := f.read(_BLOCK_BYTES):
      digest.update(block)
  return digest.hexdigest()


def _is_remote(path: epath.PathLike) -> bool:
  return '://' in os.fspath(path)


def _beside(target):
  """Another path in the target's folder, of its suffix, that no one else has."""
  host = socket.gethostname()[:32]
  return target.with_name(f'.{host}-{secrets.token_hex(8)}{target.suffix}')
