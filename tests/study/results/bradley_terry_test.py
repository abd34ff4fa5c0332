"""Bradley-Terry: closed forms, a general optimiser, what has no estimate."""

import numpy as np
import pytest
import scipy.optimize

from v2meow_jax.study.results import bradley_terry


def test_two_systems_differ_by_the_log_odds_of_their_wins():
  scores = bradley_terry.scores(np.array([[0, 9], [4, 0]]))
  np.testing.assert_allclose(scores, np.log(9 / 4) / 2 * np.array([1, -1]))


def test_a_chain_of_systems_adds_up_log_odds():
  # 1 met 0 and 2, which never met each other.
  wins = np.array([[0, 2, 0], [6, 0, 1], [0, 8, 0]])
  scores = bradley_terry.scores(wins)
  np.testing.assert_allclose(
    np.diff(scores), [np.log(6 / 2), np.log(8 / 1)], rtol=1e-6
  )
  assert scores.sum() == pytest.approx(0.0, abs=1e-9)


def test_scores_are_those_of_a_general_optimiser():
  rng = np.random.default_rng(0)
  wins = rng.integers(1, 30, (5, 5)) + 0.5
  np.fill_diagonal(wins, 0.0)

  def loss(scores):
    return (wins * np.logaddexp(0, scores[None, :] - scores[:, None])).sum()

  best = scipy.optimize.minimize(loss, np.zeros(5), tol=1e-12).x
  np.testing.assert_allclose(
    bradley_terry.scores(wins), best - best.mean(), atol=1e-5
  )


def test_a_batch_is_fitted_as_each_alone():
  rng = np.random.default_rng(1)
  wins = rng.integers(1, 9, (2, 3, 4, 4)).astype(float)
  together = bradley_terry.scores(wins)
  assert together.shape == (2, 3, 4)
  np.testing.assert_allclose(
    together[1, 2], bradley_terry.scores(wins[1, 2]), atol=1e-8
  )


@pytest.mark.parametrize(
  'wins',
  [
    [[0, 3], [0, 0]],
    [[0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1], [0, 0, 1, 0]],
  ],
  ids=['never_lost', 'never_met'],
)
def test_scores_without_an_estimate_are_refused(wins):
  with pytest.raises(ValueError, match='never won'):
    bradley_terry.scores(np.array(wins, float))
