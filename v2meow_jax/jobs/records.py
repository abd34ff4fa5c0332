"""Records of what is done and what failed, which survive a kill.

A record is a line of json in a file of `records/` that one process appends to,
or in a bucket, where nothing can be appended, writes again. Torn lines are
ignored: the sidecar of a result holds its record, too.
"""

from collections.abc import Mapping
import contextlib
import dataclasses
import json
import os
import pathlib
import secrets
import threading
import time
from typing import Any

from v2meow_jax.files import atomic
from v2meow_jax.files import outputs
from v2meow_jax.files import paths
from v2meow_jax.jobs import shards

RECORDS = 'records'
# Lines of a file that is written again for each: some 100 kB in a bucket.
_MOST_LINES = 500
# An object may be written once a second.
_FLUSH_SECONDS = 1.0
_TEXTS = ('id', 'state', 'options', 'output', 'sha256', 'part', 'reason')


@dataclasses.dataclass(frozen=True, kw_only=True)
class Record:
  """What became of one try at an item.

  Attributes:
    id: Name of the item.
    state: 'done', 'failed', 'forgiven' (to be tried again) or 'replacing' (what
      was done counts only if its sidecar says so).
    attempt: Number of the try, from 1; 'forgiven' holds for all up to it.
    options: Digest of the options and settings that act on the result.
    files: Version and digest of each file that was read, by its role; None
      where it could not be read.
    output: File name of the result.
    num_bytes: Size of the result.
    sha256: Digest of the result.
    seconds: Time since this process finished the item before, in seconds.
    part: Part of the work that failed.
    reason: Word for what went wrong.
    message: Sentence on what went wrong.
    fix: Advice on what to do about it.
  """

  id: str
  state: str
  attempt: int
  options: str = ''
  files: Mapping[str, Mapping[str, str | None]] = dataclasses.field(
    default_factory=dict
  )
  output: str = ''
  num_bytes: int = 0
  sha256: str = ''
  seconds: float = 0.0
  part: str = ''
  reason: str = ''
  message: str = ''
  fix: str = ''

  @property
  def versions(self) -> dict[str, str | None]:
    """Version of each file that was read, by its role."""
    return {name: file['version'] for name, file in self.files.items()}


def parse(fields: Any) -> Record | None:
  """The record of a parsed line or sidecar; None where there is none."""
  try:
    record = Record(**fields)
    sound = all(isinstance(getattr(record, name), str) for name in _TEXTS)
    return record if sound and record.versions is not None else None
  except (TypeError, KeyError, AttributeError):
    return None


def _parse_line(line: bytes) -> Record | None:
  try:
    return parse(json.loads(line))
  except (ValueError, RecursionError):
    return None  # A kill or a full disk tore it.


class Journal:
  """The records that one process writes; any of its threads may."""

  def __init__(self, out: pathlib.Path, shard: shards.JobShard):
    """Names a file of its own, which is there with its first record."""
    self._folder = out / RECORDS
    self._shard = shard
    self._lock = threading.Lock()
    self._lines: list[str] = []
    self._flushed = 0
    self._next_flush = 0.0
    self._path = self._new_path()

  def _new_path(self) -> pathlib.Path:
    return self._folder / f'{self._shard}-{secrets.token_hex(8)}.jsonl'

  def append(self, record: Record) -> None:
    """Writes a record; in a bucket within seconds, or at `close`.

    One that says 'replacing' is always there when this returns.
    """
    line = json.dumps(dataclasses.asdict(record)) + '\n'
    with self._lock:
      self._lines.append(line)
      is_due = time.monotonic() > self._next_flush
      is_urgent = record.state == 'replacing'
      if is_due or is_urgent or not paths.is_remote(self._path):
        self._flush()

  def close(self) -> None:
    """Writes what is left to write."""
    with self._lock:
      self._flush()

  def _flush(self) -> None:
    new = ''.join(self._lines[self._flushed :])
    if not new:
      return
    if paths.is_remote(self._path):
      self._path.write_text(''.join(self._lines))
      self._next_flush = time.monotonic() + _FLUSH_SECONDS
    else:
      self._folder.mkdir(exist_ok=True)
      with open(self._path, 'a', encoding='utf-8') as file:
        file.write(new)
        file.flush()
        os.fsync(file.fileno())
    self._flushed = len(self._lines)
    if self._flushed >= _MOST_LINES:
      self._lines, self._flushed = [], 0
      self._path = self._new_path()


