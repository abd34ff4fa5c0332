"""Makes a batch as an Apache Beam pipeline, on any of its runners.

The elements are shards. A worker loads the system once, and fills its rows with
the clips of a shard. A shard that ends with an error is a dead letter, and an
item that fails is a record, as everywhere.
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Sequence
import dataclasses
import json
from typing import Any

import apache_beam as beam
from apache_beam.ml.inference import base

from v2meow_jax.files import atomic
from v2meow_jax.files import paths
from v2meow_jax.jobs import pipelines
from v2meow_jax.jobs import shards
from v2meow_jax.jobs.engines import sharing
from v2meow_jax.jobs.generate import job

# In OUT, while the pipeline runs.
_DEAD_LETTERS = 'dead_letters.jsonl'


class ShardHandler(
  base.ModelHandler[shards.JobShard, base.PredictionResult, job.Job]
):
  """Makes shards of a batch in Beam's `RunInference`.

  A prediction is the exit code of a shard.
  """

  def __init__(self, batch: job.Batch):
    """Loads nothing yet.

    Args:
      batch: List of videos, and how to make their music.
    """
    super().__init__(max_batch_size=1)
    self._batch = batch

  def load_model(self) -> job.Job:
    """Reads the list; the first shard loads the system."""
    return job.Job(self._batch)

  def run_inference(
    self,
    batch: Sequence[shards.JobShard],
    model: job.Job,
    inference_args: dict[str, Any] | None = None,
  ) -> Iterable[base.PredictionResult]:
    """Makes what is not made yet of shards."""
    del inference_args
    return [base.PredictionResult(shard, model.run(shard)) for shard in batch]


def run(
  batch: job.Batch, *, num_shards: int, options: Sequence[str] = ()
) -> int:
  """Makes a batch with Beam; see `sharing.run`.

  Without a type, the stages compute in float32, whatever workers have.

  Args:
    batch: List of videos, and how to make their music.
    num_shards: Number of parts that workers take.
    options: Options of Beam, as on a command line; without a runner, the one of
      this machine.
  """

  def hand_out(
    batch: job.Batch, left: Sequence[shards.JobShard]
  ) -> list[sharing.ShardError]:
    letters = paths.path(batch.out) / _DEAD_LETTERS
    letters.unlink(missing_ok=True)
    with pipelines.opened(options) as pipeline:
      _, failed = (
        pipeline
        | 'Shards' >> beam.Create(left)
        | 'Spread' >> beam.Reshuffle()
        | 'Make'
        >> base.RunInference(ShardHandler(batch)).with_exception_handling()
      )
      _ = (
        failed.failed_inferences
        | 'Letters' >> beam.FlatMap(_letters)
        | 'Together' >> beam.GroupByKey()
        | 'Write' >> beam.Map(_write_letters, out=batch.out)
      )
    if not letters.exists():
      return []
    rows = map(json.loads, letters.read_text().splitlines())
    errors = [sharing.ShardError(**row) for row in rows]
    letters.unlink()
    return errors

  # Whoever starts a pipeline may have another device than its workers.
  batch = dataclasses.replace(batch, dtype=batch.dtype or 'float32')
  return sharing.run(batch, num_shards, hand_out)


def _letters(failed: tuple[Sequence[Any], tuple[type, str, Any]]) -> list:
  """Rows of the dead letters of one call of `run_inference`."""
  batch, (_, error, _) = failed
  return [(None, {'shard': str(shard), 'error': error}) for shard in batch]


def _write_letters(group: tuple[None, Iterable[Any]], out: str) -> None:
  ordered = sorted(group[1], key=lambda row: row['shard'])
  lines = [json.dumps(row) + '\n' for row in ordered]
  atomic.write_text(paths.path(out) / _DEAD_LETTERS, ''.join(lines))
