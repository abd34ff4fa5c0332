"""Bins, divergences and diagonals against closed forms."""

import numpy as np
import pytest
import scipy.stats

from v2meow_jax.explain import influence


@pytest.mark.parametrize(
  ('seconds', 'bin_seconds', 'wanted'),
  [(10.0, 1.0, 10), (10.01, 1.0, 11), (0.3, 1.0, 1), (7.0, 2.0, 4)],
)
def test_bins_cover_the_clip(seconds, bin_seconds, wanted):
  assert influence.count_bins(seconds, bin_seconds) == wanted


@pytest.mark.parametrize('bad', [0.0, -1.0, np.nan, np.inf])
def test_bins_of_no_length_are_refused(bad):
  with pytest.raises(ValueError, match='above 0'):
    influence.count_bins(10.0, bad)


def test_too_many_bins_are_refused_with_a_length_that_would_do():
  with pytest.raises(ValueError, match='bins of 6 s'):
    influence.count_bins(3600.0, 1.0)
  assert influence.count_bins(3600.0, 6.0) == 600


def test_a_time_is_in_the_bin_that_begins_there():
  times = np.array([0.0, 0.99, 1.0, 2.5, 3.2])
  assert influence.bin_of(times, 1.0, 3).tolist() == [0, 0, 1, 2, 2]


def test_sums_by_bins_are_those_of_the_blocks():
  values = np.random.default_rng(0).random((6, 4))
  sums = influence.sum_by_bins(
    values, np.array([0, 0, 0, 1, 1, 1]), np.array([1, 1, 0, 0]), (2, 2)
  )
  blocks = values.reshape(2, 3, 2, 2).sum((1, 3))[:, ::-1]
  np.testing.assert_allclose(sums, blocks)


def test_divergence_is_that_of_scipy_and_0_of_equals():
  p, q = np.random.default_rng(0).dirichlet(np.ones(7), size=(2, 5))
  np.testing.assert_allclose(
    influence.kl_divergence(np.log(p), np.log(q)),
    scipy.stats.entropy(p, q, axis=-1),
  )
  assert not influence.kl_divergence(np.log(p), np.log(p)).any()


def test_chance_is_the_mean_over_shuffled_columns():
  rng = np.random.default_rng(0)
  table = rng.random((9, 9)) + 3 * np.eye(9)
  share, chance = influence.near_share(table, reach=1)
  shuffled = [
    influence.near_share(rng.permutation(table, axis=1))[0] for _ in range(4000)
  ]
  assert np.mean(shuffled) == pytest.approx(chance, abs=0.01)
  assert share > chance + 0.1


def test_an_empty_table_has_no_share():
  assert influence.near_share(np.zeros((3, 3))) == (0.0, 0.0)
