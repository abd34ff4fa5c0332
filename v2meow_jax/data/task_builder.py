"""Builds SeqIO tasks from datasets and stages."""

from collections.abc import Collection
from collections.abc import Mapping
import functools

import seqio
import tensorflow as tf

from v2meow_jax import specs
from v2meow_jax import tokens
from v2meow_jax.data import datasets
from v2meow_jax.data import preprocessors
from v2meow_jax.data import record_source
from v2meow_jax.data import records


def build_task(
  dataset: str | datasets.Dataset,
  stage: specs.StageSpec,
  source: record_source.RecordSource | None = None,
  *,
  training: bool = True,
  drop_rates: Mapping[str, float] | None = None,
) -> seqio.Task:
  """Builds the task of a stage on a dataset, named `<dataset>_<stage>`.

  T5X and SeqIO take the unregistered object, so a stage that gin changed needs
  no new name.

  Args:
    dataset: Row of the dataset, or its name, which is that of its folder.
    stage: Stage whose streams are the features, as ids of this stage.
    source: Source of records; None: `$V2MEOW_DATA_DIR/<dataset>`.
    training: Whether to draw crops and drop streams; otherwise takes the first
      crop of each recording, and the name ends in `_eval`.
    drop_rates: Rates of `preprocessors.drop_streams`, in training only; what is
      always dropped, at a rate of 1, need not be recorded.

  Returns:
    The task, which opens the data when it is first read.

  Raises:
    ValueError: A stream to drop is not a continuous input of the stage.
  """
  dataset = datasets.named(dataset)
  source = source or record_source.RecordSource(
    dataset.name, splits=dataset.splits
  )
  drop_rates = drop_rates or {}
  _check_drops(stage, drop_rates)
  crop = preprocessors.random_crop if training else preprocessors.first_crop
  always = {n for n, rate in drop_rates.items() if training and rate == 1}
  steps = [
    functools.partial(
      _check_stage,
      dataset=dataset.name,
      source=source,
      stage=stage,
      left_out=always,
    ),
    *([preprocessors.give_seeds] if training else []),
    functools.partial(crop, stage=stage),
    functools.partial(preprocessors.codes_to_ids, stage=stage),
  ]
  if training and drop_rates:
    steps.append(
      functools.partial(preprocessors.drop_streams, rates=drop_rates)
    )
  return seqio.Task(
    f'{dataset.name}_{stage.name}' + ('' if training else '_eval'),
    source=source,
    output_features={s.name: _output_feature(stage, s) for s in stage.streams},
    preprocessors=steps,
  )


def add_task(
  dataset: str | datasets.Dataset,
  stage: specs.StageSpec,
  *,
  drop_rates: Mapping[str, float] | None = None,
) -> None:
  """Registers `<dataset>_<stage>` and `<dataset>_<stage>_eval` with SeqIO."""
  for training in (True, False):
    task = build_task(dataset, stage, training=training, drop_rates=drop_rates)
    seqio.TaskRegistry.add_provider(task.name, task)


def _check_stage(
  ds: tf.data.Dataset,
  *,
  dataset: str,
  source: record_source.RecordSource,
  stage: specs.StageSpec,
  left_out: Collection[str],
) -> tf.data.Dataset:
  try:
    records.check_stage(source.streams, stage, left_out)
  except ValueError as e:
    raise ValueError(f'{dataset}: {e}') from e
  return ds


def _check_drops(
  stage: specs.StageSpec, drop_rates: Mapping[str, float]
) -> None:
  continuous = [s.name for s in stage.feature_inputs]
  for name in drop_rates:
    if name not in continuous:
      raise ValueError(
        f'stage {stage.name!r} cannot drop the stream {name!r}: its continuous'
        f' inputs are {continuous}.'
      )


def _output_feature(
  stage: specs.StageSpec, stream: specs.Stream
) -> seqio.Feature:  # pyright: ignore[reportInvalidTypeForm]
  if isinstance(stream, specs.FeatureSpec):
    rank = 1 + len(stream.frame_shape)
    return seqio.ContinuousFeature(dtype=tf.float32, rank=rank)
  return seqio.Feature(
    vocabulary=seqio.PassThroughVocabulary(
      size=tokens.IdSpace(stage).vocab_size
    ),
    add_eos=False,
    dtype=tf.int32,
  )
