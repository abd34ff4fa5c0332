"""Puts the results of a job into place, whole or not at all.

A result is a file and its sidecar, moved into place; then a record says so. A
kill loses at most what is being made.
"""

from __future__ import annotations

from collections.abc import Mapping
import contextlib
import dataclasses
import fcntl
import json
import os
import pathlib
import secrets
import shutil
import tempfile
from typing import Any

from v2meow_jax.files import atomic
from v2meow_jax.files import outputs
from v2meow_jax.files import paths
from v2meow_jax.jobs import records
from v2meow_jax.jobs import shards

BUILDING = '.building'


class ShardFolder:
  """A folder of results, as the process that works at one shard of it sees it.

  A context manager.

  Attributes:
    workshop: Folder in which results become whole.
    journal: File that records are written to.
    results: Results that were there before.
  """

  def __init__(self, out: pathlib.Path, shard: shards.JobShard):
    """Takes the shard, and reads what is there of it.

    Raises:
      ValueError: Another process works at this shard.
    """
    self.workshop = Workshop(out, shard)
    self.journal = records.Journal(out, shard)
    try:
      self.results = records.Results(out)
    except BaseException:
      self.workshop.close()
      raise

  def __enter__(self) -> ShardFolder:
    return self

  def __exit__(self, *_):
    try:
      self.journal.close()
    finally:
      self.workshop.close()


class Workshop:
  """A folder of this process in which results become whole.

  Attributes:
    folder: Folder of this machine; on the disk of OUT where that is here.
  """

  def __init__(self, out: pathlib.Path, shard: shards.JobShard):
    """Makes the folder, and removes those of processes that were killed.

    Raises:
      ValueError: Another process works at this shard.
    """
    self._out = out
    self._held: int | None = None
    if paths.is_remote(out):
      self.folder = pathlib.Path(tempfile.mkdtemp())
      return
    parent = out / BUILDING
    parent.mkdir(parents=True, exist_ok=True)
    for folder in parent.iterdir():
      if not _removed(folder) and folder.name.startswith(f'{shard}-'):
        raise ValueError(
          f'another process works at shard {shard} of {out}; wait for it, or'
          ' give this one another --shard.'
        )
    while self._held is None:
      self.folder = parent / f'{shard}-{secrets.token_hex(8)}'
      self._held = _made(self.folder)

  def close(self) -> None:
    """Removes the folder."""
    shutil.rmtree(self.folder, ignore_errors=True)
    if self._held is not None:
      os.close(self._held)
      with contextlib.suppress(OSError):
        self.folder.parent.rmdir()  # Others may be at work there.

  def commit(
    self,
    built: pathlib.Path,
    record: records.Record,
    facts: Mapping[str, Any],
    journal: records.Journal,
  ) -> None:
    """Puts a result and its sidecar into place, then records it.

    Args:
      built: Whole file in `folder`; it is moved.
      record: Record of the result.
      facts: Content of the sidecar.
      journal: File that records are written to.
    """
    target = self._out / record.output
    sidecar = outputs.sidecar(target)
    if sidecar.exists():
      journal.append(dataclasses.replace(record, state='replacing'))
      # A result without its sidecar counts as none.
      sidecar.unlink()
    described = {
      **facts,
      'record': dataclasses.asdict(record) | {'seconds': 0.0},
    }
    if paths.is_remote(target):
      paths.upload(built, target)
      built.unlink()
    else:
      with open(built, 'rb') as file:
        os.fsync(file.fileno())
      os.replace(built, target)
    text = json.dumps(described, indent=1, ensure_ascii=False)
    self.write_text(sidecar, text + '\n')
    journal.append(record)

  def write_text(self, path: pathlib.Path, text: str) -> None:
    """Writes a file of OUT, whole or not at all; a kill leaves nothing there."""
    if paths.is_remote(path):
      atomic.write_text(path, text)
      return
    atomic.write_text(self.folder / path.name, text)
    os.replace(self.folder / path.name, path)

  def drop(self, output: str) -> None:
    """Removes a result that another of the same item has replaced."""
    target = self._out / output
    outputs.sidecar(target).unlink(missing_ok=True)
    target.unlink(missing_ok=True)


def _made(folder: pathlib.Path) -> int | None:
  """A lock on a new folder; None: it was taken for one of a killed process."""
  folder.mkdir()
  try:
    lock = os.open(folder / 'lock', os.O_RDWR | os.O_CREAT, 0o600)
  except FileNotFoundError:
    return None
  try:
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    is_ours = (folder / 'lock').exists()
  except BlockingIOError:
    is_ours = False
  except OSError:
    is_ours = True  # Some disks of networks know no locks.
  if is_ours:
    return lock
  os.close(lock)
  return None


def _removed(folder: pathlib.Path) -> bool:
  """Removes a folder unless a process holds it; whether it is gone."""
  try:
    lock = os.open(folder / 'lock', os.O_RDWR)
  except OSError:
    with contextlib.suppress(OSError):
      folder.rmdir()  # Its maker was killed before it held it.
    return not folder.exists()
  try:
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    shutil.rmtree(folder, ignore_errors=True)
    return True
  except BlockingIOError:
    return False
  except OSError:
    return True  # No locks here: it stays, and nobody is told to wait.
  finally:
    os.close(lock)
