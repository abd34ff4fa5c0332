"""Beam makes what one process makes; its dead letters name shards."""

import functools
import os
import pathlib

import pytest

from tests.fakes import small_batch
from v2meow_jax.jobs.engines import beam_engine
from v2meow_jax.jobs.generate import job

pytestmark = pytest.mark.data

NUM = 7


def load_and_note(notes, *_):
  """Loads a system in a worker, which leaves a file of its name."""
  pathlib.Path(notes, str(os.getpid())).touch()
  return small_batch.HummingSystem()


def load_nothing(*_):
  raise ValueError('the system is gone')


def test_processes_of_beam_make_what_one_process_makes(
  tmp_path, monkeypatch, root
):
  monkeypatch.setenv('PYTHONPATH', str(root))
  manifest = small_batch.write_manifest(tmp_path / 'clips', NUM)
  whole, out, notes = (tmp_path / n for n in ('whole', 'out', 'notes'))
  notes.mkdir()
  assert small_batch.run(manifest, whole) == job.EXIT_FAILURES
  batch = small_batch.batch(
    manifest, out, load_system=functools.partial(load_and_note, str(notes))
  )
  options = (
    '--direct_running_mode=multi_processing',
    '--direct_num_workers=2',
  )
  code = beam_engine.run(batch, num_shards=9, options=options)
  assert code == job.EXIT_FAILURES
  assert small_batch.digests(out) == small_batch.digests(whole)
  names = [{path.name for path in f.iterdir()} for f in (out, whole)]
  assert names[0] == names[1]
  loaded = {path.name for path in notes.iterdir()}
  # One process may have had both good shards; this one had none.
  assert 1 <= len(loaded) <= 2 and str(os.getpid()) not in loaded


def test_a_shard_that_cannot_be_made_is_a_dead_letter(tmp_path):
  manifest = small_batch.write_manifest(tmp_path / 'clips', 3, poison=False)
  out = tmp_path / 'out'
  batch = small_batch.batch(manifest, out, load_system=load_nothing)
  with pytest.raises(ValueError, match='shards ended with errors.*is gone'):
    beam_engine.run(batch, num_shards=2)
  assert {path.name for path in out.iterdir()} <= {'job.json', 'failed.jsonl'}
  batch = small_batch.batch(manifest, out)
  assert beam_engine.run(batch, num_shards=2) == job.EXIT_DONE
