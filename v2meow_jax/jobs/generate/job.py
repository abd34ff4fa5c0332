"""`v2meow batch`: music for every video of a list, each exactly once.

Nobody coordinates: the name of an item says which process makes it, and records
beside the results say what is done. READ FIRST in this room.
"""

from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from concurrent import futures
import contextlib
import dataclasses
from typing import Any

import v2meow_jax
from v2meow_jax import progress as progress_lib
from v2meow_jax.extractors.planning import planner
from v2meow_jax.files import atomic
from v2meow_jax.files import copies
from v2meow_jax.files import manifests
from v2meow_jax.files import paths
from v2meow_jax.files import released
from v2meow_jax.jobs import commit
from v2meow_jax.jobs import records
from v2meow_jax.jobs import shards
from v2meow_jax.jobs.generate import items as items_lib
from v2meow_jax.jobs.generate import making
from v2meow_jax.jobs.generate import report
from v2meow_jax.jobs.generate import workers

EXIT_DONE = 0
EXIT_FAILURES = 3
EXIT_TRY_AGAIN = 75
_NUM_LOOKERS = 16  # Threads that ask a bucket for versions.


@dataclasses.dataclass(frozen=True, kw_only=True)
class Batch:
  """What to make of a list of videos, and how.

  Attributes:
    manifest: List of the videos; see `items.read`.
    out: Folder of the results, here or in a bucket.
    defaults: Options for rows that say nothing.
    system_dir: Folder of a released system; None: the embedded one.
    dtype: Type in which the stages compute; None: that of the device.
    tensor: Number of devices that split the weights of the stages.
    rows: Number of windows in a call of a stage, and of clips that are made
      together, for each group of devices; None: the system's own, and one clip.
    output_format: Suffix of the results, without its dot.
    shard: Part of the items that this process makes.
    num_workers: Number of processes that read media.
    limits: Limits of each call of these.
    skip_bad_rows: Whether to go on without rows that cannot be used.
  """

  manifest: str
  out: str
  defaults: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  system_dir: str | None = None
  dtype: str | None = None
  tensor: int = 1
  rows: int | None = None
  output_format: str = 'mp4'
  shard: shards.JobShard = shards.JobShard(index=0, count=1)
  num_workers: int = 1
  limits: workers.CallLimits = workers.CallLimits()
  skip_bad_rows: bool = False


def run(
  batch: Batch,
  *,
  is_stopped: Callable[[], bool] = lambda: False,
  make_reader: Callable[[], Callable[..., Any]] | None = None,
  load_system: Callable[..., Any] | None = None,
) -> int:
  """Makes what is not made yet of a shard; prints what came of it.

  Args:
    batch: List of videos, and how to make their music.
    is_stopped: Function that says whether to stop.
    make_reader: Function that makes the function by which workers read; None:
      `reading.Reading`.
    load_system: Function that loads a system; None: `inference.system.load`.

  Returns:
    0 when all items of the shard are done, 3 when some failed, and 75 when it
    was stopped before the last one.

  Raises:
    ValueError: A row, an option or the system is not usable.
    OSError: Results cannot be written.
  """
  items, bad_rows = items_lib.read(
    batch.manifest, batch.defaults, skip_bad_rows=batch.skip_bad_rows
  )
  for line in bad_rows:
    print(f'left out: {line}')
  settings = _settings(batch)
  out = paths.path(batch.out)
  if not paths.is_remote(out):
    out.mkdir(parents=True, exist_ok=True)
  paths.require_writable(out)
  options = {item.id: item.digest(settings) for item in items}
  job = {'manifest': batch.manifest, 'settings': settings, 'items': options}
  mine = [item for item in items if item.id in batch.shard]
  with (
    contextlib.closing(commit.Workshop(out, batch.shard)) as workshop,
    contextlib.closing(records.Journal(out, batch.shard)) as journal,
  ):
    results = records.Results(out)
    attempts, standing = _attempts(mine, options, results, journal, batch)
    before = report.write_job(out, job, workshop.write_text)
    _say_redone(attempts, results, report.changes(before, settings))
    figures = making.Figures(*standing)
    if attempts:
      figures = _make(
        batch, attempts, results, journal, workshop, standing,
        is_stopped, make_reader, load_system,
      )  # fmt: skip
    journal.close()
    report.write_failed(out, options, workshop.write_text)
  left = len(mine) - figures.num_done - figures.num_failed
  print(
    f'{_name(batch)}: {figures.num_done} of {len(mine)} done,'
    f' {figures.num_failed} failed, {left} left'
  )
  if left:
    print('asked to stop; the same command goes on with what is left')
    return EXIT_TRY_AGAIN
  return EXIT_FAILURES if figures.num_failed else EXIT_DONE


def _name(batch: Batch) -> str:
  several = batch.shard.count > 1
  return f'{batch.out}, shard {batch.shard}' if several else batch.out


def _settings(batch: Batch) -> dict[str, Any]:
  """What acts on the sound of every item."""
  from v2meow_jax.inference import restore  # pylint: disable=g-import-not-at-top
  from v2meow_jax.inference import system  # pylint: disable=g-import-not-at-top
  from v2meow_jax.models.sampling import options  # pylint: disable=g-import-not-at-top

  if batch.rows is not None:
    options.Windows(rows=batch.rows)  # Refuses other numbers of rows.
  folder = system.folder(batch.system_dir)
  released.read_config_alone(folder)
  return {
    'system_sha256': atomic.sha256(folder / released.CONFIG_NAME),
    'version': v2meow_jax.__version__,
    'planner_version': planner.PLANNER_VERSION,
    'dtype': batch.dtype or restore.device_dtype(),
    'tensor': batch.tensor,
    'rows': batch.rows,
    'format': batch.output_format,
  }


