"""Writes and verifies TFRecord shards with an index of sizes and digests.

A TFRecord file truncated between two records, or empty, reads without an error:
only an index reveals it.
"""

from collections.abc import Iterable
import dataclasses
import json
import os

import tensorflow as tf

from v2meow_jax.files import atomic

INDEX = 'shards.json'


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shard:
  """Entry of one file in the index.

  Attributes:
    records: Number of records.
    bytes: Size of the file.
    sha256: SHA-256 of the file, hexadecimal.
  """

  records: int
  bytes: int
  sha256: str


def write(path: str, records: Iterable[bytes]) -> Shard:
  """Writes records in order, whole or not at all."""
  count = 0
  with atomic.replacing(path) as unfinished:
    with tf.io.TFRecordWriter(unfinished) as writer:
      for record in records:
        writer.write(record)
        count += 1
    size = tf.io.gfile.stat(unfinished).length
    return Shard(records=count, bytes=size, sha256=atomic.sha256(unfinished))


def write_index(directory: str, index: dict[str, Shard]) -> None:
  """Writes `shards.json` for the files of a dataset, by name."""
  rows = {name: dataclasses.asdict(index[name]) for name in sorted(index)}
  with tf.io.gfile.GFile(os.path.join(directory, INDEX), 'w') as f:
    f.write(json.dumps(rows, indent=1) + '\n')


def read_index(directory: str) -> dict[str, Shard]:
  """Reads `shards.json`; raises ValueError if it is damaged."""
  path = os.path.join(directory, INDEX)
  with tf.io.gfile.GFile(path) as f:
    text = f.read()
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
  present = {n for n in tf.io.gfile.listdir(directory) if '.tfrecord-' in n}
  troubles = [f'{n}: not in {INDEX}' for n in sorted(present - set(index))]
  for name, shard in sorted(index.items()):
    path = os.path.join(directory, name)
    if name not in present:
      troubles.append(f'{name}: missing')
      continue
    size = tf.io.gfile.stat(path).length
    if size != shard.bytes:
      troubles.append(
        f'{name}: {size} bytes, wanted {shard.bytes} ({shard.records} records)'
      )
    elif full and atomic.sha256(path) != shard.sha256:
      troubles.append(f'{name}: the sha256 differs')
  if troubles:
    raise ValueError(
      f'dataset {directory} is damaged: {"; ".join(troubles)}. Copy these files'
      ' again, or prepare the dataset again: a rerun gives the same bytes.'
    )
  return index
