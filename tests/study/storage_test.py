"""Storage: nothing answered is lost, nothing is counted twice."""

import collections
import concurrent.futures
import dataclasses
import os
import signal
import sqlite3
import subprocess
import sys

import pytest

from tests.fakes import study_sites
from v2meow_jax.study import protocol
from v2meow_jax.study import storage

STUDY = study_sites.bare()
TOTAL = STUDY.num_comparisons + STUDY.num_checks


@pytest.fixture
def path(tmp_path):
  return tmp_path / storage.FILE_NAME


@pytest.fixture
def store(path):
  return storage.Storage(path, STUDY)


def join(store):
  token = store.join('consent', max_participants=100)
  assert store.progress(token).position == 0
  return token


def answer_all(store, token):
  for position in range(TOTAL):
    store.answer(token, position, study_sites.fields(position % 5 - 2))


def test_a_participant_goes_on_after_a_restart(store, path):
  token = join(store)
  assert store.answer(token, 0, study_sites.fields(1)).position == 1
  again = storage.Storage(path, STUDY).progress(token)
  assert (again.position, again.total) == (1, TOTAL)
  answer_all(store, token)
  assert store.progress(token).trial is None
  (rater,) = store.raters()
  assert [a.relevance for a in rater.answers] == [1, -1, 0, 1, 2] + [
    -2,
    -1,
    0,
    1,
    2,
  ]
  assert [t for t, _ in rater.pairs()] == list(rater.trials)


def test_the_first_answer_counts_and_a_second_changes_nothing(store):
  token = join(store)
  for value in (1, 1, -2):
    assert store.answer(token, 0, study_sites.fields(value)).position == 1
  (rater,) = store.raters()
  assert [a.relevance for a in rater.answers] == [1]


@pytest.mark.parametrize('position', [1, TOTAL, -1, 10**30])
def test_what_was_not_asked_is_not_answered(store, position):
  token = join(store)
  with pytest.raises(storage.NotYetAsked):
    store.answer(token, position, study_sites.fields())
  assert store.progress(token).position == 0


def test_an_answer_before_the_page_was_shown_is_refused(store):
  token = store.join('consent', max_participants=100)
  with pytest.raises(storage.NotYetAsked):
    store.answer(token, 0, study_sites.fields())


def test_an_answer_that_is_not_valid_leaves_no_trace(store):
  token = join(store)
  with pytest.raises(protocol.StudyError, match='played first'):
    store.answer(token, 0, study_sites.fields(played=(10.0, 1.0)))
  assert store.progress(token).position == 0


@pytest.mark.parametrize('token', ['', 'nobody', '\ud800', "' OR 1=1 --"])
def test_a_stranger_is_nobody(store, token):
  join(store)
  assert store.progress(token) is None
  assert store.answer(token, 0, study_sites.fields()) is None


def test_the_secret_of_a_participant_is_not_in_the_file(store, path):
  token = join(store)
  assert token.encode() not in path.read_bytes()


def test_two_who_answer_at_once_lose_nothing(path):
  stores = [storage.Storage(path, STUDY) for _ in range(4)]
  tokens = [join(store) for store in stores]
  with concurrent.futures.ThreadPoolExecutor(4) as pool:
    list(pool.map(answer_all, stores, tokens))
  raters = stores[0].raters()
  assert [len(r.answers) for r in raters] == [TOTAL] * 4
  assert len({r.code for r in raters}) == 4


def test_one_who_answers_twice_at_once_is_counted_once(store):
  token = join(store)
  with concurrent.futures.ThreadPoolExecutor(4) as pool:
    done = pool.map(
      lambda _: store.answer(token, 0, study_sites.fields(1)), range(8)
    )
    assert {p.position for p in done} == {1}
  assert len(store.raters()[0].answers) == 1


