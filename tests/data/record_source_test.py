"""Recordings in pieces give what whole recordings gave, for less reading."""

import collections
import json
import shutil

import numpy as np
import pytest
import seqio
import tensorflow as tf

from tests.fakes import planted_records
from v2meow_jax import stages
from v2meow_jax.data import batches
from v2meow_jax.data import record_source
from v2meow_jax.data import shards

pytestmark = pytest.mark.data

TINY = planted_records.TINY
SEMANTIC = stages.semantic(
  inputs=('appearance', 'motion', 'style'), streams=TINY
)
COARSE = stages.coarse(
  inputs=('semantic', 'motion'), crop_seconds=4.0, streams=TINY
)
LONG_SECONDS = (43.0, 47.0, 12.0, 30.0)


@pytest.fixture(scope='module')
def root(tmp_path_factory, planted_prepare):
  """Long clips in pieces of 10 s and 3 s, and whole as earlier versions did."""
  root = tmp_path_factory.mktemp('long')
  clips = {
    f'{split}-clip{i}': (split, {'seconds': seconds})
    for i, seconds in enumerate(LONG_SECONDS)
    for split in ('train', 'validation')
  }
  manifest = planted_records.write_manifest(root / 'media', clips)
  for name, piece_seconds in (('ten', 10.0), ('three', 3.0), ('whole', 1e6)):
    planted_prepare(root / name, manifest, piece_seconds=piece_seconds)
  _as_earlier_versions_wrote(root / 'whole')
  return root


def _as_earlier_versions_wrote(folder):
  """Takes away tables, numbers of pieces and all mention of them."""
  index = json.loads((folder / 'shards.json').read_text())
  for name, row in index.items():
    (folder / shards.table_name(name)).unlink()
    (raw,) = [list(tf.data.TFRecordDataset(str(folder / name)))]
    with tf.io.TFRecordWriter(str(folder / name)) as writer:
      for record in raw:
        example = tf.train.Example.FromString(record.numpy())
        del example.features.feature['piece']
        writer.write(example.SerializeToString(deterministic=True))
    size = (folder / name).stat().st_size
    index[name] = {'records': len(raw), 'bytes': size, 'sha256': row['sha256']}
  (folder / 'shards.json').write_text(json.dumps(index))
  for name, gone in (('features', 'piece'), ('metadata', 'piece_seconds')):
    path = folder / f'{name}.json'
    content = json.loads(path.read_text())
    inside = (
      content['featuresDict']['features'] if name != 'metadata' else content
    )
    del inside[gone]
    path.write_text(json.dumps(content))


@pytest.fixture(autouse=True)
def data_dir(root, monkeypatch):
  monkeypatch.setenv(record_source.DATA_DIR_VARIABLE, str(root))


def _make(stage, dataset, **changes):
  arguments = {'batch_size': 8, 'seed': 3, **changes}
  return batches.TaskBatches(stage, dataset=dataset, **arguments)(0)


def test_pieces_give_the_same_batches_as_whole_recordings():
  held_out = {'split': 'validation', 'repeat': False}
  for stage, changes in ((COARSE, {}), (SEMANTIC, held_out)):
    whole, pieces = (
      _make(stage, name, **changes) for name in ('whole', 'three')
    )
    for _ in range(1 if changes else 10):
      wanted, batch = next(whole), next(pieces)
      assert batch.keys() == wanted.keys()
      for key, rows in wanted.items():
        np.testing.assert_array_equal(batch[key], rows, err_msg=key)


