"""The steps that cost are those that take time; the bytes are those of records."""

import json
import math
import os
import re
import time

import pytest

from tests.fakes import planted_records
from v2meow_jax.data import shards
from v2meow_jax.jobs.prepare import estimate

pytestmark = pytest.mark.data

SECONDS = 20.0


class _Slow(planted_records.Clock):
  """A clock that takes a while."""

  def __call__(self, item):
    time.sleep(0.05)
    return super().__call__(item)


def _slow_motion():
  made = planted_records.make_extractors()
  stream = made['motion'].stream
  return made | {'motion': _Slow(stream)}


def _estimate(manifest, hours=None, **changes):
  reading = planted_records.reading(**changes)
  return estimate.estimate(manifest, reading, hours)


@pytest.fixture
def manifest(tmp_path):
  clips = {f'c{i}': ('train', {'seconds': SECONDS}) for i in range(9)}
  return planted_records.write_manifest(tmp_path / 'media', clips)


def test_the_slow_step_comes_first(manifest):
  told = _estimate(manifest, make_extractors=_slow_motion)
  lines = told.splitlines()
  assert lines[2].startswith('extract motion')
  assert lines[-2].startswith('most of it: extract motion')
  # Five stretches of 4 s, 0.05 s each.
  cost = float(lines[2].split()[2])
  assert cost >= 0.05 * 5 / SECONDS


def test_what_is_at_work_is_shown(manifest, capsys):
  _estimate(manifest)
  loading, _, measuring = capsys.readouterr().err.partition('measure:')
  for shown in (loading, measuring):
    assert 'read video' in shown and 'extract motion' in shown
  assert 'load and compile:   0%' in loading and '6/6' in measuring


def test_hours_default_to_those_of_the_manifest(manifest):
  first = _estimate(manifest).splitlines()[0]
  assert float(first.split()[0]) == pytest.approx(9 * SECONDS / 3600)


def test_bytes_are_those_that_preparing_writes(
  manifest, planted_prepare, tmp_path
):
  told = _estimate(manifest)
  size = float(re.search(r'records: (\S+) GB', told)[1]) * 1e9
  planted_prepare(tmp_path / 'out', manifest=manifest)
  index = shards.read_index(str(tmp_path / 'out'))
  written = sum(shard.bytes for shard in index.values())
  # The files frame each record with 16 bytes.
  assert size == pytest.approx(written - 16 * 9, rel=0.01)


def test_an_hour_of_each_stream_has_the_bytes_of_its_numbers(manifest):
  last = _estimate(manifest).splitlines()[-1]
  told = dict(re.findall(r'(\w+) (\S+) MB', last.partition('of an hour ')[2]))
  streams = {s.name: s for s in planted_records.reading().streams if s.rate_hz}
  assert set(told) == set(streams)
  for name, stream in streams.items():
    numbers = 3600 * stream.rate_hz * math.prod(stream.frame_shape)
    assert float(told[name]) * 1e6 == pytest.approx(2 * numbers, rel=0.01)


def test_twice_the_hours_take_twice_the_bytes(manifest):
  sizes = [
    float(re.search(r'records: (\S+) GB', told)[1])
    for told in (_estimate(manifest, hours=h) for h in (1e3, 2e3))
  ]
  assert sizes[1] == pytest.approx(2 * sizes[0], rel=0.01)


def test_clips_that_cannot_be_used_are_told_of(tmp_path):
  clips = {'a': ('train', None), 'b': ('train', {'seconds': SECONDS})}
  manifest = planted_records.write_manifest(tmp_path / 'media', clips)
  told = _estimate(manifest)
  assert '(1 more were rejected)' in told


def test_when_all_are_rejected_it_says_why(tmp_path):
  manifest = planted_records.write_manifest(
    tmp_path / 'media', {'a': ('train', None)}
  )
  with pytest.raises(ValueError, match='were rejected.*no file'):
    _estimate(manifest)


def test_batches_that_are_not_full_are_told_of(manifest):
  said = 'networks of frames saw those of 3 clips at once'
  assert said not in _estimate(manifest, clips_at_once=3)
  assert said in _estimate(manifest, clips_at_once=16)


def test_nothing_is_written(manifest):
  before = sorted(os.listdir(os.path.dirname(manifest)))
  _estimate(manifest)
  assert sorted(os.listdir(os.path.dirname(manifest))) == before
  assert json.loads(open(manifest).readline())['id'] == 'c0'


def test_hours_must_be_more_than_none(manifest):
  with pytest.raises(ValueError, match='hours is 0'):
    _estimate(manifest, hours=0.0)
