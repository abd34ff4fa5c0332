import collections
import shutil

import pytest
import tensorflow as tf

from v2meow_jax.data import shards

pytestmark = pytest.mark.data


def _records(path):
  return list(tf.data.TFRecordDataset(str(path)).as_numpy_iterator())


def _damaged(planted_data, tmp_path, how):
  out = tmp_path / 'copy'
  shutil.copytree(planted_data, out)
  name = 'v2meow-train.tfrecord-00001-of-00003'
  data = (out / name).read_bytes()
  if how == 'cut between records':
    # A record is its length (8 bytes), a crc (4), the data and a crc (4).
    end = 16 + len(_records(out / name)[0])
    (out / name).write_bytes(data[:end])
    assert len(_records(out / name)) == 1  # TensorFlow notices nothing.
  elif how == 'empty':
    (out / name).write_bytes(b'')
    assert not _records(out / name)
  elif how == 'missing':
    (out / name).unlink()
  elif how == 'left over':
    name = 'v2meow-train.tfrecord-00009-of-00010'
    (out / name).write_bytes(data)
  elif how == 'one bit':
    flipped = bytearray(data)
    flipped[len(data) // 2] ^= 1
    (out / name).write_bytes(flipped)
  return str(out), name


@pytest.mark.parametrize(
  'how', ['cut between records', 'empty', 'missing', 'left over', 'one bit']
)
def test_a_damaged_shard_is_named(planted_data, tmp_path, how):
  out, name = _damaged(planted_data, tmp_path, how)
  with pytest.raises(ValueError, match=name):
    shards.verify(out, full=how == 'one bit')


def test_a_sound_dataset_verifies(planted_data):
  index = shards.verify(str(planted_data), full=True)
  by_split = collections.Counter()
  for name, shard in index.items():
    assert shard.records == len(_records(planted_data / name))
    by_split[name.split('.')[0]] += shard.recordings
  assert by_split == {'v2meow-train': 24, 'v2meow-validation': 6}
