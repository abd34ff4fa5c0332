"""Answers: what is made up, damaged or of another study is refused."""

import json

import pytest

from tests.fakes import study_sites
from v2meow_jax.study import answers
from v2meow_jax.study import assignment
from v2meow_jax.study import protocol

STUDY = study_sites.bare()
BOOKLETS = assignment.booklets(STUDY, 3)
TRIAL = BOOKLETS[0][0]


def sent(**changes):
  return {**study_sites.fields(-1, 2, (9.5, 10.0)), **changes}


def saved(**changes):
  one = {**sent(), 'seconds': 31.5}
  fields = {
    'format': 1,
    'study': STUDY.id,
    'booklet': 2,
    'code': 'ABCD2345',
    'consent': '0' * 16,
    'answers': [one, one],
  }
  return {**fields, **changes}


def test_an_answer_is_read_as_it_was_given():
  answer = answers.parse(sent(), TRIAL, STUDY, 31.5)
  assert (answer.relevance, answer.preference) == (-1, 2)
  assert (answer.played, answer.seconds) == ((9.5, 10.0), 31.5)


@pytest.mark.parametrize(
  'fields',
  [
    None,
    [],
    {},
    {**sent(), 'more': 1},
    sent(relevance=3),
    sent(relevance=True),
    sent(relevance=1.0),
    sent(relevance='1'),
    sent(preference=None),
    sent(preference=10**400),
    sent(played=[10.0]),
    sent(played='10'),
    sent(played=[10.0, 8.9]),
    sent(played=[10.0, float('nan')]),
    sent(played=[10.0, float('inf')]),
    sent(played=[10.0, True]),
    sent(played=[10.0, -1.0]),
    sent(played=[10**400, 10]),
  ],
)
def test_what_is_no_answer_is_refused(fields):
  with pytest.raises(protocol.StudyError):
    answers.parse(fields, TRIAL, STUDY, 31.5)


def test_a_saved_file_is_read_with_its_booklet(tmp_path):
  path = tmp_path / 'a.json'
  path.write_text(json.dumps(saved()))
  rater = answers.read_file(path, STUDY, BOOKLETS)
  assert rater.code == 'ABCD2345'
  assert rater.trials == BOOKLETS[2]
  assert len(list(rater.pairs())) == 2


@pytest.mark.parametrize(
  'text',
  [
    '',
    '[' * 100_000,
    '[]',
    '\x00\xff',
    json.dumps(saved(study='of another')),
    json.dumps(saved(format=2)),
    json.dumps(saved(booklet=3)),
    json.dumps(saved(booklet=-1)),
    json.dumps(saved(booklet=True)),
    json.dumps(saved(code='<script>')),
    json.dumps(saved(code='A' * 33)),
    json.dumps(saved(code=7)),
    json.dumps(saved(answers={})),
    json.dumps(saved(answers=[sent()])),
    json.dumps(saved(answers=saved()['answers'] * 6)),
    json.dumps(saved(answers=[{**sent(), 'seconds': float('nan')}])),
    json.dumps({**saved(), 'more': 1}),
    ' ' * (answers.MAX_FILE_BYTES + 1),
  ],
  ids=range(18),
)
def test_a_file_that_is_none_of_ours_is_refused(tmp_path, text):
  path = tmp_path / 'a.json'
  path.write_text(text)
  with pytest.raises(protocol.StudyError):
    answers.read_file(path, STUDY, BOOKLETS)
