"""Keeps bytes that will be run as code where nobody else can have written them.

A folder or a file of another user, or one that others may write to, is never
read. What is read has the digest that it was written with.
"""

import contextlib
import hashlib
import os
import pathlib
import stat

from v2meow_jax.files import atomic

_DIGEST_BYTES = hashlib.sha256().digest_size
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


def make_folder(folder: pathlib.Path) -> bool:
  """Makes a folder for this user alone, unless it is there.

  Returns:
    Whether the folder can be written to, and by nobody else.
  """
  try:
    folder.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):
      folder.mkdir(mode=0o700)
    state = folder.stat()
    return (
      stat.S_ISDIR(state.st_mode)
      and _is_own(state)
      and os.access(folder, os.R_OK | os.W_OK | os.X_OK)
    )
  except OSError:
    return False


def read(folder: pathlib.Path, name: str) -> bytes | None:
  """Reads what `write` wrote, if nobody else can have changed it.

  Args:
    folder: Folder of private files.
    name: Name of the file; it is marked as used now.

  Returns:
    The content; None when there is none that can be trusted and is whole.
  """
  try:
    with contextlib.ExitStack() as opened:
      inside = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
      opened.callback(os.close, inside)
      if not _is_own(os.fstat(inside)):
        return None
      # A link may lead elsewhere, and a pipe would never end.
      flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
      file = open(os.open(name, flags, dir_fd=inside), 'rb')
      opened.enter_context(file)
      state = os.fstat(file.fileno())
      if not (stat.S_ISREG(state.st_mode) and _is_own(state)):
        return None
      digest, content = file.read(_DIGEST_BYTES), file.read()
      if digest != _digest(name, content):
        return None
      os.utime(file.fileno())
      return content
  except OSError:
    return None


def write(folder: pathlib.Path, name: str, content: bytes) -> None:
  """Writes a file for this user alone, whole or not at all.

  Raises:
    OSError: The folder is missing, full or cannot be written to.
  """
  with atomic.replacing(folder / name) as temp:
    os.chmod(temp, 0o600)
    pathlib.Path(temp).write_bytes(_digest(name, content) + content)


def make_room(folder: pathlib.Path, max_bytes: int) -> None:
  """Removes the files used longest ago until the others fit.

  Args:
    folder: Folder of files that can be made again.
    max_bytes: Size that the files of the folder may have together.
  """
  files = []
  for entry in os.scandir(folder):
    with contextlib.suppress(OSError):
      state = entry.stat(follow_symlinks=False)
      if stat.S_ISREG(state.st_mode):
        used = max(state.st_atime, state.st_mtime)
        files.append((used, state.st_size, entry.path))
  excess = sum(size for _, size, _ in files) - max_bytes
  for _, size, path in sorted(files):
    if excess <= 0:
      return
    with contextlib.suppress(OSError):
      os.unlink(path)
      excess -= size


def _is_own(state: os.stat_result) -> bool:
  """Whether a file is this user's, and nobody else may write to it."""
  return state.st_uid == os.geteuid() and not state.st_mode & _OTHERS_WRITE


def _digest(name: str, content: bytes) -> bytes:
  # With the name, so that a file cannot stand in for another.
  return hashlib.sha256(name.encode() + b'\n' + content).digest()
