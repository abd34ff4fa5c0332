"""Reads SeqIO tasks as numpy batches from any step on."""

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
import itertools
from typing import Any

import numpy as np
import seqio
import tensorflow as tf

from v2meow_jax import specs
from v2meow_jax.data import datasets
from v2meow_jax.data import feature_converters
from v2meow_jax.data import order
from v2meow_jax.data import preprocessors
from v2meow_jax.data import record_source
from v2meow_jax.data import records
from v2meow_jax.data import seekable
from v2meow_jax.data import task_builder

# Parallel reads; they wait for a disk or a bucket, not for a core.
_PARALLEL_READS = 16
_ID = {'id': seqio.FeatureConverter.FeatureSpec(dtype=tf.string, rank=0)}


class TaskBatches:
  """Batches of one stage: `batches(start_step)` iterates from that step on.

  Dataset, stage, seed and position in the run (see `order`) determine a row: its
  recording, crop and dropped streams. So a run starts at any step at once, and
  slices of a batch together are the batch of one process. Each row is one read
  of the records that hold its crop; only the order of an epoch stays in memory.
  """

  def __init__(
    self,
    stage: specs.StageSpec,
    *,
    dataset: str | datasets.Dataset = 'synthetic',
    split: str = 'train',
    batch_size: int,
    seed: int = 0,
    repeat: bool = True,
    layout: str = 'encoder-decoder',
    drop_rates: Mapping[str, float] | None = None,
    prefix_rate: float | None = None,
  ):
    """Opens nothing yet; the first batch opens the data.

    Args:
      stage: Stage of the streams and ids.
      dataset: Row of the dataset, or its folder under `$V2MEOW_DATA_DIR`.
      split: 'train' or 'validation'.
      batch_size: Number of rows of every batch.
      seed: Seed of permutations, crops and dropped streams, >= 0.
      repeat: Whether to repeat without end with random crops, to train; else one
        pass in a fixed order with first crops and no dropped stream, whose last
        batch is padded by rows with `decoder_loss_weights` of 0.
      layout: Name of the model's batches, one of
        `feature_converters.BY_LAYOUT`.
      drop_rates: Rates of `preprocessors.drop_streams`.
      prefix_rate: Share of the rows whose beginning an objective may tell, in
        place of its own `prefix_rate`; None: as the objective has it.
    """
    if batch_size < 1:
      raise ValueError(f'batch_size is {batch_size}; wanted at least 1.')
    if prefix_rate is not None and not 0 <= prefix_rate <= 1:
      raise ValueError(f'prefix_rate is {prefix_rate}; wanted one in [0, 1].')
    dataset = datasets.named(dataset)
    dataset.check(split, training=repeat)
    self.batch_size = batch_size
    self.licences = {dataset.name: dataset.licence}
    self._dataset = dataset.name
    self._stage = stage
    self._split = split
    self._seed = seed
    self._repeat = repeat
    self._prefix_rate = prefix_rate
    if layout not in feature_converters.BY_LAYOUT:
      raise ValueError(
        f'layout is {layout!r}; wanted one of'
        f' {sorted(feature_converters.BY_LAYOUT)}, as the model says.'
      )
    converter = feature_converters.BY_LAYOUT[layout]
    self._converter = converter(stage, passthrough_features=_ID)
    self._source = record_source.RecordSource(
      dataset.name, splits=dataset.splits
    )
    self._task = task_builder.build_task(
      dataset,
      stage,
      self._source,
      training=repeat,
      drop_rates=drop_rates,
    )

  @property
  def has_prefix_rate(self) -> bool:
    """Whether the batches hold `decoder_prefix_rates`."""
    return self._prefix_rate is not None

  @property
  def num_examples(self) -> int:
    """Number of recordings in the split."""
    return self._source.num_input_examples(self._split)

  @property
  def num_batches(self) -> int | None:
    """Number of batches of one pass; None: without end."""
    return None if self._repeat else -(-self.num_examples // self.batch_size)

  def describe(self) -> dict[str, Any]:
    """Describes what determines the order of the examples, as JSON data."""
    return {
      'dataset': self._dataset,
      'records_sha256': self._source.digest(self._split),
      'split': self._split,
      'seed': self._seed,
      'batch_size': self.batch_size,
      'crop_seconds': self._stage.crop_seconds,
    }

  def __call__(
    self, start_step: int = 0, shard: tuple[int, int] = (0, 1)
  ) -> Iterator[dict[str, np.ndarray]]:
    """Iterates over batches from a step on.

    Args:
      start_step: Step of the first batch.
      shard: Slice of `order.shard_rows`.

    Returns:
      Iterator of {key: array[rows, ...]}: the keys of the converter, and
      `example_ids`, bytes of up to 64 characters.
    """
    return self.rows(start_step, order.shard_rows(self.batch_size, shard))

  def rows(
    self, start_step: int, rows: range
  ) -> Iterator[dict[str, np.ndarray]]:
    """Iterates over some rows of the batches from `start_step` on."""
    _leave_accelerators_to_jax()
    recordings = self._source.records(self._split)
    number = self._numbering(len(recordings))
    ds = self._examples(recordings, number, start_step, rows)
    lengths = self._stage.feature_lengths()
    ds = self._task.preprocess_postcache(ds, lengths)
    ds = self._converter(ds, {**lengths, **dict.fromkeys(_ID, 1)})
    batches = ds.batch(len(rows)).prefetch(2).as_numpy_iterator()
    for step in itertools.count(start_step):
      positions = step * self.batch_size + np.array(rows)
      try:
        batch = next(batches, None)
      except tf.errors.OpError as e:
        for n in number(positions):
          recordings.check(n)
        preprocessors.refuse_too_short(e)
        raise
      if batch is None:
        return
      batch['example_ids'] = batch.pop('id').astype('S64')
      if self._prefix_rate is not None:
        rates = np.full(len(rows), self._prefix_rate, np.float32)
        batch['decoder_prefix_rates'] = rates
      if not self._repeat:
        is_real = (positions < len(recordings))[:, None]
        batch['decoder_loss_weights'] = batch['decoder_loss_weights'] * is_real
      yield batch

  def _numbering(self, num: int) -> Callable[[np.ndarray], np.ndarray]:
    """Returns the function from positions to numbers of recordings."""
    if self._repeat:
      return order.Epochs(num, self._seed)
    # The last recording also pads the last batch.
    return lambda positions: np.minimum(positions, num - 1)

  def _examples(
    self,
    recordings: seekable.SeekableRecords,
    number: Callable[[np.ndarray], np.ndarray],
    start_step: int,
    rows: range,
  ) -> tf.data.Dataset:
    """Reads crops with a `seed` each, in the order of positions.

    Reads the pieces of a recording that hold the crop, and parses the crop
    alone: what follows takes it for a recording of its length.
    """
    stage, piece_seconds = self._stage, self._source.piece_seconds
    needed = {s.record_name for s in stage.streams}
    streams = [s for s in self._source.streams if s.name in needed]

    def describe(step: np.ndarray) -> tuple[np.ndarray, ...]:
      positions = step * self.batch_size + np.array(rows)
      return positions, *recordings.describe(number(positions))

    def described(step: tf.Tensor) -> tf.data.Dataset:
      types = [tf.int64, tf.string, tf.int64, tf.int64, tf.float32]
      columns = tf.numpy_function(describe, [step], types)
      columns = [tf.ensure_shape(c, [len(rows)]) for c in columns]
      return tf.data.Dataset.from_tensor_slices(tuple(columns))

    def start(seed: tf.Tensor, seconds: tf.Tensor) -> tf.Tensor:
      if not self._repeat:
        return tf.constant(0.0, tf.float64)
      return preprocessors.random_start(seed, seconds, stage)

    def read(position, path, first, count, seconds) -> dict[str, tf.Tensor]:
      seed = tf.stack([self._seed, position])
      if recordings.are_timed:
        begin = start(seed, seconds)
        edges = tf.stack([begin, begin + stage.crop_seconds]) / piece_seconds
        # A crop that ends where a piece does needs no other.
        pieces = tf.cast(tf.floor(edges + [1e-6, -1e-6]), tf.int64)
        pieces = tf.clip_by_value(pieces, 0, count - 1)
        first, count = first + pieces[0], pieces[1] - pieces[0] + 1
      data = recordings.read_pieces(path, first, count)
      fields = records.columns(data, streams)
      crop = start(seed, fields['seconds'][0]), stage.crop_seconds
      example = records.parse(fields, streams, piece_seconds, crop)
      return {**example, 'seed': seed}

    end = np.iinfo(np.int64).max if self._repeat else self.num_batches
    ds = tf.data.Dataset.range(start_step, end).flat_map(described)
    return ds.map(read, num_parallel_calls=_PARALLEL_READS)


class MixedBatches:
  """Batches with rows of several datasets, in exact shares.

  A run still starts at any step. Parts may drop different streams: clips with a
  misleading picture need their style, others do not.
  """

  def __init__(self, parts: Sequence[TaskBatches]):
    """Opens nothing yet.

    Args:
      parts: Batches of the same stage and layout; rows come in this order.

    Raises:
      ValueError: There are no parts, or only some have a `prefix_rate`.
    """
    if not parts:
      raise ValueError('parts is empty; wanted at least one TaskBatches.')
    if len({part.has_prefix_rate for part in parts}) > 1:
      raise ValueError(
        'some of the parts have a prefix_rate and others none; give all of them'
        ' one.'
      )
    self._parts = tuple(parts)
    self.licences = {k: v for p in parts for k, v in p.licences.items()}

  @property
  def num_examples(self) -> int:
    """Number of recordings in all parts."""
    return sum(part.num_examples for part in self._parts)

  def describe(self) -> dict[str, Any]:
    """Describes what determines the order of the examples, as JSON data."""
    return {'parts': [part.describe() for part in self._parts]}

  def __call__(
    self, start_step: int = 0, shard: tuple[int, int] = (0, 1)
  ) -> Iterator[dict[str, np.ndarray]]:
    """Iterates over batches until a part ends; see `TaskBatches`."""
    size = sum(part.batch_size for part in self._parts)
    return self._rows(start_step, order.shard_rows(size, shard))

  def _rows(
    self, start_step: int, rows: range
  ) -> Iterator[dict[str, np.ndarray]]:
    streams = []
    first = 0
    for part in self._parts:
      # The overlap of the slice and the part, as rows of the part.
      start = max(rows.start - first, 0)
      stop = min(rows.stop - first, part.batch_size)
      if start < stop:
        streams.append(part.rows(start_step, range(start, stop)))
      first += part.batch_size
    # All processes end together, also those without rows of the shortest part.
    ends = [n for p in self._parts if (n := p.num_batches) is not None]
    count = max(0, min(ends) - start_step) if ends else None
    for slices in itertools.islice(zip(*streams, strict=False), count):
      yield {key: np.concatenate([s[key] for s in slices]) for key in slices[0]}


def _leave_accelerators_to_jax() -> None:
  """Keeps TensorFlow, which only copies, from taking all memory of a GPU."""
  if tf.config.get_visible_devices('GPU'):
    tf.config.set_visible_devices([], 'GPU')
