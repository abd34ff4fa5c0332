"""Standardised features have mean 0, deviation 1 and a limit."""

import numpy as np
import pytest

from v2meow_jax.clusters import standardize


def test_fit_and_apply():
  rows = np.random.default_rng(0).normal(5, 3, (4000, 4))
  scaled = standardize.apply(rows, standardize.fit(rows))
  np.testing.assert_allclose(scaled.mean(0), 0, atol=1e-3)
  np.testing.assert_allclose(scaled.std(0), 1, atol=1e-3)
  assert scaled.dtype == np.float32


def test_constant_dimension_and_outlier_stay_small():
  params = standardize.fit(np.ones((10, 1)))
  assert standardize.apply(np.array([[1.0]]), params) == 0
  assert standardize.apply(np.array([[99.0]]), params) == standardize.LIMIT


def test_moments_of_pieces_are_those_of_all_rows():
  # A mean 10^7 times the deviation: sums of squares would keep no digit.
  rows = np.random.default_rng(1).normal(1e5, 1e-2, (1000, 3))
  moments = standardize.Moments.empty(3)
  for piece in np.split(rows, [0, 1, 7, 400]):
    moments = moments.with_rows(piece)
  assert moments.count == 1000
  np.testing.assert_allclose(moments.mean, rows.mean(0), rtol=1e-14)
  std = np.sqrt(moments.spread / moments.count)
  np.testing.assert_allclose(std, rows.std(0), rtol=1e-8)


def test_one_piece_is_numpy_to_the_bit():
  rows = np.random.default_rng(2).normal(2, 5, (501, 7))
  params = standardize.fit(rows)
  np.testing.assert_array_equal(params['mean'], rows.mean(0).astype('f'))
  np.testing.assert_array_equal(params['std'], rows.std(0).astype('f'))


def test_no_rows_have_no_mean():
  with pytest.raises(ValueError, match='no rows'):
    standardize.Moments.empty(2).params()
