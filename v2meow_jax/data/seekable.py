"""Reads records of TFRecord files by number.

A TFRecord file is a sequence of records, each framed as

    uint64 length, uint32 crc of it, the data, uint32 crc of the data

in little-endian numbers (https://www.tensorflow.org/tutorials/load_data/tfrecord).
It has no table of contents; following the lengths gives one.
"""

from collections.abc import Sequence
from concurrent import futures
import struct

from etils import epath
import numpy as np
import tensorflow as tf

_LENGTH = struct.Struct('<Q')
_FRAME_BYTES = 16
_SCANNERS = 8


class SeekableRecords:
  """Records of several files, numbered in the order of the files.

  Opening reads the length of every record, not the records. Reading a record is
  then one read of its bytes, which verifies its checksums.
  """

  def __init__(self, paths: Sequence[epath.PathLike], counts: Sequence[int]):
    """Finds the first byte of every record.

    Args:
      paths: Paths of the files.
      counts: Expected number of records in each file.

    Raises:
      ValueError: The expected records of a file do not end where it ends; the
        message names the file.
    """
    self._paths = np.array([str(path) for path in paths], object)
    with futures.ThreadPoolExecutor(_SCANNERS) as pool:
      edges = list(pool.map(_scan, self._paths, counts))
    self._starts = np.concatenate([e[:-1] for e in edges])
    self._sizes = np.concatenate([np.diff(e) for e in edges])
    self._files = np.repeat(np.arange(len(counts)), counts)

  def __len__(self) -> int:
    """Counts the records of all files."""
    return len(self._starts)

  def places(
    self, numbers: np.ndarray
  ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Locates records, for `read`.

    Args:
      numbers: Numbers of records, int64[n], in [0, len(self)).

    Returns:
      Paths object[n], first bytes int64[n] and sizes in bytes int64[n].
    """
    path = self._paths[self._files[numbers]]
    return path, self._starts[numbers], self._sizes[numbers]

  def check(self, number: int) -> None:
    """Raises ValueError with file and byte if a record cannot be read."""
    (path,), (start,), (size,) = self.places(np.array([number]))
    try:
      read(path, start, size)
    except tf.errors.OpError as e:
      raise ValueError(
        f'{path}: the record at byte {start} is damaged: {e.message}. Copy this'
        ' file again, or prepare the dataset again: a rerun gives the same'
        ' bytes.'
      ) from e


def read(path: tf.Tensor, start: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
  """Reads the data of a record, string[], in a graph or eagerly.

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
  return ds.take(1).get_single_element()


def _scan(path: str, count: int) -> np.ndarray:
  """Finds the first bytes of records and the end of a file, int64[count + 1]."""
  edges = [0]
  with epath.Path(path).open('rb') as f:
    f.seek(0, 2)
    size = f.tell()
    while len(edges) <= count and edges[-1] + _FRAME_BYTES <= size:
      f.seek(edges[-1])
      (length,) = _LENGTH.unpack(f.read(_LENGTH.size))
      edges.append(edges[-1] + length + _FRAME_BYTES)
  if len(edges) <= count or edges[-1] != size:
    raise ValueError(
      f'{path} is damaged: its first {len(edges) - 1} records take'
      f' {edges[-1]} bytes; wanted {count} records in its {size} bytes. Copy this'
      ' file again, or prepare the dataset again: a rerun gives the same bytes.'
    )
  return np.array(edges, np.int64)
