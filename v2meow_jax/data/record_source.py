"""Reads prepared datasets, for our batches and for SeqIO."""

from collections.abc import Sequence
import hashlib
import math
import os

import numpy as np
import seqio
import tensorflow as tf
import tensorflow_datasets as tfds

from v2meow_jax import specs
from v2meow_jax.data import records
from v2meow_jax.data import seekable
from v2meow_jax.data import shards
from v2meow_jax.files import paths

DATA_DIR_VARIABLE = 'V2MEOW_DATA_DIR'


class RecordSource(seqio.DataSource):
  """A prepared dataset in `$V2MEOW_DATA_DIR/<dataset>` (`./data` if unset).

  The first read opens it and compares the size of every shard with the index;
  `full_check` also compares digests, which reads everything once.
  """

  def __init__(
    self,
    dataset: str,
    *,
    splits: Sequence[str] = ('train', 'validation'),
    full_check: bool = False,
  ):
    super().__init__(splits=splits, caching_permitted=True)
    self._dataset = dataset
    self._full_check = full_check
    self._opened: tuple[str, tfds.core.DatasetBuilder] | None = None

  @property
  def directory(self) -> str:
    """Current folder of the dataset."""
    root = os.environ.get(DATA_DIR_VARIABLE, 'data')
    return os.path.join(root, self._dataset)

  @property
  def builder(self) -> tfds.core.DatasetBuilder:
    """The dataset, opened and checked; raises FileNotFoundError if missing."""
    directory = self.directory
    if self._opened is None or self._opened[0] != directory:
      if not (paths.path(directory) / shards.INDEX).exists():
        raise FileNotFoundError(
          f'no dataset {self._dataset!r} at {directory}; make it with'
          f' `v2meow data prepare MANIFEST {directory}`, or set'
          f' {DATA_DIR_VARIABLE} to the folder that holds it.'
        )
      shards.verify(directory, full=self._full_check)
      self._opened = directory, tfds.builder_from_directory(directory)
    return self._opened[1]

  @property
  def streams(self) -> tuple[specs.Stream, ...]:
    """Streams of the dataset."""
    metadata = self.builder.info.metadata or {}
    return records.streams_from_json(metadata['streams'])

  @property
  def piece_seconds(self) -> float:
    """Duration of the pieces of a recording, each of which is a record."""
    metadata = self.builder.info.metadata or {}
    return metadata.get('piece_seconds', math.inf)

  @property
  def supports_arbitrary_sharding(self) -> bool:
    """Whether the dataset can be split finer than its files: no."""
    return False

  def num_input_examples(self, split: str) -> int:
    """Counts the clips of a split."""
    return sum(shard.num_recordings for shard in self._entries(split))

  def records(self, split: str) -> seekable.SeekableRecords:
    """Returns the recordings of a split by number, in the order of its files."""
    paths = self._split(split).filepaths
    return seekable.SeekableRecords(paths, self._entries(split))

  def _entries(self, split: str) -> list[shards.Shard]:
    """Entries of the files of a split in the index."""
    paths = self._split(split).filepaths
    index = shards.read_index(self.directory)
    return [index[os.path.basename(path)] for path in paths]

  def digest(self, split: str) -> str:
    """Hex SHA-256 over the digests of the files of a split, in their order."""
    digests = ' '.join(shard.sha256 for shard in self._entries(split))
    return hashlib.sha256(digests.encode()).hexdigest()

  def list_shards(self, split: str) -> Sequence[str]:
    """Lists the files of a split."""
    return [i.filename for i in self._split(split).file_instructions]

  def get_dataset(
    self,
    split: str = 'train',
    shuffle: bool = True,
    seed: int | None = None,
    shard_info: seqio.ShardInfo | None = None,
  ) -> tf.data.Dataset:
    """Reads whole recordings; `shuffle` permutes the order of the files."""
    recordings = self.records(split)
    counts = [shard.num_recordings for shard in self._entries(split)]
    files = np.split(np.arange(len(recordings)), np.cumsum(counts)[:-1])
    if shard_info:
      files = files[shard_info.index :: shard_info.num_shards]
    if shuffle:
      order = np.random.default_rng(seed).permutation(len(files))
      files = [files[i] for i in order]
    numbers = np.concatenate([np.zeros(0, np.int64), *files])
    described = recordings.describe(numbers)
    streams, piece_seconds = self.streams, self.piece_seconds

    def read(path, first, count, _):
      data = recordings.read_pieces(path, first, count)
      rows = records.columns(data, streams)
      return records.parse(rows, streams, piece_seconds)

    ds = tf.data.Dataset.from_tensor_slices(described)
    return ds.map(read, num_parallel_calls=tf.data.AUTOTUNE)

  def _split(self, split: str) -> tfds.core.SplitInfo:
    if split not in self.builder.info.splits:
      raise ValueError(
        f'dataset {self._dataset!r} at {self.directory} has no split {split!r};'
        f' it has {sorted(self.builder.info.splits)}.'
      )
    return self.builder.info.splits[split]
