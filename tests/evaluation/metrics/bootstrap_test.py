"""Bootstrap intervals against closed forms and their promised coverage."""

import numpy as np
import pytest
from scipy import stats

from v2meow_jax.evaluation.metrics import bootstrap


def test_interval_of_many_values_matches_the_normal_approximation():
  values = np.random.default_rng(0).normal(3.0, 2.0, size=400)
  half = 1.96 * values.std() / np.sqrt(len(values))
  got = bootstrap.mean_interval(values)
  assert got.mean == pytest.approx(values.mean())
  assert got.low == pytest.approx(values.mean() - half, abs=0.05 * half)
  assert got.high == pytest.approx(values.mean() + half, abs=0.05 * half)


@pytest.mark.slow
def test_interval_covers_the_true_mean_about_as_often_as_it_says():
  rng = np.random.default_rng(1)
  hits = 0
  for trial in range(300):
    got = bootstrap.mean_interval(
      rng.random(64) < 0.7, seed=trial, num_resamples=500
    )
    hits += got.low <= 0.7 <= got.high
  # 95 % aimed at; three standard errors of 300 trials are 3.8 %.
  assert 0.90 <= hits / 300 <= 0.99


@pytest.mark.parametrize('num', [4, 9])
def test_interval_of_a_median_is_that_of_samples_drawn_one_by_one(num):
  rng = np.random.default_rng(4)
  values = rng.normal(size=num)
  samples = np.median(rng.choice(values, (20_000, num)), axis=1)
  got = bootstrap.median_interval(values)
  assert got.mean == np.median(values)
  drawn = np.quantile(samples, [0.025, 0.975])
  assert (got.low, got.high) == pytest.approx(drawn, abs=0.1)


def test_same_seed_gives_the_same_interval():
  values = np.arange(10.0)
  assert bootstrap.mean_interval(values, seed=5) == bootstrap.mean_interval(
    values, seed=5
  )


def test_grid_whose_rows_agree_has_the_interval_of_its_columns():
  columns = np.random.default_rng(2).normal(size=200)
  grid = bootstrap.grid_interval(np.tile(columns, (50, 1)))
  plain = bootstrap.mean_interval(columns)
  assert grid.mean == pytest.approx(plain.mean)
  width = plain.high - plain.low
  assert grid.high - grid.low == pytest.approx(width, rel=0.1)


def test_shuffled_mean_ignores_matched_pairs_and_equals_all_derangements():
  # The derangements of three items are the two rotations.
  values = np.array([[9.0, 1.0, 2.0], [3.0, 9.0, 4.0], [5.0, 6.0, 9.0]])
  rotations = [[values[i, (i + k) % 3] for i in range(3)] for k in (1, 2)]
  got = bootstrap.shuffled_interval(values)
  assert got.mean == pytest.approx(np.mean(rotations))
  assert got.high <= 6.0


def test_shuffled_interval_covers_chance():
  rng = np.random.default_rng(3)
  hits = 0
  for trial in range(200):
    guess, truth = rng.integers(5, size=(2, 40))
    got = bootstrap.shuffled_interval(
      guess[:, None] == truth, seed=trial, num_resamples=300
    )
    hits += got.low <= 0.2 <= got.high
  assert hits / 200 >= 0.9


@pytest.mark.parametrize(
  'values, names',
  [
    ([], 'shape'),
    ([1.0, np.nan], '1 of 2'),
  ],
)
def test_bad_input_is_named(values, names):
  with pytest.raises(ValueError, match=names):
    bootstrap.mean_interval(np.array(values))


def test_one_clip_cannot_be_shuffled():
  with pytest.raises(ValueError, match='--num'):
    bootstrap.shuffled_interval(np.ones((1, 1)))


def test_interval_of_one_mean_is_that_of_the_mean():
  values = np.random.default_rng(4).normal(size=30)
  plain = bootstrap.mean_interval(values, seed=1)
  got = bootstrap.means_interval(values[:, None], lambda m: m[:, 0], seed=1)
  assert (got.mean, got.low, got.high) == pytest.approx(
    (plain.mean, plain.low, plain.high)
  )


def test_clips_of_several_values_are_resampled_whole():
  # The two values of each clip sum to 1, and so do their means in any sample.
  first = np.random.default_rng(5).random(20)
  got = bootstrap.means_interval(
    np.stack([first, 1 - first], axis=1), lambda m: m.sum(axis=1)
  )
  assert (got.low, got.high) == pytest.approx((1.0, 1.0))


def test_jackknife_of_a_mean_is_students_interval():
  values = np.random.default_rng(6).normal(size=25)
  wanted = stats.t.interval(
    0.95, len(values) - 1, values.mean(), stats.sem(values)
  )
  got = bootstrap.jackknife_interval(
    lambda kept: float(values[kept].mean()), len(values), num_groups=25
  )
  assert (got.low, got.high) == pytest.approx(wanted)


def test_jackknife_sees_every_clip_and_leaves_each_out_once():
  seen = []
  bootstrap.jackknife_interval(
    lambda kept: float(seen.append(kept) or 0.0), 10, num_groups=4
  )
  assert seen[0].tolist() == list(range(10))
  left_out = [np.setdiff1d(np.arange(10), kept) for kept in seen[1:]]
  assert sorted(np.concatenate(left_out)) == list(range(10))
  assert len(left_out) == 4


def test_jackknife_of_one_clip_is_refused():
  with pytest.raises(ValueError, match='at least two'):
    bootstrap.jackknife_interval(lambda kept: 0.0, 1)
