import filecmp
import json
import os
import shutil

import pytest

from tests.fakes import planted_records
from v2meow_jax.data import shards

pytestmark = pytest.mark.data


def _assert_same(a, b):
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
  _assert_same(planted_data, out)
  assert os.listdir(tmp_path) == ['again']


def test_an_interrupt_stays_one(planted_prepare, tmp_path):
  def interrupted():
    raise KeyboardInterrupt

  with pytest.raises(KeyboardInterrupt):
    planted_prepare(tmp_path / 'out', make_extractors=interrupted)


@pytest.mark.slow  # Two more processes import TensorFlow.
def test_two_processes_load_once_each_and_write_the_same_bytes(
  planted_data, planted_prepare, tmp_path, root, monkeypatch
):
  loads = tmp_path / 'loads'
  loads.mkdir()

  def make_extractors():
    with open(loads / str(os.getpid()), 'a') as f:
      f.write('.')
    return planted_records.make_extractors()

  monkeypatch.setenv('PYTHONPATH', str(root))
  planted_prepare(
    tmp_path / 'two',
    make_extractors=make_extractors,
    pipeline_options=(
      '--direct_num_workers=2',
      '--direct_running_mode=multi_processing',
    ),
  )
  _assert_same(planted_data, tmp_path / 'two')
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


@pytest.mark.slow  # Beam runs once more.
def test_when_every_clip_is_rejected_it_says_why(planted_prepare, tmp_path):
  clips = {'a': ('train', None), 'b': ('validation', None)}
  manifest = planted_records.write_manifest(tmp_path / 'media', clips)
  with pytest.raises(ValueError, match='all 2 clips were rejected.*no file'):
    planted_prepare(tmp_path / 'out', manifest=manifest)
  assert not (tmp_path / 'out').exists()


def test_when_no_clip_to_train_on_is_left_nothing_is_written(
  planted_prepare, tmp_path
):
  short = {'seconds': 2.0}
  clips = {
    'a': ('train', short),
    'b': ('train', short),
    'c': ('validation', short),
  }
  manifest = planted_records.write_manifest(tmp_path / 'media', clips)
  why = (
    "all 2 clips to train on were rejected.*2 at 'align', such as 'a': .*gives"
    r' 2 s of .*at least 10 s, the shortest to train on\.'
  )
  with pytest.raises(ValueError, match=why):
    planted_prepare(tmp_path / 'out', manifest=manifest)
  assert os.listdir(tmp_path) == ['media']


def test_a_folder_of_something_else_is_not_replaced(planted_prepare, tmp_path):
  (tmp_path / 'thesis.tex').write_text('years')
  with pytest.raises(ValueError, match='not a prepared dataset'):
    planted_prepare(tmp_path)
  assert (tmp_path / 'thesis.tex').read_text() == 'years'


class _Squares(planted_records.Clock):
  """A clock that is a network of frames."""

  batch_size = 8

  def inputs(self, item):
    return planted_records.Clock.__call__(self, item)

  def outputs(self, inputs):
    return inputs**2


def _with_squares():
  made = planted_records.make_extractors()
  stream = made['appearance'].stream
  return made | {
    'appearance': _Squares(stream),
  }


def test_clips_at_once_change_no_byte(planted_prepare, tmp_path):
  planted_prepare(tmp_path / 'one', make_extractors=_with_squares)
  planted_prepare(
    tmp_path / 'seven', make_extractors=_with_squares, clips_at_once=7
  )
  _assert_same(tmp_path / 'one', tmp_path / 'seven')
