"""TFRecord files whose records are read by number.

A TFRecord file is a sequence of records, each framed as

    uint64 length, uint32 crc of it, the data, uint32 crc of the data

in little-endian numbers (https://www.tensorflow.org/tutorials/load_data/tfrecord).
It has no table of contents: one is made by hopping from length to length.
"""

from __future__ import annotations

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
  """The records of several files, numbered in the order of the files.

  Opening it reads the length of every record, not the records. A record is
  then one read of its place, and its checksums are compared.
  """

  def __init__(self, paths: Sequence[epath.PathLike], counts: Sequence[int]):
    """Finds where the records begin.

    Args:
      paths: Of the files.
      counts: Records that each of them should hold.

    Raises:
      ValueError: The records of a file, so many, do not end where it ends;
        names the file.
    """
    self._paths = np.array([str(path) for path in paths], object)
    with futures.ThreadPoolExecutor(_SCANNERS) as pool:
      edges = list(pool.map(_scan, self._paths, counts))
    self._starts = np.concatenate([e[:-1] for e in edges])
    self._sizes = np.concatenate([np.diff(e) for e in edges])
    self._files = np.repeat(np.arange(len(counts)), counts)

  def __len__(self) -> int:
    """Records of all files."""
    return len(self._starts)

  def places(
    self, numbers: np.ndarray
  ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where records are, for `read`.

    Args:
      numbers: int64[n], each in [0, len(self)).

    Returns:
      Paths object[n], first bytes int64[n] and sizes in bytes int64[n].
    """
    path = self._paths[self._files[numbers]]
    return path, self._starts[numbers], self._sizes[numbers]

  def check(self, number: int) -> None:
    """Raises ValueError, by file and place, if a record cannot be read."""
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
  """string[]: the data of the record at a place; in a graph or eagerly.

  TensorFlow compares the checksums and fails with an OpError.
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
  """int64[count + 1]: where records begin, and the end of the file."""
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
