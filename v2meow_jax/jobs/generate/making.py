"""Makes the items of a batch: read, sampled, written, all at the same time.

Workers read while the stages sample rows of many clips, and threads decode and
have others write behind. Queues between them are short, so memory does not grow with
the number of items.
"""

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
import contextlib
import dataclasses
import functools
import json
import queue
import threading
import time
from typing import Any

from absl import logging

from v2meow_jax.files import paths
from v2meow_jax.inference import requests as requests_lib
from v2meow_jax.inference import sound
from v2meow_jax.inference import soundtrack as soundtrack_lib
from v2meow_jax.inference import streams
from v2meow_jax.inference.finish import options as finish_options
from v2meow_jax.inference.finish import scoring
from v2meow_jax.jobs import commit
from v2meow_jax.jobs import records
from v2meow_jax.jobs.generate import attempts as attempts_lib
from v2meow_jax.jobs.generate import items as items_lib
from v2meow_jax.jobs.generate import workers

_POLL_SECONDS = 0.2
# Clips that wait for others of equal options, in groups.
_MOST_GROUPS = 4
# Then it is not the clips.
_MOST_UNSAMPLED = 3


@dataclasses.dataclass
class Figures:
  """What a batch came to.

  Attributes:
    num_done: Number of results that are in place.
    num_failed: Number of items that failed.
    seconds: Wall time from the start to the last item, in seconds.
    start_seconds: Part of it before the first clip was read, in seconds.
    stages_seconds: Time from the first clip that was read to the end of the
      last call of the stages, in seconds.
    sampling_seconds: Part of it in which the stages were at work, in seconds.
  """

  num_done: int = 0
  num_failed: int = 0
  seconds: float = 0.0
  start_seconds: float = 0.0
  stages_seconds: float = 0.0
  sampling_seconds: float = 0.0

  @property
  def wait_share(self) -> float:
    """Share of `stages_seconds` in which the stages waited."""
    if not self.stages_seconds:
      return 0.0
    return max(0.0, 1 - self.sampling_seconds / self.stages_seconds)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Clip:
  """An item that is read."""

  attempt: attempts_lib.Attempt
  takes: Sequence[streams.ReadRequest]
  files: Mapping[str, Mapping[str, str]]


class _Halted(Exception):
  """Another thread failed, or the batch was asked to stop."""