def test_crops_begin_everywhere_alike():
  starts = collections.defaultdict(list)
  reader = _make(COARSE, 'ten', batch_size=60)
  for _ in range(60):
    batch = next(reader)
    # The planted motion is the time, every 0.08 s.
    seconds = batch['encoder_inputs_motion'][:, 0, 0]
    for name, second in zip(batch['example_ids'], seconds, strict=True):
      starts[name.decode()[-5:]].append(second)
  for i, seconds in enumerate(LONG_SECONDS):
    # Crops of 4 s; no twelfth of their starts is more frequent than another.
    found, last = np.array(starts[f'clip{i}']), seconds - 4
    assert 0 <= found.min() and found.max() <= last + 0.02
    counts, _ = np.histogram(found, bins=12, range=(-0.04, last + 0.04))
    assert counts.sum() == len(found) > 800
    # The grid has 475 places in the longest, 101 in the shortest: bins hold
    # one more or less. Chi-square of 11 degrees is above 31.3 once in 1,000.
    grid = np.arange(0, last + 0.01, 0.08)
    places, _ = np.histogram(grid, bins=12, range=(-0.04, last + 0.04))
    expected = len(found) * places / len(grid)
    assert ((counts - expected) ** 2 / expected).sum() < 31.3


def test_a_source_gives_whole_recordings():
  whole, ten = (
    {
      e['id']: e
      for e in record_source.RecordSource(name)
      .get_dataset('train')
      .as_numpy_iterator()
    }
    for name in ('whole', 'ten')
  )
  assert len(ten) == record_source.RecordSource('ten').num_input_examples(
    'train'
  )
  assert whole.keys() == ten.keys()
  for name, example in whole.items():
    for key, value in example.items():
      np.testing.assert_array_equal(ten[name][key], value)
    np.testing.assert_array_equal(
      example['semantic'][:, 0], np.arange(round(example['seconds'] * 25)) % 512
    )


def test_a_slice_of_a_source_is_some_of_its_files():
  source = record_source.RecordSource('ten')
  slices = [
    [
      e['id']
      for e in source.get_dataset(
        'train', shard_info=seqio.ShardInfo(i, 3), seed=1
      ).as_numpy_iterator()
    ]
    for i in range(3)
  ]
  assert sum(map(len, slices)) == len(set().union(*slices)) == 4


def _copied(root, tmp_path, monkeypatch):
  shutil.copytree(root / 'ten', tmp_path / 'ten')
  monkeypatch.setenv(record_source.DATA_DIR_VARIABLE, str(tmp_path))
  return tmp_path / 'ten'


def test_a_crop_reads_the_pieces_that_hold_it_and_opening_reads_none(
  root, tmp_path, monkeypatch
):
  folder = _copied(root, tmp_path, monkeypatch)
  for path in folder.glob('*.tfrecord-*'):
    table = np.load(folder / f'{shards.table_name(path.name)}')
    data, end = bytearray(path.read_bytes()), 0
    for row in table:
      if row['piece']:
        data[end : end + row['bytes']] = bytes(row['bytes'])
      end += row['bytes']
    path.write_bytes(data)
  first = {'split': 'validation', 'repeat': False}
  assert len(list(_make(COARSE, 'ten', **first))) == 1
  with pytest.raises(ValueError, match='record at byte'):
    for _, _ in zip(range(20), _make(COARSE, 'ten'), strict=False):
      pass


def test_a_stale_table_is_refused_by_name(root, tmp_path, monkeypatch):
  folder = _copied(root, tmp_path, monkeypatch)
  one, two, *_ = sorted(folder.glob('v2meow-train.table-*'))
  good = one.read_bytes()
  others = {
    'missing': None,
    'of another file': two.read_bytes(),
    'one bit': good[:-3] + bytes([good[-3] ^ 1]) + good[-2:],
    # The records were prepared again, the table was left.
    'older': (root / 'three' / one.name).read_bytes(),
  }
  for how, content in others.items():
    one.unlink(missing_ok=True)
    if content is not None:
      assert content != good, how
      one.write_bytes(content)
    with pytest.raises(ValueError, match=one.name):
      record_source.RecordSource('ten').records('train')
  one.write_bytes(good)
  assert len(record_source.RecordSource('ten').records('train')) == 4