def test_pairs_stay_balanced_when_some_leave(store, monkeypatch):
  for number in range(4):
    token = join(store)
    if number % 2:
      answer_all(store, token)
  # A day later those who left no longer count.
  now = storage.time.time()
  monkeypatch.setattr(storage.time, 'time', lambda: now + 25 * 3600)
  for _ in range(2):
    answer_all(store, join(store))
  counts = collections.Counter(
    trial.pair
    for rater in store.raters()
    for trial, _ in rater.pairs()
    if trial.kind == protocol.COMPARISON
  )
  shown = [counts[pair] for pair in range(len(STUDY.pairs))]
  assert sum(shown) == 4 * STUDY.num_comparisons
  assert max(shown) - min(shown) <= 1


def test_a_full_study_takes_nobody_more(store):
  store.join('consent', max_participants=1)
  with pytest.raises(storage.StudyFull):
    store.join('consent', max_participants=1)


def test_who_joined_and_left_without_an_answer_takes_no_place(
  store, monkeypatch
):
  silent, answering = join(store), join(store)
  store.answer(answering, 0, study_sites.fields())
  with pytest.raises(storage.StudyFull):
    store.join('consent', max_participants=2)
  now = storage.time.time()
  monkeypatch.setattr(storage.time, 'time', lambda: now + 25 * 3600)
  store.join('consent', max_participants=2)
  with pytest.raises(storage.StudyFull, match='2 participants'):
    store.join('consent', max_participants=2)
  # Who comes back late may still answer.
  assert store.answer(silent, 0, study_sites.fields()).position == 1


def test_who_withdraws_is_gone_with_all_answers(store, path):
  token = join(store)
  answer_all(store, token)
  (rater,) = store.raters()
  with sqlite3.connect(path) as db:
    db.execute('PRAGMA foreign_keys = ON')
    db.execute('DELETE FROM participants WHERE code = ?', (rater.code,))
    left = db.execute('SELECT COUNT(*) FROM answers').fetchone()
  assert (left, store.raters()) == ((0,), [])


def test_between_calls_all_is_in_one_file(store, path):
  answer_all(store, join(store))
  assert os.listdir(path.parent) == [storage.FILE_NAME]


def test_answers_to_another_study_are_not_mixed_in(store, path):
  other = dataclasses.replace(STUDY, id='f' * 16)
  with pytest.raises(protocol.StudyError, match='another study'):
    storage.Storage(path, other)


def test_a_file_that_is_no_database_is_refused_and_kept(path):
  path.write_bytes(b'x' * 5000)
  with pytest.raises(protocol.StudyError, match='not a file of answers'):
    storage.Storage(path, STUDY)
  assert path.read_bytes() == b'x' * 5000


def test_a_folder_in_place_of_the_file_is_named(path):
  path.mkdir()
  with pytest.raises(protocol.StudyError, match='answers.sqlite: a folder'):
    storage.Storage(path, STUDY)


def test_a_file_that_cannot_be_opened_is_named(path):
  with pytest.raises(OSError, match='nowhere/answers.sqlite'):
    storage.Storage(path.parent / 'nowhere' / path.name, STUDY)


_ANSWER_FOREVER = """
import sys
from tests.fakes import study_sites
from v2meow_jax.study import storage
store = storage.Storage(sys.argv[1], study_sites.bare())
while True:
  token = store.join('consent', max_participants=10**6)
  store.progress(token)
  for position in range(10):
    store.answer(token, position, study_sites.fields(position % 5 - 2))
    print(token, position, flush=True)
"""


@pytest.mark.slow
def test_what_was_acknowledged_survives_a_kill(path, root):
  told = []
  for lines in (7, 23):
    child = subprocess.Popen(
      [sys.executable, '-c', _ANSWER_FOREVER, str(path)],
      cwd=root,
      stdout=subprocess.PIPE,
      text=True,
    )
    assert child.stdout is not None
    told += [child.stdout.readline().split() for _ in range(lines)]
    child.send_signal(signal.SIGKILL)
    told += [line.split() for line in child.stdout]
    child.wait()
  store = storage.Storage(path, STUDY)
  for token, position in told:
    assert store.progress(token).position > int(position)
  for rater in store.raters():
    given = [answer.relevance for answer in rater.answers]
    assert given == [i % 5 - 2 for i in range(len(given))]
