"""A world on disk is reproducible, resumable, and says what is in it."""

import concurrent.futures.process
import hashlib
import json

import numpy as np
import pytest

from v2meow_jax.files import read
from v2meow_jax.synthetic import compose
from v2meow_jax.synthetic import scene as scene_lib
from v2meow_jax.synthetic import world


def _write(out, num=2, seed=4, **options):
  manifest = world.write(
    out, num=num, seed=seed, seconds=2.0, progress=False, **options
  )
  return [json.loads(line) for line in manifest.read_text().splitlines()]


@pytest.fixture(scope='module')
def written(tmp_path_factory):
  out = tmp_path_factory.mktemp('world') / 'first'
  return out, _write(out)


def test_two_runs_give_equal_bytes(written, tmp_path):
  out, _ = written
  _write(tmp_path / 'second')
  for path in ('manifest.jsonl', 'clips/000000.mp4', 'clips/000001.mp4'):
    assert (out / path).read_bytes() == (
      tmp_path / 'second' / path
    ).read_bytes()


@pytest.mark.slow
def test_the_number_of_workers_changes_nothing(written, tmp_path):
  _, lines = written
  assert _write(tmp_path, workers=2) == lines


def test_another_seed_gives_other_clips(written, tmp_path):
  _, lines = written
  other = _write(tmp_path / 'other', seed=5)
  assert {x['sha256'] for x in lines}.isdisjoint(x['sha256'] for x in other)


def test_the_manifest_tells_the_truth(written):
  out, lines = written
  for index, line in enumerate(lines):
    scene = scene_lib.sample(4, index, 2.0)
    assert line['id'] == f'{index:06d}'
    assert line['tempo_bpm'] == scene.tempo_bpm
    assert tuple(line['beat_times']) == scene.beat_times
    assert (line['genre'], line['key']) == (scene.genre, scene.key)
    content = (out / line['path']).read_bytes()
    assert line['sha256'] == hashlib.sha256(content).hexdigest()


def test_every_tenth_scene_is_held_out():
  held_out = [n for n in range(30) if world.split(n) == 'validation']
  assert held_out == [9, 19, 29]


def test_an_interrupted_run_is_completed(written, tmp_path):
  _, lines = written
  _write(tmp_path)
  kept = tmp_path / 'clips' / '000000.mp4'
  written_ns = kept.stat().st_mtime_ns
  (tmp_path / 'clips' / '000001.mp4').unlink()
  (tmp_path / 'manifest.jsonl').unlink()
  assert _write(tmp_path) == lines
  assert kept.stat().st_mtime_ns == written_ns


def test_a_folder_of_another_run_is_refused(written):
  out, _ = written
  with pytest.raises(ValueError, match="'seed': 4.*not.*'seed': 5"):
    _write(out, seed=5)


def test_a_folder_of_other_things_is_refused(tmp_path):
  (tmp_path / 'thesis.txt').write_text('precious')
  with pytest.raises(ValueError, match='not empty'):
    _write(tmp_path)
  assert [p.name for p in tmp_path.iterdir()] == ['thesis.txt']


def test_no_clips_are_refused(tmp_path):
  with pytest.raises(ValueError, match='num is 0'):
    _write(tmp_path / 'none', num=0)
  assert not (tmp_path / 'none').exists()


def test_a_world_in_a_bucket_has_the_same_bytes(bucket, tmp_path):
  arguments = {'num': 1, 'seed': 0, 'seconds': 1.0, 'progress': False}
  world.write(tmp_path / 'world', **arguments)
  manifest = world.write('gs://bucket/world', **arguments)
  assert str(manifest) == 'gs://bucket/world/manifest.jsonl'
  assert bucket.objects == {
    f'bucket/{path.relative_to(tmp_path)}': path.read_bytes()
    for path in (tmp_path / 'world').rglob('*.*')
  }


def test_a_world_of_sound_alone_has_the_same_music_and_plans(written, tmp_path):
  _, lines = written
  heard = _write(tmp_path, sound_only=True)
  for line, same in zip(heard, lines, strict=True):
    assert line['path'].endswith('.wav')
    assert line['plan'] == same['plan']
    audio = read.read_audio(tmp_path / line['path'])
    scene = scene_lib.sample(4, int(line['id']), 2.0)
    np.testing.assert_allclose(
      audio.samples, compose.music(scene).samples, atol=1e-4
    )
  with pytest.raises(ValueError, match='sound_only'):
    _write(tmp_path)


@pytest.mark.slow
def test_ctrl_c_while_the_workers_start_is_that_and_nothing_else(monkeypatch):
  thread = concurrent.futures.process._ExecutorManagerThread
  start = thread.start

  def interrupted(self):
    start(self)
    raise KeyboardInterrupt

  def not_started(self, timeout=None):
    raise RuntimeError('cannot join thread before it is started')

  with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
    patch.setattr(thread, 'start', interrupted)
    patch.setattr(thread, 'join', not_started)
    list(world.each(abs, 4, 2))
