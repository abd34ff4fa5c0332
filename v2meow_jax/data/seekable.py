"""Reads recordings from TFRecord files by number.

A TFRecord file is a sequence of records, each framed as

    uint64 length, uint32 crc of it, the data, uint32 crc of the data

in little-endian numbers (https://www.tensorflow.org/tutorials/load_data/tfrecord).
It has no table of contents: `shards` writes one. Without it, following the
lengths gives all but the durations.
"""

from collections.abc import Sequence
from concurrent import futures
import struct

import crcmod.predefined
from etils import epath
import numpy as np
import tensorflow as tf

from v2meow_jax.data import shards
from v2meow_jax.files import paths

_LENGTH = struct.Struct('<Q')
_HEAD = struct.Struct('<QI')
_CRC = struct.Struct('<I')
_CRC_32C = crcmod.predefined.mkPredefinedCrcFun('crc-32c')
_OPENERS = 8


class SeekableRecords:
  """Recordings of several files, numbered in the order of the files.

  Opening reads the table of each file. Reading some pieces of a recording is
  then one read of their bytes, which verifies their checksums.

  Attributes:
    are_timed: Whether durations are known, from tables.
  """

  def __init__(
    self, files: Sequence[epath.PathLike], entries: Sequence[shards.Shard]
  ):
    """Finds the first byte of every record.

    Args:
      files: Paths of the files.
      entries: Their entries in the index.

    Raises:
      ValueError: The expected records of a file do not end where it ends, or
        its table is not that of the index; the message names the file.
    """
    self._paths = np.array([str(path) for path in files], object)
    # TensorFlow knows not every kind of bucket.
    in_bucket = any(map(paths.is_remote, self._paths))
    self._read = read_from_bucket if in_bucket else read
    self.are_timed = all(entry.table_sha256 for entry in entries)
    table_of = shards.read_table if self.are_timed else _scan
    with futures.ThreadPoolExecutor(_OPENERS) as pool:
      tables = list(pool.map(table_of, self._paths, entries))
    table = np.concatenate(tables)
    sizes = table['bytes'].astype(np.int64)
    numbers = np.repeat(np.arange(len(tables)), [len(t) for t in tables])
    self._ends = np.concatenate([np.cumsum(t['bytes']) for t in tables]).astype(
      np.int64
    )
    self._starts = self._ends - sizes
    self._first = np.flatnonzero(table['piece'] == 0)
    self._counts = np.diff(self._first, append=len(table))
    self._seconds = table['seconds'][self._first]
    self._files = numbers[self._first]

  def __len__(self) -> int:
    """Counts the recordings of all files."""
    return len(self._first)

  def describe(self, numbers: np.ndarray) -> tuple[np.ndarray, ...]:
    """Describes recordings, for `read_pieces`.

    Args:
      numbers: Numbers of recordings, int64[n], in [0, len(self)).

    Returns:
      Paths object[n], numbers of the first record int64[n] and of pieces
      int64[n], and seconds float32[n], NaN unless `are_timed`.
    """
    path = self._paths[self._files[numbers]]
    first, count = self._first[numbers], self._counts[numbers]
    return path, first, count, self._seconds[numbers]

  def read_pieces(
    self, path: tf.Tensor, first: tf.Tensor, count: tf.Tensor
  ) -> tf.Tensor:
    """Reads consecutive records of a file, string[count], in a graph.

    Verifies the checksums and fails with an OpError.
    """
    start = tf.gather(self._starts, first)
    size = tf.gather(self._ends, first + count - 1) - start
    return self._read(path, start, size, count)

  def check(self, number: int) -> None:
    """Raises ValueError with file and byte if a recording cannot be read."""
    (path,), (first,), (count,), _ = self.describe(np.array([number]))
    for record in range(first, first + count):
      start, end = self._starts[record], self._ends[record]
      try:
        self._read(path, start, end - start, 1)
      except tf.errors.OpError as e:
        raise ValueError(
          f'{path}: the record at byte {start} is damaged: {e.message}. Copy'
          ' this file again, or prepare the dataset again: a rerun gives the'
          ' same bytes.'
        ) from e


def read(
  path: tf.Tensor, start: tf.Tensor, size: tf.Tensor, count: tf.Tensor
) -> tf.Tensor:
  """Reads `count` records in the `size` bytes from `start` on, string[count].

  TensorFlow verifies the checksums and fails with an OpError.
  """
  records = tf.raw_ops.TFRecordDatasetV2(
    filenames=[path],
    compression_type='',
    buffer_size=size,
    byte_offsets=[start],
  )
  spec = tf.TensorSpec([], tf.string)
  ds = tf.data.experimental.from_variant(records, spec)
  count = tf.cast(count, tf.int64)
  data = ds.take(count).batch(count).get_single_element()
  tf.debugging.assert_equal(
    tf.size(data, tf.int64), count, 'the file ends before its records do'
  )
  return data


def read_from_bucket(
  path: tf.Tensor, start: tf.Tensor, size: tf.Tensor, count: tf.Tensor
) -> tf.Tensor:
  """Reads as `read` does, in one request of a range of bytes."""
  data = tf.numpy_function(_split, [path, start, size, count], tf.string)
  data.set_shape([None])
  return data


def _split(path: bytes, start: int, size: int, count: int) -> np.ndarray:
  """The data of `count` records in some bytes of a file, object[count]."""
  remote, name = paths.file_system(tf.compat.as_str(np.asarray(path).item()))
  content = remote.cat_file(name, start=int(start), end=int(start + size))
  if len(content) < size:
    raise tf.errors.DataLossError(None, None, 'the file ends before it does')
  records = []
  while len(records) < count:
    head, content = content[: _HEAD.size], content[_HEAD.size :]
    length, crc = _HEAD.unpack(head)
    _check(head[: _LENGTH.size], crc)
    data, content = content[:length], content[length:]
    (crc,) = _CRC.unpack(content[: _CRC.size])
    _check(data, crc)
    records.append(data)
    content = content[_CRC.size :]
  return np.array(records, object)


def _check(data: bytes, stored: int) -> None:
  """Raises DataLossError unless CRC-32C is that which a TFRecord file stores."""
  crc = _CRC_32C(data)
  if stored != ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF:
    raise tf.errors.DataLossError(None, None, 'its checksum differs')


def _scan(path: str, shard: shards.Shard) -> np.ndarray:
  """Returns a `shards.TABLE` of recordings of one record and unknown length."""
  count = shard.records
  edges = [0]
  with paths.path(path).open('rb') as f:
    f.seek(0, 2)
    size = f.tell()
    while len(edges) <= count and edges[-1] + shards.FRAME_BYTES <= size:
      f.seek(edges[-1])
      (length,) = _LENGTH.unpack(f.read(_LENGTH.size))
      edges.append(edges[-1] + length + shards.FRAME_BYTES)
  if len(edges) <= count or edges[-1] != size:
    raise ValueError(
      f'{path} is damaged: its first {len(edges) - 1} records take'
      f' {edges[-1]} bytes; wanted {count} records in its {size} bytes. Copy this'
      ' file again, or prepare the dataset again: a rerun gives the same bytes.'
    )
  table = np.zeros(count, shards.TABLE)
  table['bytes'], table['seconds'] = np.diff(edges), np.nan
  return table
