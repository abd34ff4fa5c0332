import collections
import filecmp
import json
import os
import shutil

import pytest
import tensorflow as tf

from tests.data import planted
from v2meow_jax.data import manifests
from v2meow_jax.data import shards

pytestmark = pytest.mark.data


def _same(a, b):
  names = sorted(os.listdir(a))
  assert names == sorted(os.listdir(b))
  _, mismatch, errors = filecmp.cmpfiles(a, b, names, shallow=False)
  assert not mismatch and not errors


def test_every_kind_of_bad_clip_is_in_the_ledger(planted_data):
  rows = (planted_data / 'rejected.jsonl').read_text().splitlines()
  found = {r['id']: (r['stage'], r['error']) for r in map(json.loads, rows)}
  assert found == {
    'gone': ('read audio', 'FileNotFoundError'),
    'mute': ('read audio', 'ValueError'),
    'broken': ('read audio', 'AttributeError'),
    'short': ('align', 'ValueError'),
    'nan': ('record', 'ValueError'),
    'misfit': ('record', 'ValueError'),
  }


def test_a_rerun_replaces_the_dataset_by_the_same_bytes(
  planted_data, planted_prepare, tmp_path
):
  out = tmp_path / 'again'
  shutil.copytree(planted_data, out)
  (out / 'v2meow-train.tfrecord-00000-of-00003').write_bytes(b'')
  planted_prepare(out)
  _same(planted_data, out)
  assert os.listdir(tmp_path) == ['again']


@pytest.mark.slow  # Two more processes import TensorFlow.
def test_two_processes_load_once_each_and_write_the_same_bytes(
  planted_data, planted_prepare, tmp_path, root, monkeypatch
):
  loads = tmp_path / 'loads'
  loads.mkdir()

  def make_extractors():
    with open(loads / str(os.getpid()), 'a') as f:
      f.write('.')
    return planted.make_extractors()

  monkeypatch.setenv('PYTHONPATH', str(root))
  planted_prepare(
    tmp_path / 'two',
    make_extractors=make_extractors,
    pipeline_options=(
      '--direct_num_workers=2',
      '--direct_running_mode=multi_processing',
    ),
  )
  _same(planted_data, tmp_path / 'two')
  counts = {p.name: p.read_text() for p in loads.iterdir()}
  assert str(os.getpid()) not in counts
  assert set(counts.values()) == {'.'}


def test_the_order_of_the_manifest_does_not_matter(
  planted_data, planted_manifest, planted_prepare, tmp_path
):
  folder = tmp_path / 'media'
  shutil.copytree(os.path.dirname(planted_manifest), folder)
  lines = (folder / 'manifest.jsonl').read_text().splitlines()
  (folder / 'manifest.jsonl').write_text('\n'.join(reversed(lines)))
  planted_prepare(tmp_path / 'out', manifest=str(folder / 'manifest.jsonl'))
  first = shards.read_index(str(planted_data))
  assert shards.read_index(str(tmp_path / 'out')) == first


def test_an_extractor_that_cannot_load_stops_the_run_and_leaves_nothing(
  planted_prepare, tmp_path
):
  def make_extractors():
    raise OSError('weights are gone')

  with pytest.raises(Exception, match='weights are gone'):
    planted_prepare(tmp_path / 'out', make_extractors=make_extractors)
  assert not os.listdir(tmp_path)


def test_when_every_clip_is_rejected_it_says_why(planted_prepare, tmp_path):
  clips = {'a': ('train', None), 'b': ('validation', None)}
  manifest = planted.write_manifest(tmp_path / 'media', clips)
  with pytest.raises(ValueError, match='all 2 clips were rejected.*no file'):
    planted_prepare(tmp_path / 'out', manifest=manifest)
  assert not (tmp_path / 'out').exists()


def test_a_folder_of_something_else_is_not_replaced(planted_prepare, tmp_path):
  (tmp_path / 'thesis.tex').write_text('years')
  with pytest.raises(ValueError, match='not a prepared dataset'):
    planted_prepare(tmp_path)
  assert (tmp_path / 'thesis.tex').read_text() == 'years'


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
    by_split[name.split('.')[0]] += shard.records
  assert by_split == {'v2meow-train': 24, 'v2meow-validation': 6}


def test_a_bad_manifest_names_every_bad_line(tmp_path):
  manifest = tmp_path / 'manifest.jsonl'
  lines = [
    '{"id": "a", "path": "a.mp4"}',
    'not json',
    '{"id": "a", "path": "b.mp4"}',
    '{"id": "../c", "path": "c.mp4"}',
    '{"id": "d"}',
    '{"id": "e", "path": "e.mp4", "split": "test"}',
  ]
  manifest.write_text('\n'.join(lines))
  with pytest.raises(ValueError) as error:
    manifests.read(str(manifest))
  for number in (2, 3, 4, 5, 6):
    assert f'line {number}: ' in str(error.value)
  assert 'line 1:' not in str(error.value)
