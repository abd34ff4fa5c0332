"""`v2meow batch`: music for every video of a list, each exactly once.

Nobody coordinates: the name of an item says which process makes it, and records
beside the results say what is done. READ FIRST in this room.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import functools
import os
import threading
from typing import Any

import v2meow_jax
from v2meow_jax import progress as progress_lib
from v2meow_jax.extractors.planning import planner
from v2meow_jax.files import atomic
from v2meow_jax.files import manifests
from v2meow_jax.files import outputs
from v2meow_jax.files import paths
from v2meow_jax.files import released
from v2meow_jax.inference.finish import options as finish_options
from v2meow_jax.jobs import commit
from v2meow_jax.jobs import shards
from v2meow_jax.jobs.generate import attempts as attempts_lib
from v2meow_jax.jobs.generate import items as items_lib
from v2meow_jax.jobs.generate import making
from v2meow_jax.jobs.generate import report
from v2meow_jax.jobs.generate import workers

EXIT_DONE = 0
EXIT_FAILURES = 3
EXIT_TRY_AGAIN = 75
ACCELERATOR_ROWS = 8  # ours: a step of so many rows takes little more than one.


@dataclasses.dataclass(frozen=True, kw_only=True)
class Batch:
  """What to make of a list of videos, and how.

  Attributes:
    manifest: List of the videos; see `items.read`.
    out: Folder of the results, here or in a bucket.
    defaults: Options for rows that say nothing.
    system_dir: Folder of a released system; None: the default.
    dtype: Type in which the stages compute; None: that of the device.
    tensor: Number of devices that split the weights of the stages.
    rows: Number of windows in a call of a stage, and of clips that are made
      together, for each group of devices; None: the system's own and one clip on
      a CPU, else `ACCELERATOR_ROWS`.
    output_format: Suffix of the results, without its dot.
    num_workers: Number of processes that read media, and of those that write.
    limits: Limits of each call of these.
    skip_bad_rows: Whether to go on without rows that cannot be used.
    make_reader: Function that makes the function by which workers read; None:
      `reading.Reading`.
    load_system: Function that loads a system; None: `inference.system.load`.
  """

  manifest: str
  out: str
  defaults: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  system_dir: str | None = None
  dtype: str | None = None
  tensor: int = 1
  rows: int | None = None
  output_format: str = 'mp4'
  num_workers: int = 1
  limits: workers.CallLimits = workers.CallLimits()
  skip_bad_rows: bool = False
  make_reader: Callable[[], Callable[..., Any]] | None = None
  load_system: Callable[..., Any] | None = None


def run(
  batch: Batch,
  shard: shards.JobShard = shards.ALL,
  *,
  is_stopped: Callable[[], bool] = lambda: False,
) -> int:
  """Makes what is not made yet of a shard; prints what came of it.

  Args:
    batch: List of videos, and how to make their music.
    shard: Part of the items that this process makes.
    is_stopped: Function that says whether to stop.

  Returns:
    0 when all items of the shard are done, 3 when some failed, and 75 when it
    was stopped before the last one.

  Raises:
    ValueError: A row, an option or the system is not usable.
    OSError: Results cannot be written.
  """
  with Job(batch) as job:
    job.say_bad_rows()
    return job.run(shard, is_stopped)


class Job:
  """A batch in one process, which makes one shard after another of it.

  The system is loaded once, when there is something to make. A context manager,
  which ends its worker processes.

  Attributes:
    batch: List of videos, and how to make their music.
  """

  def __init__(self, batch: Batch):
    """Reads the list.

    Raises:
      ValueError: A row, an option or the folder of the system is not usable.
      OSError: Results cannot be written.
    """
    self.batch = batch
    self._items, self._bad_rows = items_lib.read(
      batch.manifest, batch.defaults, skip_bad_rows=batch.skip_bad_rows
    )
    _check_finish(batch, self._items)
    _check_inputs_survive(batch, self._items)
    self._rows = _device_rows() if batch.rows is None else batch.rows
    self._settings = _settings(batch, self._rows)
    self._options = {i.id: i.digest(self._settings) for i in self._items}
    self._content = {
      'manifest': paths.absolute(batch.manifest),
      'settings': self._settings,
      'items': self._options,
    }
    self._out = paths.path(batch.out)
    if not paths.is_remote(self._out):
      try:
        self._out.mkdir(parents=True, exist_ok=True)
      except OSError as e:
        raise OSError(
          f'{self._out} cannot be a folder of results ({e.strerror}); give -o'
          ' another.'
        ) from e
    paths.require_writable(self._out)
    self._system: Any = None
    self._readers: list[workers.Worker] = []
    self._writers: list[workers.Worker] = []
    self._lock = threading.Lock()

  def __enter__(self) -> Job:
    return self

  def __exit__(self, *_):
    for worker in (*self._readers, *self._writers):
      worker.end()

  def say_bad_rows(self) -> None:
    """Prints what is wrong with the rows that are left out."""
    for line in self._bad_rows:
      print(f'left out: {line}')

  def take_stock(self) -> attempts_lib.Stock:
    """What is done, failed and left of all shards; makes nothing."""
    with self._lock, commit.ShardFolder(self._out, shards.ALL) as folder:
      stock = self._take_stock(shards.ALL, folder)
      folder.journal.close()
      report.write_failed(self._out, self._options, folder.workshop.write_text)
    return stock

  def _take_stock(
    self, shard: shards.JobShard, folder: commit.ShardFolder
  ) -> attempts_lib.Stock:
    before = report.write_job(
      self._out, self._content, folder.workshop.write_text
    )
    stock = attempts_lib.take_stock(
      [item for item in self._items if item.id in shard],
      self._options,
      self.batch.output_format,
      folder,
    )
    _say_redone(stock.attempts, report.changes(before, self._settings))
    return stock

  def run(
    self,
    shard: shards.JobShard,
    is_stopped: Callable[[], bool] = lambda: False,
  ) -> int:
    """Makes what is not made yet of a shard; see `run`."""
    with self._lock, commit.ShardFolder(self._out, shard) as folder:
      stock = self._take_stock(shard, folder)
      figures = making.Figures(stock.num_done, stock.num_failed)
      if stock.attempts and not is_stopped():
        self._make(stock.attempts, folder, figures, is_stopped)
      folder.journal.close()
      report.write_failed(self._out, self._options, folder.workshop.write_text)
    total = stock.num_done + stock.num_failed + len(stock.attempts)
    left = total - figures.num_done - figures.num_failed
    several = shard.count > 1
    print(
      f'{self.batch.out}{f", shard {shard}" if several else ""}:'
      f' {figures.num_done} of {total} done, {figures.num_failed} failed,'
      f' {left} left'
    )
    if left:
      print('asked to stop; the same command goes on with what is left')
    return exit_code(left, figures.num_failed)

  def _make(
    self,
    attempts: Sequence[attempts_lib.Attempt],
    folder: commit.ShardFolder,
    figures: making.Figures,
    is_stopped: Callable[[], bool],
  ) -> None:
    """Makes items; counts them in `figures`."""
    num = min(self.batch.num_workers, len(attempts))
    self._start_workers(num)
    if is_stopped():  # Starting them takes seconds.
      return
    refused = self._load(attempts)
    before = figures.num_done + figures.num_failed
    with progress_lib.bar(
      total=before + len(attempts),
      initial=before,
      unit='clip',
      desc=self.batch.out,
    ) as bar:

      def show(figures: making.Figures) -> None:
        bar.set_postfix_str(
          f'stages wait {figures.wait_share:.0%}', refresh=False
        )
        bar.update()

      making.Maker(
        self._system,
        folder,
        figures,
        readers=self._readers[:num],
        writers=self._writers[:num],
        rows=self._rows,
        is_stopped=is_stopped,
        on_item=show,
        refused=refused,
      ).make(attempts)
    if num_made := figures.num_done + figures.num_failed - before:
      seconds = figures.seconds
      print(
        f'{num_made} {"item" if num_made == 1 else "items"} in {seconds:.1f} s,'
        f' {60 * num_made / seconds:.1f} a minute; the first clip was read after'
        f' {figures.start_seconds:.1f} s, and from then to their last call the'
        f' stages waited for {figures.wait_share:.1%} of the time'
      )

  def _start_workers(self, num: int) -> None:
    """Processes that read and write, which load what they need."""
    from v2meow_jax.jobs.generate import reading
    from v2meow_jax.jobs.generate import writing

    batch = self.batch
    make_reader = batch.make_reader or reading.Reading(batch.system_dir)
    self._readers = _of_number(self._readers, num, make_reader, batch.limits)
    self._writers = _of_number(
      self._writers, num, writing.Writing(), batch.limits
    )
    for worker in (*self._readers, *self._writers):
      worker.start()

  def _load(self, attempts: Sequence[attempts_lib.Attempt]) -> dict[str, str]:
    """Loads the system, once.

    Returns:
      Why it cannot make some of the items, by id, where bad rows are skipped;
      they fail.

    Raises:
      ValueError: It cannot make some, and bad rows are not skipped.
    """
    from v2meow_jax.inference import pipeline
    from v2meow_jax.inference import system as system_lib
    from v2meow_jax.inference.programs import compile_cache

    batch = self.batch
    if self._system is None:
      compile_cache.enable()
      load = batch.load_system or system_lib.load
      self._system = load(batch.system_dir, batch.dtype, batch.tensor)
    items, refused = [a.item for a in attempts], {}
    for item in items:
      try:
        samplings, _ = making.resolved(self._system, item, self._rows)
        if item.options.get('negative'):
          pipeline.require_guidance(samplings)
        words = (item.options.get(name) for name in ('prompt', 'negative'))
        self._system.follows(item.wishes, *filter(None, words))
      except ValueError as e:
        refused[item.id] = str(e)
    if not batch.skip_bad_rows:
      errors = [
        f'{item.where}: {refused[item.id]}'
        for item in items
        if item.id in refused
      ]
      manifests.require_none(paths.path(batch.manifest), errors)
    return refused


def _of_number(
  standing: Sequence[workers.Worker],
  num: int,
  make: Callable[[], Callable[..., Any]],
  limits: workers.CallLimits,
) -> list[workers.Worker]:
  """At least so many workers: those that stand, and new ones."""
  alive = [worker for worker in standing if not worker.is_over]
  missing = range(num - len(alive))
  return alive + [workers.Worker(make, limits) for _ in missing]


def exit_code(num_left: int, num_failed: int) -> int:
  """Exit code of a batch that ended with so many items."""
  if num_left:
    return EXIT_TRY_AGAIN
  return EXIT_FAILURES if num_failed else EXIT_DONE


def _device_rows() -> int | None:
  import jax

  return None if jax.default_backend() == 'cpu' else ACCELERATOR_ROWS


def _settings(batch: Batch, rows: int | None) -> dict[str, Any]:
  """What acts on the sound of every item."""
  from v2meow_jax.inference import restore
  from v2meow_jax.inference import system
  from v2meow_jax.models.sampling import options

  if rows is not None:
    options.Windows(rows=rows)  # Refuses other numbers of rows.
  folder = system.folder(batch.system_dir)
  released.read_config_alone(folder)
  return {
    'system_sha256': atomic.sha256(folder / released.CONFIG_NAME),
    'version': v2meow_jax.__version__,
    'planner_version': planner.PLANNER_VERSION,
    'finish_version': finish_options.VERSION,
    'dtype': batch.dtype or restore.device_dtype(),
    'tensor': batch.tensor,
    'rows': rows,
    'format': batch.output_format,
  }


def _say_redone(
  attempts: Sequence[attempts_lib.Attempt], changes: Sequence[str]
) -> None:
  """Says how many results are made again, and why."""
  if num_redone := sum(a.is_again for a in attempts):
    why = '; '.join(changes) or 'their rows, files or settings are others now'
    print(
      f'{num_redone} items are made again, each in the place of its older'
      f' result: {why}'
    )


def _check_finish(batch: Batch, items: Sequence[items_lib.Item]) -> None:
  """Raises ValueError when the kind of the results holds no such sound."""
  errors = []
  for item in items:
    try:
      finish = finish_options.of_options(item.options)
      finish.of(f'{item.id}.{batch.output_format}', finish_options.FILM_RATE_HZ)
    except ValueError as e:
      errors.append(f'{item.where}: {e}')
  manifests.require_none(paths.path(batch.manifest), errors)


def _check_inputs_survive(
  batch: Batch, items: Sequence[items_lib.Item]
) -> None:
  """Raises ValueError when a result would replace what is read."""
  is_remote = paths.is_remote(batch.out)
  folder = (
    paths.absolute(batch.out) if is_remote else os.path.realpath(batch.out)
  )
  written = {}
  for item in items:
    result = f'{folder}/{item.id}.{batch.output_format}'
    written |= {result: item.id, f'{result}{outputs.SIDECAR_SUFFIX}': item.id}
  if not is_remote and os.path.isdir(folder):
    # What a link names is replaced, not the link.
    links = [entry.path for entry in os.scandir(folder) if entry.is_symlink()]
    written |= {_whole_path(p): written[p] for p in links if p in written}
  errors = [
    f'{item.where}: {path} is also what would be written for {written[place]!r},'
    ' and would be lost; give -o another folder'
    for item in items
    for path in item.files.values()
    if (place := _whole_path(path)) in written
  ]
  manifests.require_none(paths.path(batch.manifest), errors)


def _whole_path(path: str) -> str:
  """The path of a file without links; of many files, without much ado."""
  if paths.is_remote(path):
    return paths.absolute(path)
  if os.path.islink(path):
    return os.path.realpath(path)
  return os.path.join(
    _real_folder(os.path.dirname(path)), os.path.basename(path)
  )


@functools.lru_cache(maxsize=4096)
def _real_folder(folder: str) -> str:
  return os.path.realpath(folder)
