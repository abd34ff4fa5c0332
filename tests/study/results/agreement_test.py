"""Krippendorff's alpha: his own worked example, and its ends."""

import numpy as np
import pytest

from v2meow_jax.study.results import agreement

NAN = float('nan')
# Krippendorff 2011, "Computing Krippendorff's alpha-reliability", section E:
# four observers, twelve units, missing values.
PUBLISHED = np.array(
  [
    [1, 2, 3, 3, 2, 1, 4, 1, 2, NAN, NAN, NAN],
    [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, NAN, 3],
    [NAN, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, NAN],
    [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, NAN],
  ]
)


def test_the_published_example_comes_out():
  assert agreement.krippendorff_alpha(PUBLISHED) == pytest.approx(
    0.815, abs=5e-4
  )


def test_only_the_order_of_values_counts():
  stretched = PUBLISHED**3
  assert agreement.krippendorff_alpha(stretched) == pytest.approx(
    agreement.krippendorff_alpha(PUBLISHED), rel=1e-12
  )


def test_full_agreement_is_one_and_chance_is_zero():
  rng = np.random.default_rng(0)
  one = rng.integers(-2, 3, 4000).astype(float)
  assert agreement.krippendorff_alpha(np.stack([one, one, one])) == 1.0
  other = rng.permutation(one)
  assert abs(agreement.krippendorff_alpha(np.stack([one, other]))) < 0.05
  assert agreement.krippendorff_alpha(np.stack([one, -one])) < -0.8


def test_a_unit_drawn_twice_is_two_units_and_one_not_drawn_is_none():
  units = np.array([2, 1, 0, 1, 3, 1, 1, 0, 1, 2, 1, 1])
  assert agreement.krippendorff_alpha(PUBLISHED, units=units) == pytest.approx(
    agreement.krippendorff_alpha(np.repeat(PUBLISHED, units, axis=1)), rel=1e-12
  )


def test_a_rater_drawn_twice_does_not_agree_with_itself():
  rng = np.random.default_rng(1)
  ratings = rng.integers(-2, 3, (2, 4000)).astype(float)
  twice = agreement.krippendorff_alpha(ratings, raters=np.array([2, 1]))
  assert abs(twice) < 0.05
  alone = agreement.krippendorff_alpha(ratings, raters=np.array([2, 0]))
  assert np.isnan(alone)
  once = agreement.krippendorff_alpha(PUBLISHED, raters=np.array([1, 0, 1, 1]))
  assert once == pytest.approx(
    agreement.krippendorff_alpha(PUBLISHED[[0, 2, 3]]), rel=1e-12
  )


@pytest.mark.parametrize(
  'ratings',
  [[[1.0, NAN], [NAN, 2.0]], [[1.0, 1.0], [1.0, 1.0]], np.zeros((0, 3))],
  ids=['nobody_shares', 'all_equal', 'nobody'],
)
def test_what_has_no_alpha_has_none(ratings):
  assert np.isnan(agreement.krippendorff_alpha(np.array(ratings)))
