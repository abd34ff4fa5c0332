"""A pool of Ray's actors makes what one process makes, also when one dies."""

import functools
import gc
import logging
import os
import pathlib
import signal
import time

import pytest

from tests.fakes import small_batch
from v2meow_jax.jobs.engines import ray_engine
from v2meow_jax.jobs.generate import job

pytestmark = pytest.mark.slow

ray = pytest.importorskip('ray', reason='extra `ray` is not installed')
NUM = 24
NUM_ACTORS = 3
_MOST_SECONDS = 60.0


@pytest.fixture(scope='module')
def cluster(request):
  """A cluster of this machine that says nothing to anybody."""
  root = str(pathlib.Path(request.config.rootpath))
  with pytest.MonkeyPatch.context() as patch:
    patch.setenv('RAY_USAGE_STATS_ENABLED', '0')
    patch.setenv('RAY_AUTH_MODE', 'disabled')
    ray.init(
      address='local',
      num_cpus=NUM_ACTORS,
      num_gpus=0,
      include_dashboard=False,
      configure_logging=False,
      runtime_env={'env_vars': {'PYTHONPATH': root, 'JAX_PLATFORMS': 'cpu'}},
    )
    yield
    ray.shutdown()


def load_and_note(notes, *_):
  """Loads a system in an actor, which leaves a file of its name."""
  pathlib.Path(notes, str(os.getpid())).touch()
  return small_batch.HummingSystem()


def load_nothing(*_):
  raise ValueError('the system is gone')


def have_ended(pids):
  """Whether processes end, of which no garbage collection tells Ray."""
  end = time.monotonic() + _MOST_SECONDS
  gc.disable()
  try:
    while any(map(os.path.exists, map('/proc/{}'.format, pids))):
      if time.monotonic() > end:
        return False
      time.sleep(0.05)
  finally:
    gc.enable()
  return True


def test_an_actor_that_is_killed_changes_nothing(cluster, tmp_path, caplog):
  manifest = small_batch.write_manifest(tmp_path / 'clips', NUM)
  whole, out, notes = (tmp_path / n for n in ('whole', 'out', 'notes'))
  log = tmp_path / 'log'
  notes.mkdir()
  log.touch()
  assert small_batch.run(manifest, whole) == job.EXIT_FAILURES
  killed, committed, num_lines = [], set(), 0

  def kill_one():
    nonlocal committed, num_lines
    pids = [int(path.name) for path in notes.iterdir()]
    if len(pids) == NUM_ACTORS and not killed:
      killed.append(pids[0])
      os.kill(pids[0], signal.SIGKILL)
      committed = small_batch.committed(out)
      num_lines = len(log.read_text().split())
    return False

  batch = small_batch.batch(
    manifest,
    out,
    log=log,
    load_system=functools.partial(load_and_note, str(notes)),
  )
  with caplog.at_level(logging.WARNING):
    code = ray_engine.run(
      batch, num_actors=NUM_ACTORS, num_shards=7, is_stopped=kill_one
    )
  assert code == job.EXIT_FAILURES and killed
  assert 'An actor died' in caplog.text
  assert small_batch.digests(out) == small_batch.digests(whole)
  names = [{path.name for path in f.iterdir()} for f in (out, whole)]
  assert names[0] == names[1]
  again = committed.intersection(log.read_text().split()[num_lines:])
  assert not again
  assert have_ended(pids=[int(path.name) for path in notes.iterdir()])
  # Of a batch of which nothing is left, no shard is handed out.
  before = set(notes.iterdir())
  assert ray_engine.run(batch, num_actors=2) == job.EXIT_FAILURES
  assert set(notes.iterdir()) == before


def test_a_pool_that_is_asked_to_stop_keeps_what_is_finished(cluster, tmp_path):
  manifest = small_batch.write_manifest(tmp_path / 'clips', NUM, poison=False)
  out = tmp_path / 'out'
  batch = small_batch.batch(manifest, out)
  code = ray_engine.run(
    batch,
    num_actors=1,
    num_shards=3,
    is_stopped=lambda: any(out.glob('*.wav')),
  )
  assert code == job.EXIT_TRY_AGAIN
  assert 0 < len(small_batch.committed(out)) < NUM


def test_a_shard_that_cannot_be_made_is_named(cluster, tmp_path):
  manifest = small_batch.write_manifest(tmp_path / 'clips', 3, poison=False)
  batch = small_batch.batch(
    manifest, tmp_path / 'out', load_system=load_nothing
  )
  with pytest.raises(
    ValueError, match='errors.*ValueError: the system is gone'
  ):
    ray_engine.run(batch, num_actors=1, num_shards=2)
  with pytest.raises(ValueError, match='--actors is 0'):
    ray_engine.run(batch, num_actors=0)
