"""Has an engine make a batch: it hands out shards, and holds no result.

What is done and what failed is in the records of the batch, whoever made it, so
that an engine may lose processes, or do a shard twice.
"""

from collections.abc import Callable
from collections.abc import Sequence
import dataclasses
import os

from absl import logging

from v2meow_jax.files import paths
from v2meow_jax.inference import system
from v2meow_jax.jobs import shards
from v2meow_jax.jobs.generate import items
from v2meow_jax.jobs.generate import job


@dataclasses.dataclass(frozen=True, kw_only=True)
class ShardError:
  """A shard that ended with an error.

  Attributes:
    shard: Name of the shard.
    error: Sentence on what went wrong.
  """

  shard: str
  error: str


HandOut = Callable[[job.Batch, Sequence[shards.JobShard]], list[ShardError]]


def run(batch: job.Batch, num_shards: int, hand_out: HandOut) -> int:
  """Makes what is not made yet of a batch; prints what came of it.

  Args:
    batch: List of videos, and how to make their music. Other machines must find
      its paths, too.
    num_shards: Number of parts to hand out; those of which nothing is left are
      kept back.
    hand_out: Function that has shards made by the processes of an engine, and
      gives the errors of those that could not be.

  Returns:
    An exit code, as that of `job.run`.

  Raises:
    ValueError: A row, an option or the system is not usable; or a shard ended
      with an error.
    OSError: Results cannot be written.
  """
  if num_shards < 1:
    raise ValueError(f'--num_shards is {num_shards}; wanted 1 or more.')
  batch = _absolute(batch)
  errors: list[ShardError] = []
  with job.Job(batch) as whole:
    whole.say_bad_rows()
    stock = whole.take_stock()
    left = [
      shard
      for shard in shards.every(num_shards)
      if any(attempt.item.id in shard for attempt in stock.attempts)
    ]
    if left:
      errors = hand_out(batch, left)
      stock = whole.take_stock()
  num_left = len(stock.attempts)
  print(
    f'{batch.out}: {stock.num_done} done, {stock.num_failed} failed,'
    f' {num_left} left'
  )
  for error in errors:
    logging.error('Shard %s: %s', error.shard, error.error)
  if errors:
    raise ValueError(
      f'{len(errors)} of {num_shards} shards ended with errors, {errors[0].shard}'
      f' with: {errors[0].error} What is finished is kept; the same command goes'
      ' on with what is left.'
    )
  return job.exit_code(num_left, stock.num_failed)


def _absolute(batch: job.Batch) -> job.Batch:
  """The same batch for processes that run in other folders."""
  folder = batch.system_dir and os.fspath(system.folder(batch.system_dir))
  return dataclasses.replace(
    batch,
    manifest=paths.absolute(batch.manifest),
    out=paths.absolute(batch.out),
    system_dir=folder and paths.absolute(folder),
    defaults={
      name: paths.absolute(value) if value and name in items.FILES else value
      for name, value in batch.defaults.items()
    },
  )
