"""Screening: each reason by a rater who gives it, and none for honest ones."""

import pytest

from tests.fakes import study_sites
from v2meow_jax.study import answers
from v2meow_jax.study import assignment
from v2meow_jax.study import protocol
from v2meow_jax.study import screening

STUDY = study_sites.bare()
RULES = screening.Rules()
(HONEST,) = study_sites.simulate(STUDY, (0.0, 0.5, 1.0), num_raters=1)


def rater(respond):
  trials = assignment.booklets(STUDY, 1)[0]
  return answers.Rater(
    code='R', trials=trials, answers=[respond(t) for t in trials]
  )


def honest(trial):
  return HONEST.answers[HONEST.trials.index(trial)]


def test_an_honest_rater_is_kept():
  raters = study_sites.simulate(STUDY, (0.0, 0.5, 1.0), num_raters=50)
  assert [screening.reasons(r, STUDY, RULES) for r in raters] == [[]] * 50


def test_an_instruction_that_was_not_followed_is_a_reason():
  def respond(trial):
    if trial.kind == protocol.INSTRUCTED:
      return study_sites.answer(trial.wanted, -trial.wanted)
    return honest(trial)

  found = screening.reasons(rater(respond), STUDY, RULES)
  assert found == ['failed 1 of 2 attention checks']


@pytest.mark.parametrize('flipped', [False, True])
def test_silence_that_is_preferred_is_a_failed_check(flipped):
  trial = protocol.Trial(pair=0, kind=protocol.SILENCE, flipped=flipped)
  silent_side = -1 if flipped else 1
  assert screening.failed(trial, study_sites.answer(0, silent_side))
  assert not screening.failed(trial, study_sites.answer(0, -silent_side))
  # Silence may go best with a video, and no music may be worth hearing.
  assert not screening.failed(trial, study_sites.answer(silent_side, 0))


def test_one_button_is_a_reason():
  def respond(trial):
    if trial.kind == protocol.COMPARISON:
      return study_sites.answer(-2, -2)
    return honest(trial)

  found = screening.reasons(rater(respond), STUDY, RULES)
  assert found == ['gave the same answer (-2 as shown) 16 of 16 times']


def test_few_equal_answers_are_no_reason():
  some = answers.Rater(
    code='R',
    trials=HONEST.trials[:1],
    answers=[study_sites.answer(1, 1)],
  )
  assert screening.reasons(some, STUDY, RULES) == []


def test_answers_before_the_clips_can_have_played_are_a_reason():
  def respond(trial):
    given = honest(trial)
    # Two clips of ten seconds, of which 90 % have to be heard.
    return study_sites.answer(given.relevance, given.preference, seconds=17.9)

  found = screening.reasons(rater(respond), STUDY, RULES)
  assert found == [
    'answered 10 of 10 times before both clips can have been played'
  ]