class Results:
  """All that the records of a folder say of its items, when it was asked."""

  def __init__(self, out: pathlib.Path):
    """Reads all records, and lists the folder."""
    self._out = out
    self._records: dict[str, list[Record]] = {}
    folder = out / RECORDS
    for name in paths.inside(folder):
      for line in (folder / name).read_bytes().split(b'\n'):
        if (record := _parse_line(line)) is not None:
          self._records.setdefault(record.id, []).append(record)
    self._sizes: Mapping[str, int] = {}
    with contextlib.suppress(FileNotFoundError):
      self._sizes = paths.sizes(out)

  def of(self, name: str) -> list[Record]:
    """All records of an item."""
    return self._records.get(name, [])

  def last_attempt(self, name: str) -> int:
    """Number of the last try at an item; 0: there was none."""
    return max((record.attempt for record in self.of(name)), default=0)

  def done(
    self,
    name: str,
    options: str,
    versions: Mapping[str, str | None] | None = None,
    sha256: Mapping[str, str | None] | None = None,
  ) -> Record | None:
    """The record of a result that is there, of these options and inputs.

    Args:
      name: Name of the item.
      options: Digest of its options.
      versions: Versions of its files; None where one is missing now. None at
        all: whatever they are.
      sha256: Digests of its files in place of versions.
    """
    candidates = [r for r in self.of(name) if r.state == 'done']
    doubtful = any(r.state == 'replacing' for r in self.of(name))
    for record in candidates:
      if record.options != options or not self._is_there(record):
        continue
      if doubtful and not self._is_current(record):
        continue
      if sha256 is not None:
        digests = {n: f['sha256'] for n, f in record.files.items()}
        same = digests == sha256
      else:
        same = versions is None or (
          record.files.keys() == versions.keys()
          and all(v in (None, record.versions[n]) for n, v in versions.items())
        )
      if same:
        return record
    return None

  def failed(
    self,
    name: str,
    options: str,
    versions: Mapping[str, str | None] | None = None,
  ) -> Record | None:
    """The record of a failure that is not forgiven; arguments as for `done`."""
    records = self.of(name)
    forgiven = max(
      (r.attempt for r in records if r.state == 'forgiven'), default=0
    )
    for record in records:
      if (
        record.state == 'failed'
        and record.options == options
        and record.attempt > forgiven
        and versions in (None, record.versions)
      ):
        return record
    return None

  def unrecorded(self, name: str, output: str) -> Record | None:
    """The record in the sidecar of a result, where a kill came before the line.

    It counts from then on. None: there is none.
    """
    record = self._of_sidecar(output)
    if record is None or record.id != name or not self._is_there(record):
      return None
    if any(
      r.attempt == record.attempt and r.state == 'done' for r in self.of(name)
    ):
      return None
    self._records.setdefault(name, []).append(record)
    return record

  def _is_there(self, record: Record) -> bool:
    sidecar = outputs.sidecar(pathlib.Path(record.output)).name
    return (
      sidecar in self._sizes
      and self._sizes.get(record.output) == record.num_bytes
    )

  def _is_current(self, record: Record) -> bool:
    """Whether it is of the result in place, of all that had its name."""
    current = self._of_sidecar(record.output)
    return (
      current is not None
      and current.options == record.options
      and current.sha256 == record.sha256
    )

  def _of_sidecar(self, output: str) -> Record | None:
    sidecar = outputs.sidecar(self._out / output)
    if sidecar.name not in self._sizes:
      return None
    try:
      facts = json.loads(sidecar.read_bytes())
      if outputs.REPLACED_BY in facts:  # A kill came while it was replaced.
        facts = outputs.of_file(facts, atomic.sha256(self._out / output))
    except (OSError, TypeError, ValueError, RecursionError):
      return None
    return parse(facts.get('record')) if isinstance(facts, dict) else None
