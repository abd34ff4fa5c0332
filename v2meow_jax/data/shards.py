"""Writes and verifies TFRecord shards with an index of sizes and digests.

A TFRecord file truncated between two records, or empty, reads without an error:
only an index reveals it. Beside each file lies the table of its records, so
that opening a dataset reads that alone.
"""

from collections.abc import Iterable
from collections.abc import Sequence
import dataclasses
import hashlib
import io
import json
import os
import pathlib

import numpy as np
import tensorflow as tf

from v2meow_jax.files import atomic
from v2meow_jax.files import paths

INDEX = 'shards.json'
FRAME_BYTES = 16  # TFRecord's length and checksums of each record.
# A row for each record: its bytes in the file, the number of the piece of its
# recording that it holds, and the seconds of the whole recording.
TABLE = np.dtype([('bytes', '<u8'), ('piece', '<u4'), ('seconds', '<f4')])


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shard:
  """Entry of one file in the index.

  Attributes:
    records: Number of records.
    bytes: Size of the file.
    sha256: SHA-256 of the file, hexadecimal.
    recordings: Number of recordings; None: each record is one.
    table_sha256: SHA-256 of the table of its records; None: there is none, as
      in datasets of earlier versions.
  """

  records: int
  bytes: int
  sha256: str
  recordings: int | None = None
  table_sha256: str | None = None

  @property
  def num_recordings(self) -> int:
    """Number of recordings, in one or several records each."""
    return self.records if self.recordings is None else self.recordings


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recording:
  """A clip to write.

  Attributes:
    seconds: Duration of the clip.
    pieces: Records of the clip, in order.
  """

  seconds: float
  pieces: Sequence[bytes]


def table_name(shard: str) -> str:
  """Returns the name of the table of a shard.

  >>> table_name('v2meow-train.tfrecord-00000-of-00003')
  'v2meow-train.table-00000-of-00003.npy'
  """
  return shard.replace('.tfrecord-', '.table-') + '.npy'


def write(path: str, recordings: Iterable[Recording]) -> Shard:
  """Writes a shard and its table, in order, each whole or not at all."""
  rows = []
  with atomic.replacing(path) as unfinished:
    with tf.io.TFRecordWriter(unfinished) as writer:
      for recording in recordings:
        for number, piece in enumerate(recording.pieces):
          writer.write(piece)
          rows.append((len(piece) + FRAME_BYTES, number, recording.seconds))
    size = os.path.getsize(unfinished)
    sha256 = atomic.sha256(unfinished)
  table = np.array(rows, TABLE)
  content = io.BytesIO()
  np.save(content, table, allow_pickle=False)
  with atomic.replacing(table_name(path)) as unfinished:
    pathlib.Path(unfinished).write_bytes(content.getvalue())
  return Shard(
    records=len(table),
    bytes=size,
    sha256=sha256,
    recordings=int((table['piece'] == 0).sum()),
    table_sha256=hashlib.sha256(content.getvalue()).hexdigest(),
  )


def read_table(path: str, shard: Shard) -> np.ndarray:
  """Reads the table of a shard, `TABLE`[records].

  Raises:
    ValueError: The table is missing, or not of this shard.
  """
  name = table_name(path)
  try:
    content = paths.path(name).read_bytes()
  except FileNotFoundError:
    content = b''
  trouble = 'is missing' if not content else 'is damaged, or of other records'
  if hashlib.sha256(content).hexdigest() == shard.table_sha256:
    table = np.load(io.BytesIO(content), allow_pickle=False)
    if (len(table), table['bytes'].sum()) == (shard.records, shard.bytes):
      return table
  raise ValueError(
    f'{name} {trouble}: {INDEX} names its digest, and {shard.records} records in'
    f' {shard.bytes} bytes. Copy this file again, or prepare the dataset again:'
    ' a rerun gives the same bytes.'
  )


def write_index(directory: str, index: dict[str, Shard]) -> None:
  """Writes `shards.json` for the files of a dataset, by name."""
  rows = {name: dataclasses.asdict(index[name]) for name in sorted(index)}
  text = json.dumps(rows, indent=1) + '\n'
  atomic.write_text(os.path.join(directory, INDEX), text)


def read_index(directory: str) -> dict[str, Shard]:
  """Reads `shards.json`; raises ValueError if it is damaged."""
  path = os.path.join(directory, INDEX)
  text = paths.path(path).read_bytes()
  try:
    return {name: Shard(**row) for name, row in json.loads(text).items()}
  except (ValueError, TypeError, AttributeError) as e:
    raise ValueError(
      f'{path} is not an index of shards ({e}); prepare the dataset again.'
    ) from e


def verify(directory: str, *, full: bool = False) -> dict[str, Shard]:
  """Compares the files of a dataset with its index.

  Args:
    directory: Folder of the dataset.
    full: Whether to compare digests too, which reads every byte. Names and
      sizes alone reveal missing, extra, truncated and empty files.

  Returns:
    The index.

  Raises:
    ValueError: A shard differs; the message names all of them, and how.
  """
  index = read_index(directory)
  everything = paths.sizes(paths.path(directory))
  present = {n for n in everything if '.tfrecord-' in n}
  troubles = [f'{n}: not in {INDEX}' for n in sorted(present - set(index))]
  for name, shard in sorted(index.items()):
    path = os.path.join(directory, name)
    if name not in present:
      troubles.append(f'{name}: missing')
      continue
    size = everything[name]
    if size != shard.bytes:
      troubles.append(
        f'{name}: {size} bytes, wanted {shard.bytes} ({shard.records} records)'
      )
    elif shard.table_sha256 and table_name(name) not in everything:
      troubles.append(f'{table_name(name)}: missing')
    elif full and atomic.sha256(path) != shard.sha256:
      troubles.append(f'{name}: the sha256 differs')
  if troubles:
    raise ValueError(
      f'dataset {directory} is damaged: {"; ".join(troubles)}. Copy these files'
      ' again, or prepare the dataset again: a rerun gives the same bytes.'
    )
  return index
