"""Bootstrap intervals against closed forms and their promised coverage."""

import numpy as np
import pytest

from v2meow_jax.evaluation import bootstrap


def test_interval_of_many_values_matches_the_normal_approximation():
  values = np.random.default_rng(0).normal(3.0, 2.0, size=400)
  half = 1.96 * values.std() / np.sqrt(len(values))
  got = bootstrap.mean_interval(values)
  assert got.mean == pytest.approx(values.mean())
  assert got.low == pytest.approx(values.mean() - half, abs=0.05 * half)
  assert got.high == pytest.approx(values.mean() + half, abs=0.05 * half)


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
  'values, level, names',
  [
    ([], 0.95, 'shape'),
    ([1.0, np.nan], 0.95, '1 of 2'),
    ([1.0], 1.5, 'level is 1.5'),
  ],
)
def test_bad_input_is_named(values, level, names):
  with pytest.raises(ValueError, match=names):
    bootstrap.mean_interval(np.array(values), level=level)


def test_one_clip_cannot_be_shuffled():
  with pytest.raises(ValueError, match='--num'):
    bootstrap.shuffled_interval(np.ones((1, 1)))