def _attempts(
  items: Sequence[items_lib.Item],
  options: Mapping[str, str],
  results: records.Results,
  journal: records.Journal,
  batch: Batch,
) -> tuple[list[making.Attempt], tuple[int, int]]:
  """What is to be made, and how many items are done and failed already."""
  attempts, num_done, num_failed = [], 0, 0
  for item, versions in zip(items, _versions(items), strict=True):
    digest = options[item.id]
    output = f'{item.id}.{batch.output_format}'
    if results.done(item.id, digest, versions):
      num_done += 1
      continue
    if results.failed(item.id, digest, versions):
      num_failed += 1
      continue
    if (record := results.unrecorded(item.id, output)) is not None:
      journal.append(record)
    if results.done(item.id, digest, versions):
      num_done += 1
    else:
      written = {r.output for r in results.of(item.id) if r.state == 'done'}
      attempts.append(
        making.Attempt(
          item=item,
          options=digest,
          versions=versions,
          number=results.last_attempt(item.id) + 1,
          output=output,
          replaced=frozenset(written - {output}),
        )
      )
  return attempts, (num_done, num_failed)


def _versions(
  items: Sequence[items_lib.Item],
) -> list[dict[str, str | None]]:
  """Versions of the files of each item, by role; no file is opened."""

  def version(path: str) -> str | None:
    try:
      return copies.version(path)
    except (OSError, ImportError):
      return None  # The worker says why.

  names = {path for item in items for path in item.files.values()}
  with futures.ThreadPoolExecutor(_NUM_LOOKERS) as pool:
    versions = dict(zip(names, pool.map(version, names), strict=True))
  return [
    {role: versions[path] for role, path in item.files.items()}
    for item in items
  ]


def _say_redone(
  attempts: Sequence[making.Attempt],
  results: records.Results,
  changes: Sequence[str],
) -> None:
  """Says how many results are made again, and why."""
  redone = [
    a
    for a in attempts
    if any(record.state == 'done' for record in results.of(a.item.id))
  ]
  if redone:
    why = '; '.join(changes) or 'their rows, options or files are others now'
    print(
      f'{len(redone)} items are made again, each in the place of its older'
      f' result: {why}'
    )


def _make(
  batch: Batch,
  attempts: Sequence[making.Attempt],
  results: records.Results,
  journal: records.Journal,
  workshop: commit.Workshop,
  standing: tuple[int, int],
  is_stopped: Callable[[], bool],
  make_reader: Callable[[], Callable[..., Any]] | None,
  load_system: Callable[..., Any] | None,
) -> making.Figures:
  """Loads the system and makes the items."""
  from v2meow_jax.inference import system as system_lib  # pylint: disable=g-import-not-at-top
  from v2meow_jax.inference.programs import compile_cache  # pylint: disable=g-import-not-at-top
  from v2meow_jax.jobs.generate import reading  # pylint: disable=g-import-not-at-top
  from v2meow_jax.jobs.generate import writing  # pylint: disable=g-import-not-at-top

  compile_cache.enable()
  num_before = sum(standing)
  reader = make_reader or reading.Reading(batch.system_dir)
  readers = [
    workers.Worker(reader, batch.limits)
    for _ in range(min(batch.num_workers, len(attempts)))
  ]
  writer = workers.Worker(writing.Writing(), batch.limits)
  with contextlib.ExitStack() as stack:
    for worker in (*readers, writer):
      stack.callback(worker.end)
      worker.start()  # They load while this process does.
    load = load_system or system_lib.load
    system = load(batch.system_dir, batch.dtype, batch.tensor)
    _check_options(system, batch, [a.item for a in attempts])
    bar = progress_lib.bar(
      total=num_before + len(attempts),
      initial=num_before,
      unit='clip',
      desc=_name(batch),
    )
    stack.enter_context(bar)

    def show(figures: making.Figures) -> None:
      bar.set_postfix_str(
        f'stages wait {figures.wait_share:.0%}', refresh=False
      )
      bar.update()

    maker = making.Maker(
      system,
      workshop,
      journal,
      results,
      readers=readers,
      writer=writer,
      rows=batch.rows,
      is_stopped=is_stopped,
      on_item=show,
    )
    maker.make(attempts)
  figures = maker.figures
  num_made = figures.num_done + figures.num_failed
  if num_made:
    minutes = figures.seconds / 60
    print(
      f'{num_made} items in {minutes:.2f} minutes, {num_made / minutes:.1f} a'
      f' minute; the stages waited for {figures.wait_share:.1%} of the time'
    )
  figures.num_done += standing[0]
  figures.num_failed += standing[1]
  return figures


def _check_options(
  system: Any, batch: Batch, items: Sequence[items_lib.Item]
) -> None:
  """Raises ValueError when a system cannot do what a row asks of it."""
  from v2meow_jax.inference import system as system_lib  # pylint: disable=g-import-not-at-top

  errors = []
  for item in items:
    try:
      samplings, _ = making.resolved(system, item, batch.rows)
      if item.options.get('negative'):
        system_lib.require_guidance(samplings)
    except ValueError as e:
      errors.append(f'{item.where}: {e}')
  manifests.require_none(paths.path(batch.manifest), errors)