class Maker:
  """The stages, queues, threads and workers of a batch.

  Attributes:
    figures: Counts and times so far.
  """

  def __init__(
    self,
    system: Any,
    folder: commit.ShardFolder,
    figures: Figures,
    *,
    readers: Sequence[workers.Worker],
    writers: Sequence[workers.Worker],
    rows: int | None,
    is_stopped: Callable[[], bool],
    on_item: Callable[[Figures], Any],
    refused: Mapping[str, str] | None = None,
  ):
    """Starts nothing yet.

    Args:
      system: Released system, loaded.
      folder: Folder of the results.
      figures: Counts of the items that were done and failed before.
      readers: Workers that call `reading.read`.
      writers: Workers that call `writing.write`.
      rows: Number of windows in a call, and of clips that are made together, for
        each group of devices; None: the system's own, and one clip.
      is_stopped: Function that says whether to stop.
      on_item: Function to call with the figures after each item.
      refused: Why the system cannot make an item, by id.
    """
    self.figures = figures
    self._refused = refused or {}
    self._system = system
    self._workshop = folder.workshop
    self._journal = folder.journal
    self._results = folder.results
    self._rows = rows
    self._together = (rows or 1) * system.num_groups
    self._is_stopped = is_stopped
    self._on_item = on_item
    self._readers = readers
    self._writers = writers
    self._idle_writers: queue.SimpleQueue[workers.Worker] = queue.SimpleQueue()
    for writer in writers:
      self._idle_writers.put(writer)
    self._lock = threading.Lock()
    self._halt = threading.Event()
    self._error: BaseException | None = None
    self._start_time = self._last_time = time.monotonic()
    self._num_unsampled = 0
    self._ready: queue.Queue[_Clip | None] = queue.Queue(self._together)
    self._sampled: queue.Queue[_Clip | None] = queue.Queue(self._together)

  def make(self, attempts: Sequence[attempts_lib.Attempt]) -> None:
    """Makes items until all are done or failed, or the batch is stopped.

    The workers are left for others, unless it ends early.

    Raises:
      OSError: The disk is full, results cannot be written, or the workers cannot
        start.
      RuntimeError: The stages fail on everything.
    """
    left = iter(attempts)
    threads = [
      threading.Thread(target=self._guarded, args=(self._read, worker, left))
      for worker in self._readers
    ]
    finishers = [
      threading.Thread(target=self._guarded, args=(self._finish,))
      for _ in self._writers
    ]
    self._start_time = self._last_time = time.monotonic()
    is_whole = False
    try:
      for thread in (*threads, *finishers):
        thread.start()
      with contextlib.suppress(_Halted):
        for group in self._groups():
          for clip in self._sample(group):
            self._put(self._sampled, clip)
      with contextlib.suppress(_Halted):
        self._put(self._sampled, None)
      for thread in finishers:
        thread.join()
      is_whole = not (self._halt.is_set() or self._is_stopped())
    finally:
      self._halt.set()
      if not is_whole:  # They may be at calls that take long.
        for worker in (*self._readers, *self._writers):
          worker.end()
      for thread in (*threads, *finishers):
        thread.join()
    if self._error is not None:
      raise self._error

  def _guarded(self, work: Callable[..., None], *args: Any) -> None:
    try:
      work(*args)
    except _Halted:
      pass
    except BaseException as e:
      self._error = self._error or e
      self._halt.set()

  def _read(
    self, worker: workers.Worker, left: Iterator[attempts_lib.Attempt]
  ) -> None:
    """Reads one item after another, which other threads do, too."""
    while not (self._is_stopped() or self._halt.is_set()):
      with self._lock:
        attempt = next(left, None)
      if attempt is None:
        break
      if why := self._refused.get(attempt.item.id):
        fix = 'change the row, or give --system another one'
        self._fail(attempt, workers.ItemFailure('refused', why, fix), 'row')
        continue
      try:
        path = str(self._workshop.folder / attempt.output)
        read, files = worker(attempt.item, path)
      except workers.ItemFailure as e:
        if self._halt.is_set():
          raise _Halted from e
        self._fail(attempt, e, 'read')
        continue
      digests = {name: file['sha256'] for name, file in files.items()}
      name = attempt.item.id
      same = self._results.done(name, attempt.options, sha256=digests)
      if same is not None:  # Touched, or copied, and not changed.
        record = dataclasses.replace(same, attempt=attempt.number, files=files)
        self._journal.append(record)
        self._count(done=1)
        continue
      takes = scoring.takes(read, attempt.item.options.get('best_of', 1))
      self._put(self._ready, _Clip(attempt=attempt, takes=takes, files=files))
    self._put(self._ready, None)

  def _groups(self) -> Iterator[list[_Clip]]:
    """Clips of equal options, as many as share calls, or the last ones."""
    waiting: dict[str, list[_Clip]] = {}
    num_reading = len(self._readers)
    while num_reading:
      clip = self._get(self._ready, self._is_stopped)
      if clip is None:
        num_reading -= 1
        continue
      if not self.figures.start_seconds:
        self.figures.start_seconds = time.monotonic() - self._start_time
      key = sampling_key(clip.attempt.item)
      group = waiting.setdefault(key, [])
      group.append(clip)
      if len(group) == self._together:
        yield waiting.pop(key)
      elif sum(map(len, waiting.values())) >= _MOST_GROUPS * self._together:
        yield waiting.pop(max(waiting, key=lambda k: len(waiting[k])))
    yield from waiting.values()

  def _sample(self, group: list[_Clip]) -> list[_Clip]:
    """Runs the stages; the clips that they could be run on."""
    try:
      self._run_stages(group)
      self._num_unsampled = 0
      return group
    except _Halted:
      raise
    except Exception as e:
      if len(group) > 1:
        logging.warning('A call with %d clips failed: %s', len(group), e)
        return [c for clip in group for c in self._sample([clip])]
      message = f'{type(e).__name__}: {" ".join(str(e).split())}'
      failure = workers.ItemFailure('error', message, 'make --rows smaller')
      self._fail(group[0].attempt, failure, 'sample')
      self._num_unsampled += 1
      if self._num_unsampled >= _MOST_UNSAMPLED:
        raise RuntimeError(
          f'the stages failed on {self._num_unsampled} clips in succession:'
          f' {message}'
        ) from e
      return []

  def _run_stages(self, group: list[_Clip]) -> None:
    def go_on(part: str, seconds: float) -> None:
      del part, seconds
      if self._is_stopped() or self._halt.is_set():
        raise _Halted

    go_on('', 0.0)
    item = group[0].attempt.item
    start = time.monotonic()
    try:
      self._system.sample(
        [read.clip for clip in group for read in clip.takes],
        *resolved(self._system, item, self._rows),
        go_on,
        requests_lib.PartClock(),
      )
    finally:
      now = time.monotonic()
      self.figures.sampling_seconds += now - start
      before = self._start_time + self.figures.start_seconds
      self.figures.stages_seconds = now - before

  def _finish(self) -> None:
    """Decodes, checks, writes and commits clips, which other threads do, too."""
    while (clip := self._get(self._sampled)) is not None:
      try:
        self._finish_one(clip)
      except workers.ItemFailure as e:
        if self._halt.is_set():
          raise _Halted from e
        self._fail(clip.attempt, e, e.part)
    self._sampled.put(None)  # It is the last one for the other threads, too.

  def _finish_one(self, clip: _Clip) -> None:
    attempt = clip.attempt
    item = attempt.item
    facts = self._system.describe(*resolved(self._system, item, self._rows))
    contest = scoring.Contest()
    for read in clip.takes:
      made = self._system.decode(read, facts, requests_lib.PartClock())
      if len(clip.takes) > 1:
        contest.add(made)
    try:
      if len(clip.takes) > 1:
        made = contest.winner()
      soundtrack_lib.check(made)
    except sound.UnusableSound as e:
      fix = 'try another seed or prompt'
      raise workers.ItemFailure(e.reason, str(e), fix, 'sound') from e
    path = self._workshop.folder / attempt.output
    try:
      written = self._write(
        item.files['video'],
        str(path),
        made.audio,
        dict(item.options),
        made.plan is not None,
      )
    except workers.ItemFailure as e:
      e.part = 'write'
      # A folder that is gone is no fault of the item.
      paths.require_writable(self._workshop.folder)
      path.unlink(missing_ok=True)
      raise
    record = records.Record(
      id=item.id,
      state='done',
      attempt=attempt.number,
      options=attempt.options,
      files=clip.files,
      output=attempt.output,
      num_bytes=written.num_bytes,
      sha256=written.sha256,
      seconds=self._seconds(),
    )
    described = soundtrack_lib.describe(
      path,
      item.files['video'],
      made,
      written.output,
      clip.files['video']['sha256'],
    )
    finish = finish_options.of_options(item.options)
    described['output_sha256'] = written.sha256
    described = soundtrack_lib.redoable(described, self._system, made, finish)
    self._workshop.commit(path, record, described, self._journal)
    for name in attempt.replaced:
      self._workshop.drop(name)
    self._count(done=1)

  def _write(self, *args: Any) -> Any:
    """Calls an idle writer; there is one for each thread that finishes clips."""
    writer = self._idle_writers.get()
    try:
      return writer(*args)
    finally:
      self._idle_writers.put(writer)

  def _fail(
    self, attempt: attempts_lib.Attempt, failure: workers.ItemFailure, part: str
  ) -> None:
    files = {
      name: {'version': version, 'sha256': None}
      for name, version in attempt.versions.items()
    }
    self._journal.append(
      records.Record(
        id=attempt.item.id,
        state='failed',
        attempt=attempt.number,
        options=attempt.options,
        files=files,
        seconds=self._seconds(),
        part=part,
        reason=failure.reason,
        message=failure.message,
        fix=failure.fix,
      )
    )
    logging.warning('%s: %s', attempt.item.id, failure)
    self._count(failed=1)

  def _count(self, done: int = 0, failed: int = 0) -> None:
    with self._lock:
      self.figures.num_done += done
      self.figures.num_failed += failed
      self.figures.seconds = time.monotonic() - self._start_time
      self._on_item(self.figures)

  def _seconds(self) -> float:
    """Seconds since the item before was finished."""
    with self._lock:
      now = time.monotonic()
      seconds, self._last_time = now - self._last_time, now
      return round(seconds, 3)

  def _put(self, line: queue.Queue, value: Any) -> None:
    while not self._halt.is_set():
      with contextlib.suppress(queue.Full):
        line.put(value, timeout=_POLL_SECONDS)
        return
    raise _Halted

  def _get(
    self, line: queue.Queue, is_stopped: Callable[[], bool] = lambda: False
  ) -> Any:
    while not (self._halt.is_set() or is_stopped()):
      with contextlib.suppress(queue.Empty):
        return line.get(timeout=_POLL_SECONDS)
    raise _Halted


def sampling_key(item: items_lib.Item) -> str:
  """Text that is equal for items whose stages sample alike."""
  return json.dumps(soundtrack_lib.samplings(item.options), sort_keys=True)


def resolved(system: Any, item: items_lib.Item, rows: int | None) -> Any:
  """Settings of each stage for an item; raises ValueError where none fit."""
  return _resolved(system, sampling_key(item), rows)


@functools.lru_cache(maxsize=1024)
def _resolved(system: Any, key: str, rows: int | None) -> Any:
  from v2meow_jax.models.sampling import options

  fields = json.loads(key)
  return system.resolve([options.Sampling(**f) for f in fields], rows)
