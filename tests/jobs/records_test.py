"""Records survive torn lines, and count only for a result that is there."""

import dataclasses
import hashlib
import json
import pathlib

import pytest

from v2meow_jax.files import outputs
from v2meow_jax.jobs import commit
from v2meow_jax.jobs import records
from v2meow_jax.jobs import shards

ALL = shards.JobShard(index=0, count=1)
FILES = {'video': {'version': '1', 'sha256': 'a'}}


def record(**fields):
  return records.Record(
    **{
      'id': 'x',
      'state': 'done',
      'attempt': 1,
      'options': 'o',
      'files': FILES,
      'output': 'x.wav',
      'num_bytes': 4,
      'sha256': 's',
      **fields,
    }
  )


@pytest.fixture
def job(tmp_path):
  """A workshop and a journal of a folder."""
  workshop = commit.Workshop(tmp_path, ALL)
  yield workshop, records.Journal(tmp_path, ALL)
  workshop.close()


def put(job, content=b'1234', **fields):
  workshop, journal = job
  built = workshop.folder / 'x.wav'
  built.write_bytes(content)
  workshop.commit(built, record(**fields), {'seed': 1}, journal)


def done(folder, options='o', **fields):
  return records.Results(folder).done('x', options, **fields)


def test_torn_and_foreign_lines_are_no_records(tmp_path, job):
  put(job)
  (file,) = (tmp_path / 'records').iterdir()
  whole = file.read_bytes()
  for torn in (
    whole[:-9],
    b'\xff\n',
    b'[]\n',
    b'{"id": 1}\n',
    b'{"id": "x", "state',
  ):
    file.write_bytes(torn)
    assert done(tmp_path) is None
    file.write_bytes(torn + b'\n' + whole)
    assert done(tmp_path) == record()
  # The sidecar knows as well, and is no record of another item.
  file.unlink()
  results = records.Results(tmp_path)
  assert results.unrecorded('y', 'x.wav') is None
  assert results.unrecorded('x', 'x.wav') == record()
  assert results.done('x', 'o') == record()


def test_a_result_counts_when_it_is_whole_and_of_these_inputs(tmp_path, job):
  put(job)
  assert done(tmp_path, versions={'video': '1'})
  assert done(tmp_path, versions={'video': None})  # Its disk is not there.
  assert not done(tmp_path, versions={'video': '2'})
  assert not done(tmp_path, versions={'video': '1', 'plan': '1'})
  assert done(tmp_path, sha256={'video': 'a'})
  assert not done(tmp_path, sha256={'video': 'b'})
  assert not done(tmp_path, 'other')
  (tmp_path / 'x.wav').write_bytes(b'12')
  assert not done(tmp_path)
  (tmp_path / 'x.wav').write_bytes(b'1234')
  assert done(tmp_path)
  (tmp_path / 'x.wav.json').unlink()
  assert not done(tmp_path)


def test_of_results_of_one_name_the_one_in_place_counts(tmp_path, job):
  put(job)
  put(job, b'abcd', options='p', attempt=2, sha256='t')
  assert not done(tmp_path) and done(tmp_path, 'p')
  put(job, attempt=3)
  assert done(tmp_path) and not done(tmp_path, 'p')


@pytest.mark.parametrize('instant', ['replacing', 'moved', 'described'])
def test_a_kill_while_a_result_is_replaced_mixes_nothing_up(
  tmp_path, job, monkeypatch, instant
):
  put(job)
  workshop, journal = job
  if instant == 'replacing':  # Before anything is touched.
    monkeypatch.setattr(pathlib.Path, 'unlink', _die)
  elif instant == 'moved':  # The file is new, and nothing says so.
    monkeypatch.setattr(workshop, 'write_text', _die)
  else:  # All but the record.
    append = journal.append
    monkeypatch.setattr(
      journal, 'append', lambda r: r.state == 'done' or append(r)
    )
  try:
    put(job, b'abcd', options='p', attempt=2, sha256='t')
  except KeyboardInterrupt:
    pass
  monkeypatch.undo()
  assert bool(done(tmp_path)) == (instant == 'replacing')
  results = records.Results(tmp_path)
  results.unrecorded('x', 'x.wav')
  assert bool(results.done('x', 'p')) == (instant == 'described')


@pytest.mark.parametrize('is_replaced', [False, True])
def test_a_kill_while_a_stretch_is_made_again_leaves_a_record_of_the_file(
  tmp_path, job, is_replaced
):
  put(job)
  sidecar, output = tmp_path / 'x.wav.json', tmp_path / 'x.wav'
  facts = json.loads(sidecar.read_bytes())
  if is_replaced:
    output.write_bytes(b'abcdef')
  digest = hashlib.sha256(b'abcdef').hexdigest()
  again = record(attempt=2, num_bytes=6, sha256=digest)
  facts[outputs.REPLACED_BY] = {
    'output_sha256': digest,
    'record': dataclasses.asdict(again),
  }
  sidecar.write_text(json.dumps(facts))
  results = records.Results(tmp_path)
  unrecorded = results.unrecorded('x', 'x.wav')
  assert unrecorded == (again if is_replaced else None)
  assert results.done('x', 'o') == (again if is_replaced else record())


def _die(*_, **__):
  raise KeyboardInterrupt


def test_a_failure_counts_until_it_is_forgiven(tmp_path, job):
  _, journal = job

  def failed():
    return records.Results(tmp_path).failed('x', 'o', {'video': '1'})

  def fail(attempt):
    journal.append(record(state='failed', attempt=attempt, reason='time'))

  fail(1)
  assert failed() and not records.Results(tmp_path).failed('x', 'p')
  journal.append(records.Record(id='x', state='forgiven', attempt=1))
  assert not failed()
  fail(2)
  assert failed()


def test_a_workshop_of_a_killed_process_is_cleared(tmp_path):
  left = tmp_path / commit.BUILDING / '1-of-2-abc'
  left.mkdir(parents=True)
  (left / 'lock').touch()
  (left / 'half.mp4').touch()
  (left.parent / '0-of-1-def').mkdir()
  workshop = commit.Workshop(tmp_path, ALL)
  assert list(left.parent.iterdir()) == [workshop.folder]
  workshop.close()
  assert list(tmp_path.iterdir()) == []


def test_a_bucket_gets_records_in_files_that_are_written_again(
  bucket, monkeypatch
):
  monkeypatch.setattr(records, '_MOST_LINES', 2)
  out = records.paths.path('gs://bucket/out')
  journal = records.Journal(out, ALL)
  for number in range(5):
    journal.append(record(attempt=number))
  journal.close()
  attempts = [r.attempt for r in records.Results(out).of('x')]
  assert sorted(attempts) == list(range(5))
