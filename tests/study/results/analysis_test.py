"""Analysis: counted by hand, and planted preferences that are recovered."""

import dataclasses
import itertools

import numpy as np
import pytest

from tests.fakes import study_sites
from v2meow_jax.study import answers
from v2meow_jax.study import protocol
from v2meow_jax.study.results import analysis

LOGITS = (-0.9, 0.1, 0.8)
STUDY = study_sites.bare(
  num_clips=20, num_comparisons=15, genres=('rock', 'folk')
)
TIE_RATE = 0.2


@pytest.fixture(scope='module')
def recovered():
  raters = study_sites.simulate(STUDY, LOGITS, num_raters=60)
  return analysis.analyse(raters, STUDY, 'preference')


def wins(first, second):
  return 1 / (1 + np.exp(second - first))


def contains(interval, value):
  return interval.low <= value <= interval.high


def test_planted_scores_lie_in_narrow_intervals(recovered):
  for score, planted in zip(recovered.scores.values(), LOGITS, strict=True):
    assert contains(score, planted)
    assert score.high - score.low < 0.6


def test_planted_win_rates_lie_in_their_intervals(recovered):
  planted = itertools.combinations(LOGITS, 2)
  for row, (first, second) in zip(recovered.rows, planted, strict=True):
    assert contains(row.first_wins, wins(first, second))
    assert row.ties.mean == 0.0
    assert row.first_wins.mean + row.second_wins.mean == pytest.approx(1.0)


def test_average_wins_are_means_over_opponents(recovered):
  rates = {(r.first, r.second): r.first_wins.mean for r in recovered.rows}
  rates |= {(r.second, r.first): r.second_wins.mean for r in recovered.rows}
  for system, average in recovered.average_wins.items():
    others = [rate for (one, _), rate in rates.items() if one == system]
    share = average.mean_share
    assert share.mean == pytest.approx(np.mean(others), rel=1e-12)
    assert share.low < share.mean < share.high


def test_a_baseline_is_no_variant(recovered):
  raters = study_sites.simulate(STUDY, LOGITS, num_raters=60)
  found = analysis.analyse(raters, STUDY, 'preference', baselines=['gamma'])
  rows = {(r.first, r.second): r for r in found.rows}
  versus = rows['alpha', 'gamma']
  rate = found.baseline_wins['alpha']
  assert rate.mean_share == versus.first_wins
  assert rate.opponents == ('gamma',)
  assert rate.num_wins + rate.num_ties + rate.num_losses == versus.num_answers
  assert rate.num_wins / versus.num_answers == versus.first_wins.mean
  assert found.baseline_wins['gamma'].opponents == ('alpha', 'beta')
  assert found.variant_wins['gamma'] is None
  assert found.variant_wins['beta'].mean_share == (
    rows['alpha', 'beta'].second_wins
  )
  assert found.average_wins == recovered.average_wins
  # Without a baseline all are variants.
  assert set(recovered.baseline_wins.values()) == {None}
  assert recovered.variant_wins == recovered.average_wins


def test_ties_are_no_wins():
  raters = study_sites.simulate(
    STUDY, LOGITS, num_raters=60, tie_rate=TIE_RATE, seed=1
  )
  result = analysis.analyse(raters, STUDY, 'relevance')
  planted = itertools.combinations(LOGITS, 2)
  for row, (first, second) in zip(result.rows, planted, strict=True):
    assert contains(row.ties, TIE_RATE)
    assert contains(row.first_wins, (1 - TIE_RATE) * wins(first, second))


@pytest.mark.parametrize('seed', range(6))
def test_ties_do_not_draw_scores_together(seed):
  raters = study_sites.simulate(
    STUDY, LOGITS, num_raters=60, tie_rate=0.4, seed=seed
  )
  scores = analysis.analyse(raters, STUDY, 'preference').scores
  for score, planted in zip(scores.values(), LOGITS, strict=True):
    assert contains(score, planted)
    assert score.high - score.low < 0.8


