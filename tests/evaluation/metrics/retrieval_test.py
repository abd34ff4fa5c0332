"""Ranks are counted by hand, and at chance are what chance gives."""

import numpy as np
import pytest

from v2meow_jax.evaluation.metrics import retrieval


def test_ranks_are_those_of_a_sorted_list():
  values = np.random.default_rng(0).normal(size=(30, 30))
  order = np.argsort(-values, axis=1)
  wanted = [list(row).index(i) + 1 for i, row in enumerate(order)]
  assert retrieval.ranks(values).tolist() == wanted


def test_those_that_find_their_own_at_once_have_a_recall_of_one():
  values = np.eye(12)
  assert retrieval.recall_at(values, 1).mean == 1
  assert retrieval.median_rank(values) == 1


def test_similarities_that_are_all_equal_find_nothing():
  values = np.zeros((12, 12))
  assert retrieval.recall_at(values, 11).mean == 0
  assert retrieval.median_rank(values) == 12


@pytest.mark.parametrize('count', [1, 5, 10])
def test_chance_finds_its_share(count):
  rng = np.random.default_rng(1)
  found = [
    (retrieval.ranks(rng.normal(size=(64, 64))) <= count).mean()
    for _ in range(60)
  ]
  assert np.mean(found) == pytest.approx(count / 64, rel=0.15)


def test_what_is_no_square_is_refused():
  with pytest.raises(ValueError, match=r'shape \(2, 3\); wanted \[n, n\]'):
    retrieval.ranks(np.zeros((2, 3)))


def test_scores_are_the_shares_of_ranks_counted_by_hand():
  # Video i finds its music at place i + 1.
  values = np.tril(np.ones((8, 8)), -1) + np.eye(8) / 2
  found = retrieval.retrieval(values)
  assert sorted(found) == ['median_rank', 'recall_at_1', 'recall_at_5']
  assert found['recall_at_1'].value == 1 / 8
  assert found['recall_at_5'].value == 5 / 8
  assert found['recall_at_5'].details['chance'] == 5 / 8
  median = found['median_rank']
  assert (median.value, median.details['chance']) == (4.5, 4.5)
  assert median.per_clip == tuple(range(1, 9))
  assert median.low < 4.5 < median.high


def test_one_clip_finds_nothing_worth_a_figure():
  with pytest.raises(ValueError, match='two clips at least'):
    retrieval.retrieval(np.eye(1))
