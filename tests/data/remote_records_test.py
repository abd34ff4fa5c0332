"""Records are prepared into a bucket and read there, byte for byte alike."""

import itertools

import numpy as np
import pytest

from tests.fakes import planted_records
from v2meow_jax import stages
from v2meow_jax.data import batches
from v2meow_jax.data import record_source
from v2meow_jax.data import shards
from v2meow_jax.files import paths

pytestmark = pytest.mark.data

FOLDER = 'bucket/data/planted'
COARSE = stages.coarse(
  inputs=('semantic', 'appearance'),
  crop_seconds=4.0,
  streams=planted_records.TINY,
)


@pytest.fixture
def remote(bucket, planted_data, monkeypatch):
  """The planted dataset, copied to the bucket and found there."""
  for name in paths.inside(planted_data):
    bucket.objects[f'{FOLDER}/{name}'] = (planted_data / name).read_bytes()
  monkeypatch.setenv('V2MEOW_DATA_DIR', 'gs://bucket/data')
  return bucket


def take(count=2):
  made = batches.TaskBatches(COARSE, dataset='planted', batch_size=8, seed=1)
  return list(itertools.islice(made(0), count))


def test_clips_of_a_bucket_become_the_same_records_there(
  bucket, planted_data, planted_manifest, planted_prepare
):
  folder = paths.path(planted_manifest).parent
  for name in paths.inside(folder):
    bucket.objects[f'bucket/media/{name}'] = (folder / name).read_bytes()
  manifest = 'gs://bucket/media/manifest.jsonl'
  for _ in range(2):  # The second takes the place of the first.
    planted_prepare('gs://bucket/data/planted', manifest=manifest)
  written = {
    name.removeprefix(f'{FOLDER}/'): content
    for name, content in bucket.objects.items()
    if name.startswith(FOLDER)
  }
  assert sorted(written) == sorted(paths.inside(planted_data))
  for name in written:
    if '.tfrecord-' in name or name == shards.INDEX:
      assert written[name] == (planted_data / name).read_bytes(), name


def test_batches_from_a_bucket_are_those_of_a_disk(
  planted_data, remote, monkeypatch
):
  there = take()
  monkeypatch.setenv('V2MEOW_DATA_DIR', str(planted_data.parent))
  for one, other in zip(there, take(), strict=True):
    assert one.keys() == other.keys()
    for name in one:
      np.testing.assert_array_equal(one[name], other[name])


def test_records_without_their_index_are_no_dataset(remote):
  del remote.objects[f'{FOLDER}/{shards.INDEX}']
  with pytest.raises(FileNotFoundError, match='at gs://bucket/data/planted'):
    take()


def test_a_preparation_that_is_interrupted_leaves_no_index(
  bucket, planted_prepare
):

  def before(operation, key):
    in_place = key.startswith(f'{FOLDER}/v2meow-train.tfrecord-00001')
    if operation == 'copy' and in_place:
      raise ConnectionError('gone')

  bucket.before = before
  with pytest.raises(ConnectionError):
    planted_prepare('gs://bucket/data/planted')
  assert bucket.objects and f'{FOLDER}/{shards.INDEX}' not in bucket.objects


def test_a_damaged_record_in_a_bucket_is_named(remote):
  source = record_source.RecordSource('planted')
  records = source.records('train')
  (path,), (first,), _, _ = records.describe(np.array([3]))
  key = path.removeprefix('gs://')
  content = bytearray(remote.objects[key])
  content[records._starts[first] + 30] ^= 1
  remote.objects[key] = bytes(content)
  with pytest.raises(ValueError, match=f'{path}: the record at byte .*damaged'):
    records.check(3)
  remote.objects[key] = bytes(content[:-1])
  with pytest.raises(ValueError, match='bytes, wanted'):
    shards.verify('gs://bucket/data/planted')
