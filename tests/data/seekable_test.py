import numpy as np
import pytest
import tensorflow as tf

from v2meow_jax.data import seekable
from v2meow_jax.data import shards

pytestmark = pytest.mark.data

COUNTS = [3, 0, 5]


@pytest.fixture
def written(tmp_path):
  """Files that TensorFlow wrote, and what it wrote to them."""
  rng = np.random.default_rng(0)
  records = [rng.bytes(n) for n in (0, 1, 500, 70_000, 3, 12, 16, 200)]
  paths = [tmp_path / f'{i}.tfrecord' for i in range(len(COUNTS))]
  left = iter(records)
  for path, count in zip(paths, COUNTS, strict=True):
    with tf.io.TFRecordWriter(str(path)) as writer:
      for _ in range(count):
        writer.write(next(left))
  return paths, records


def _change(path, byte, bit=1):
  data = bytearray(path.read_bytes())
  data[byte] ^= bit
  path.write_bytes(data)


def _open(paths):
  """Opens files without tables, as earlier versions wrote them."""
  entries = [shards.Shard(records=n, bytes=0, sha256='') for n in COUNTS]
  return seekable.SeekableRecords(paths, entries)


def _read(found, number):
  (path,), (first,), (count,), _ = found.describe(np.array([number]))
  (record,) = found.read_pieces(path, first, count).numpy()
  return record


def test_any_record_is_what_tensorflow_wrote(written):
  paths, records = written
  found = _open(paths)
  assert len(found) == len(records) == 8
  for number in (7, 0, 3, 2, 6, 1, 5, 4):
    assert _read(found, number) == records[number]
    found.check(number)


@pytest.mark.parametrize('byte', [-1, -4, -5, -150, -204, -205, -208])
def test_one_flipped_bit_is_refused_by_file_and_place(written, byte):
  # The last record is 200 bytes; its checksums and they are covered.
  paths, records = written
  _change(paths[2], byte)
  found = _open(paths)
  assert _read(found, 6) == records[6]
  start = paths[2].stat().st_size - 216
  with pytest.raises(ValueError, match=rf'2\.tfrecord: .* byte {start} is'):
    found.check(7)


@pytest.mark.parametrize('byte', range(8))
@pytest.mark.parametrize('bit', [1, 128])
def test_a_damaged_length_is_refused_by_file(written, byte, bit):
  paths, _ = written
  _change(paths[0], byte, bit)
  with pytest.raises(ValueError, match=r'0\.tfrecord is damaged.*3 records'):
    _open(paths)


def test_a_file_cut_anywhere_or_too_long_is_refused(written):
  paths, records = written
  whole = paths[2].read_bytes()
  last = len(records[-1]) + 16
  for kept in (0, 5, len(whole) - last, len(whole) - last + 12, len(whole) - 1):
    paths[2].write_bytes(whole[:kept])
    with pytest.raises(ValueError, match=r'2\.tfrecord is damaged: .*wanted 5'):
      _open(paths)
  paths[2].write_bytes(whole + whole[-last:])
  with pytest.raises(ValueError, match='its first 5 records take'):
    _open(paths)


def test_a_file_changed_after_it_was_opened_is_refused(written):
  paths, records = written
  found = _open(paths)
  paths[2].write_bytes(paths[2].read_bytes()[:-100])
  assert _read(found, 2) == records[2]
  for change in (
    lambda: None,
    lambda: paths[2].write_bytes(b''),
    paths[2].unlink,
  ):
    change()
    with pytest.raises(ValueError, match=r'2\.tfrecord: the record at byte'):
      found.check(7)
