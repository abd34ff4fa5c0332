"""Assignment: balanced over the study, random but repeatable for each."""

import collections
import dataclasses

import numpy as np

from tests.fakes import study_sites
from v2meow_jax.study import assignment
from v2meow_jax.study import protocol

STUDY = study_sites.bare()


def comparisons(trials):
  return [t for t in trials if t.kind == protocol.COMPARISON]


def test_every_pair_is_shown_equally_often_up_to_one():
  counts = collections.Counter()
  for trials in assignment.booklets(STUDY, 25):
    counts.update(t.pair for t in comparisons(trials))
    shown = [counts[p] for p in range(len(STUDY.pairs))]
    assert max(shown) - min(shown) <= 1
  assert counts.total() == 25 * STUDY.num_comparisons


def test_a_participant_is_not_shown_a_pair_twice_and_meets_clips_evenly():
  for trials in assignment.booklets(STUDY, 10):
    pairs = [t.pair for t in comparisons(trials)]
    assert len(set(pairs)) == STUDY.num_comparisons
  first = comparisons(assignment.booklets(STUDY, 1)[0])
  clips = collections.Counter(STUDY.pairs[t.pair].clip for t in first)
  assert {clips[clip] for clip in STUDY.clips} == {1, 2}


def test_each_side_leads_in_half_of_the_comparisons():
  for trials in assignment.booklets(STUDY, 10):
    assert sum(t.flipped for t in comparisons(trials)) == 4


def test_the_order_is_the_participants_own_and_repeatable():
  counts = [0] * len(STUDY.pairs)
  plans = [assignment.plan(STUDY, n, counts) for n in (1, 2, 1)]
  assert plans[0] == plans[2] != plans[1]
  other = dataclasses.replace(STUDY, seed=1)
  assert assignment.plan(other, 1, counts) != plans[0]


def test_checks_are_spread_and_never_come_first():
  positions = collections.Counter()
  for trials in assignment.booklets(STUDY, 40):
    kinds = [t.kind for t in trials]
    assert len(kinds) == STUDY.num_comparisons + STUDY.num_checks
    assert kinds.count(protocol.SILENCE) == 1
    assert kinds.count(protocol.INSTRUCTED) == 1
    assert kinds[0] == protocol.COMPARISON
    positions.update(i for i, k in enumerate(kinds) if k != 'comparison')
  assert set(positions) == set(range(1, 10))


def test_without_silent_clips_all_checks_are_instructions():
  study = study_sites.bare(num_silent=0)
  for trials in assignment.booklets(study, 5):
    assert [t.kind for t in trials].count(protocol.INSTRUCTED) == 2


def test_a_silence_is_where_the_trial_says():
  for flipped in (False, True):
    trial = protocol.Trial(pair=0, kind=protocol.SILENCE, flipped=flipped)
    shown = STUDY.shown(trial)
    assert shown[0 if flipped else 1] == 'silent_0'
    assert shown[1 if flipped else 0] == 'alpha_0'


def test_pairs_that_lag_behind_come_first():
  counts = np.full(len(STUDY.pairs), 7)
  counts[[3, 11]] = 2
  chosen = assignment.balanced_pairs(
    STUDY, list(counts), np.random.default_rng(0)
  )
  assert set(chosen[:2]) == {3, 11}
