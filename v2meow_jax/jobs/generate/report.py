"""What a batch has come to: its status, its failures, its results as a list."""

import collections
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
import contextlib
import dataclasses
import json
import os
import pathlib
import statistics
from typing import Any

from v2meow_jax.files import atomic
from v2meow_jax.files import paths
from v2meow_jax.jobs import records
from v2meow_jax.jobs import shards

# Writes a text to a path, whole or not at all.
Write = Callable[[pathlib.Path, str], None]
JOB = 'job.json'
FAILED = 'failed.jsonl'
COLLECTED = 'results.jsonl'
_MOST_LOOKS = 4
_SHOWN = ('id', 'part', 'reason', 'message', 'fix')


@dataclasses.dataclass(frozen=True, kw_only=True)
class Standing:
  """What has become of the items of a batch.

  Attributes:
    done: Record of each result, in the order of the items.
    failed: Record of each item that failed.
    left: Names of the items that are still to be made.
  """

  done: list[records.Record]
  failed: list[records.Record]
  left: list[str]


def standing(options: Mapping[str, str], results: records.Results) -> Standing:
  """What has become of items.

  Args:
    options: Digest of the options by the name of the item.
    results: Records of the batch.
  """
  found = Standing(done=[], failed=[], left=[])
  for name, digest in options.items():
    if done := results.done(name, digest):
      found.done.append(done)
    elif failed := results.failed(name, digest):
      found.failed.append(failed)
    else:
      found.left.append(name)
  return found


def read_job(out: pathlib.Path) -> dict[str, Any]:
  """What `v2meow batch` last wrote of the batch in a folder.

  Raises:
    ValueError: There is none.
  """
  try:
    job = json.loads((out / JOB).read_bytes())
    if isinstance(job['items'], dict) and isinstance(job['settings'], dict):
      return job
  except (OSError, ValueError, KeyError, TypeError):
    pass
  raise ValueError(
    f'{out} is no folder of a batch: it has no {JOB}; give the OUT of `v2meow'
    ' batch MANIFEST -o OUT`.'
  )


def write_job(
  out: pathlib.Path, job: Mapping[str, Any], write: Write = atomic.write_text
) -> Mapping[str, Any]:
  """Writes what a batch is; returns what was there, if anything.

  Raises:
    ValueError: The folder has items of another list.
  """
  before: Mapping[str, Any] = {}
  with contextlib.suppress(ValueError):
    before = read_job(out)
  if before != job:
    check_list(out, before, job)
    write(out / JOB, json.dumps(job, indent=1) + '\n')
  return before


def check_list(
  out: pathlib.Path, before: Mapping[str, Any], job: Mapping[str, Any]
) -> None:
  """Keeps a list from taking over the folder of another one.

  Longer and shorter versions of a list are the same list: what is no longer in
  it is said.

  Args:
    out: Folder of the results.
    before: Content of `job.json`; empty when the folder has no batch yet.
    job: Batch to be made there.

  Raises:
    ValueError: The folder has items of another list.
  """
  gone = before.get('items', {}).keys() - job['items'].keys()
  if not gone:
    return
  if before.get('manifest') != job['manifest']:
    raise ValueError(
      f'{out} is the folder of {before.get("manifest")}, of which'
      f' {job["manifest"]} lacks {len(gone)} items, such as {min(gone)!r}; give'
      f' this list another OUT, or remove {out / JOB} to have it take over.'
    )
  print(
    f'{len(gone)} items are no longer in the list; their results stay in {out},'
    ' and status and collect leave them out'
  )


def write_failed(
  out: pathlib.Path,
  options: Mapping[str, str],
  write: Write = atomic.write_text,
) -> None:
  """Writes what failed, of all shards, one line each.

  Another process may write from what it saw earlier; the last one sees all. Who
  is still at work writes again when it ends.
  """
  before = None
  for _ in range(_MOST_LOOKS):
    seen = _record_sizes(out)
    if seen == before:
      return
    before = seen
    failed = standing(options, records.Results(out)).failed
    rows = (
      {name: getattr(record, name) for name in _SHOWN} for record in failed
    )
    write(out / FAILED, _lines(rows))


def _record_sizes(out: pathlib.Path) -> Mapping[str, int]:
  try:
    return paths.sizes(out / records.RECORDS)
  except FileNotFoundError:
    return {}


def _lines(rows: Iterator[Mapping[str, Any]]) -> str:
  return ''.join(json.dumps(row, ensure_ascii=False) + '\n' for row in rows)


def status(folder: str) -> str:
  """What of a batch is done, failed and left, for people."""
  out = paths.path(folder)
  job = read_job(out)
  found = standing(job['items'], records.Results(out))
  write_failed(out, job['items'])
  total = len(job['items'])
  lines = [
    f'{len(found.done)} of {total} done, {len(found.failed)} failed,'
    f' {len(found.left)} left'
  ]
  reasons = collections.Counter((r.reason, r.part) for r in found.failed)
  lines += [
    f'  {count} failed: {reason} ({part})'
    for (reason, part), count in reasons.most_common()
  ]
  if found.failed:
    lines.append(f'  {out / FAILED} says how to mend each')
  seconds = [record.seconds for record in (*found.done, *found.failed)]
  if seconds:
    mean = statistics.fmean(seconds)
    lines.append(f'{mean:.2f} s an item in each process')
    if found.left:
      hours = mean * len(found.left) / 3600
      lines.append(f'about {hours:.2f} hours of one process are left')
  return '\n'.join(lines)


def retry(folder: str, reason: str | None = None) -> str:
  """Has failed items tried again by the next run; says how many.

  Args:
    folder: Folder of the batch.
    reason: Reason of the failures to try again; None: any.
  """
  out = paths.path(folder)
  job = read_job(out)
  results = records.Results(out)
  failed = standing(job['items'], results).failed
  reasons = sorted({record.reason for record in failed})
  if reason is not None and reason not in reasons:
    raise ValueError(
      f'nothing in {out} failed for the reason {reason!r}; there are'
      f' {", ".join(reasons) or "none"}.'
    )
  journal = records.Journal(out, shards.ALL)
  chosen = [r for r in failed if reason in (None, r.reason)]
  for record in chosen:
    journal.append(
      records.Record(
        id=record.id,
        state='forgiven',
        attempt=results.last_attempt(record.id),
      )
    )
  journal.close()
  write_failed(out, job['items'])
  return f'{len(chosen)} items will be tried again by the next v2meow batch'


def collect(folder: str) -> str:
  """Writes one list of all results; returns its path."""
  out = paths.path(folder)
  job = read_job(out)
  found = standing(job['items'], records.Results(out))
  write_failed(out, job['items'])
  rows = (
    {
      'id': record.id,
      'path': record.output,
      'sha256': record.sha256,
      'video_sha256': record.files.get('video', {}).get('sha256'),
    }
    for record in found.done
  )
  atomic.write_text(out / COLLECTED, _lines(rows))
  return os.fspath(out / COLLECTED)


def changes(
  before: Mapping[str, Any], settings: Mapping[str, Any]
) -> Sequence[str]:
  """What is set otherwise than it was, one text each."""
  old = before.get('settings', {})
  return [
    f'{name} was {old.get(name)} and is {value}'
    for name, value in settings.items()
    if old and old.get(name) != value
  ]
