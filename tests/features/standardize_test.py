"""Standardised features have mean 0, deviation 1 and a limit."""

import numpy as np

from v2meow_jax.features import standardize


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
