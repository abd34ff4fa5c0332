"""SeqIO tasks as numpy batches that can start at any step."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
import functools
import typing

import numpy as np
import seqio
import tensorflow as tf

from v2meow_jax import specs
from v2meow_jax.data import feature_converters
from v2meow_jax.data import records
from v2meow_jax.data import task_builder

# Examples whose seeds are drawn together. To resume inside a pass, what was
# seen of it is drawn again, so this bounds the wait (1-2 s).
_PASS_EXAMPLES = 8192
_CACHE_BYTES = 1 << 30
_SHUFFLE_EXAMPLES = 2048


class TaskBatches:
  """Batches of one stage: `batches(start_step)` iterates from that step on.

  Batch k is a function of (dataset, stage, batch size, seed, k): every epoch is a new
  permutation of the recordings, with new crops. A split under 1 GiB is read
  once and kept in memory; a larger one is shuffled by shards and in a buffer.
  """

  def __init__(
    self,
    stage: specs.StageSpec,
    *,
    dataset: str = 'synthetic',
    split: str = 'train',
    batch_size: int,
    seed: int = 0,
    repeat: bool = True,
    converter: Callable[
      [specs.StageSpec], seqio.FeatureConverter
    ] = feature_converters.StageFeatureConverter,
    drop_rates: Mapping[str, float] | None = None,
  ):
    """Opens nothing yet: the data is found at the first batch.

    Args:
      stage: What the batches are for; the ids are those of this stage.
      dataset: Folder under `$V2MEOW_DATA_DIR`.
      split: 'train' or 'validation'.
      batch_size: Rows of every batch.
      seed: Of permutations, crops and dropped streams.
      repeat: True trains: without end, random crops. False evaluates: one pass
        in a fixed order, first crops, nothing dropped; the last batch is filled
        up with rows whose `decoder_loss_weights` are 0.
      converter: `StageFeatureConverter` for an encoder-decoder,
        `PrefixFeatureConverter` for a decoder-only model.
      drop_rates: See `preprocessors.drop_streams`.
    """
    if batch_size < 1:
      raise ValueError(f'batch_size is {batch_size}; wanted at least 1.')
    self._stage = stage
    self._split = split
    self._batch_size = batch_size
    self._seed = seed
    self._repeat = repeat
    self._converter = converter(stage)
    self._source = records.RecordSource(dataset)
    self._task = task_builder.build_task(
      dataset,
      stage,
      self._source,
      training=repeat,
      drop_rates=drop_rates,
    )

  @property
  def num_examples(self) -> int:
    """Recordings in the split."""
    return self._source.num_input_examples(self._split)

  def __call__(self, start_step: int = 0) -> Iterator[dict[str, np.ndarray]]:
    """Batches from `start_step` on, as {key: array[batch, ...]}."""
    _leave_accelerators_to_jax()
    if not self._repeat:
      yield from self._evaluation(start_step)
      return
    pass_epochs = 1
    if self._fits_memory:
      pass_epochs = max(1, _PASS_EXAMPLES // self.num_examples)
    # A pass is whole batches, so batch k belongs to one pass.
    pass_steps = -(-pass_epochs * self.num_examples // self._batch_size)
    number, skip = divmod(start_step, pass_steps)
    while True:
      ds = self._pass(number).take(pass_steps * self._batch_size)
      ds = ds.skip(skip * self._batch_size)
      ds = ds.batch(self._batch_size, drop_remainder=True)
      yield from _numpy(ds.prefetch(2))
      number, skip = number + 1, 0

  @property
  def _fits_memory(self) -> bool:
    return self._source.num_bytes(self._split) <= _CACHE_BYTES

  @functools.cached_property
  def _parsed(self) -> tf.data.Dataset:
    ds = self._source.get_dataset(self._split, shuffle=False)
    return ds.cache() if self._fits_memory else ds

  def _pass(self, number: int) -> tf.data.Dataset:
    """Examples of one pass, endless: the caller takes what it needs."""
    # Two 31-bit halves of one hash, so that no two passes share their seeds.
    state = np.random.SeedSequence([self._seed, number]).generate_state(2)
    order, crops = (int(s >> 1) for s in state)
    if self._fits_memory:
      ds = self._parsed.shuffle(self.num_examples, seed=order).repeat()
    else:
      ds = self._source.get_dataset(self._split, shuffle=True, seed=order)
      ds = ds.repeat().shuffle(_SHUFFLE_EXAMPLES, seed=order)
    return self._prepared(ds, crops)

  def _prepared(self, ds: tf.data.Dataset, seed: int) -> tf.data.Dataset:
    lengths = self._stage.feature_lengths()
    ds = self._task.preprocess_postcache(ds, lengths, seed=seed)
    return self._converter(ds, lengths)

  def _evaluation(self, start_step: int) -> Iterator[dict[str, np.ndarray]]:
    ds = self._prepared(self._parsed, self._seed).batch(self._batch_size)
    for batch in _numpy(ds.skip(start_step)):
      missing = self._batch_size - len(batch['decoder_target_tokens'])
      if missing:
        batch = {k: _filled(k, v, missing) for k, v in batch.items()}
      yield batch


class MixedBatches:
  """Rows of several datasets in every batch, as many of each as its part says.

  A mixture whose shares are exact and whose batch k still starts anywhere.
  Parts may differ in what they drop: clips whose picture misleads need their
  style, others can do without.
  """

  def __init__(self, parts: Sequence[TaskBatches]):
    """Opens nothing yet.

    Args:
      parts: Batches of the same stage and converter; rows come in this order.

    Raises:
      ValueError: There are none.
    """
    if not parts:
      raise ValueError('parts is empty; wanted at least one TaskBatches.')
    self._parts = tuple(parts)

  @property
  def num_examples(self) -> int:
    """Recordings in all parts."""
    return sum(part.num_examples for part in self._parts)

  def __call__(self, start_step: int = 0) -> Iterator[dict[str, np.ndarray]]:
    """Batches from `start_step` on, until a part ends."""
    streams = [part(start_step) for part in self._parts]
    for rows in zip(*streams, strict=False):
      yield {key: np.concatenate([r[key] for r in rows]) for key in rows[0]}


def _leave_accelerators_to_jax() -> None:
  """Else TensorFlow takes all memory of a GPU that it only copies through."""
  if tf.config.get_visible_devices('GPU'):
    tf.config.set_visible_devices([], 'GPU')


def _numpy(ds: tf.data.Dataset) -> Iterator[dict[str, np.ndarray]]:
  return typing.cast('Iterator[dict[str, np.ndarray]]', ds.as_numpy_iterator())


def _filled(key: str, rows: np.ndarray, missing: int) -> np.ndarray:
  filler = np.repeat(rows[:1], missing, axis=0)
  if key == 'decoder_loss_weights':
    filler = np.zeros_like(filler)
  return np.concatenate([rows, filler])