def test_systems_that_only_tie_are_level():
  raters = study_sites.simulate(STUDY, LOGITS, num_raters=6, tie_rate=1.0)
  scores = analysis.analyse(raters, STUDY, 'preference').scores
  assert [score.mean for score in scores.values()] == [0.0, 0.0, 0.0]


def test_genres_are_told_apart():
  clips = {name: c.genre for name, c in STUDY.clips.items()}
  raters = study_sites.simulate(STUDY, LOGITS, num_raters=20)
  # In rock the first always wins, in folk the second.
  decided = [
    dataclasses.replace(
      rater,
      answers=[
        study_sites.answer(
          t.towards_second(
            -1 if clips[STUDY.pairs[t.pair].clip] == 'rock' else 1
          )
        )
        for t in rater.trials
      ],
    )
    for rater in raters
  ]
  result = analysis.analyse(decided, STUDY, 'relevance')
  assert {r.genre for r in result.genre_rows} == {'rock', 'folk'}
  for row in result.genre_rows:
    assert row.first_wins.mean == (row.genre == 'rock')
  assert sum(r.num_answers for r in result.genre_rows) == sum(
    r.num_answers for r in result.rows
  )
  assert result.alpha == analysis.Interval(mean=1.0, low=1.0, high=1.0)


def test_the_sides_are_turned_back():
  trials = [
    protocol.Trial(pair=0, kind=protocol.COMPARISON, flipped=False),
    protocol.Trial(pair=1, kind=protocol.COMPARISON, flipped=True),
  ]
  rater = answers.Rater(
    code='R', trials=trials, answers=[study_sites.answer(-1)] * 2
  )
  result = analysis.analyse([rater], STUDY, 'relevance')
  by_pair = {(r.first, r.second): r for r in result.rows}
  assert by_pair['alpha', 'beta'].first_wins.mean == 1.0
  assert by_pair['alpha', 'gamma'].second_wins.mean == 1.0
  assert by_pair['beta', 'gamma'].first_wins is None
  assert result.left_share == 1.0


def test_checks_count_for_nothing():
  raters = study_sites.simulate(STUDY, LOGITS, num_raters=4)
  result = analysis.analyse(raters, STUDY, 'relevance')
  assert sum(r.num_answers for r in result.rows) == 4 * STUDY.num_comparisons


def raters_who(prefer_first, trials, num):
  """`num` raters; `prefer_first(rater, position)` says where the first wins."""
  return [
    answers.Rater(
      code=f'R{i}',
      trials=trials,
      answers=[
        study_sites.answer(t.towards_second(-1 if prefer_first(i, j) else 1))
        for j, t in enumerate(trials)
      ],
    )
    for i in range(num)
  ]


def test_intervals_know_that_answers_of_one_rater_are_alike():
  trials = [
    protocol.Trial(pair=pair, kind=protocol.COMPARISON, flipped=False)
    for pair in range(0, len(STUDY.pairs), 3)
  ]
  split = raters_who(lambda i, j: i % 4 == 0, trials, 8)
  mixed = raters_who(lambda i, j: (i + j) % 4 == 0, trials, 8)
  widths = []
  for raters in (split, mixed):
    row = analysis.analyse(raters, STUDY, 'relevance').rows[0]
    assert row.first_wins.mean == 0.25
    widths.append(row.first_wins.high - row.first_wins.low)
  # Two of eight raters: a binomial interval of n = 8 is about 0.6 wide.
  assert 0.45 < widths[0] < 0.75
  assert widths[1] < 0.3


def test_nobody_gives_an_empty_result():
  result = analysis.analyse([], STUDY, 'relevance')
  assert [r.num_answers for r in result.rows] == [0, 0, 0]
  assert (result.scores, result.alpha, result.left_share) == (None, None, None)
  assert set(result.average_wins.values()) == {None}


def test_systems_that_nobody_compared_have_no_scores():
  trial = protocol.Trial(pair=0, kind=protocol.COMPARISON, flipped=False)
  rater = answers.Rater(
    code='R', trials=[trial], answers=[study_sites.answer(1)]
  )
  assert analysis.analyse([rater], STUDY, 'relevance').scores is None
