"""Locks a model directory, so that one trainer writes there."""

import datetime
import errno
import fcntl
import json
import os
import socket

from absl import logging
from etils import epath

from v2meow_jax.files import paths

NAME = 'trainer.lock'

# Errors of file systems without locks.
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


class LockedError(ValueError):
  """Another trainer writes to this directory."""


class RunLock:
  """A lock from construction to `release`, or to the end of the process.

  In a local directory the kernel holds the lock, so that it ends with its
  process, and the file of a dead process is taken over. The file names the
  holder. In a bucket (gs://) and on a file system without locks, an existing
  file only causes a warning.
  """

  def __init__(self, directory: epath.Path):
    """Takes the lock of `directory`.

    Args:
      directory: Existing, writable directory.

    Raises:
      LockedError: Another trainer, in this process or another, holds the lock.
    """
    self._path = directory / NAME
    self._file: int | None = None
    if paths.is_remote(directory):
      exists = self._path.exists()
      _warn_of(self._path.read_bytes().decode('utf-8') if exists else '')
      self._path.write_bytes(_myself().encode('utf-8'))
      return
    self._file = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
    held_by = os.read(self._file, 1000).decode(errors='replace')
    try:
      fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as e:
      if e.errno not in _NO_LOCKS:
        os.close(self._file)
        raise LockedError(
          f'another trainer writes to {directory}: {held_by or "unknown"}. Wait'
          ' for it, stop it, or name another MODEL_DIR.'
        ) from e
      _warn_of(held_by)
    else:
      if held_by:
        logging.info('Took over %s of a dead trainer: %s', self._path, held_by)
    os.ftruncate(self._file, 0)
    os.pwrite(self._file, _myself().encode(), 0)

  def release(self) -> None:
    """Releases the lock; does nothing the second time."""
    if self._file is not None:
      os.ftruncate(self._file, 0)
      os.close(self._file)
      self._file = None
    elif paths.is_remote(self._path):
      self._path.unlink(missing_ok=True)


def _myself() -> str:
  now = datetime.datetime.now(datetime.UTC)
  return json.dumps(
    {
      'pid': os.getpid(),
      'host': socket.gethostname(),
      'since': now.isoformat(timespec='seconds'),
    }
  )


def _warn_of(held_by: str) -> None:
  if held_by:
    logging.warning(
      'This storage has no locks. A trainer was or is writing here: %s. If it'
      ' still runs, stop one of the two.',
      held_by,
    )
