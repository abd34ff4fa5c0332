"""Frechet distance against scipy's matrix root and closed forms."""

import numpy as np
import pytest
import scipy.linalg

from v2meow_jax.evaluation.metrics import frechet
from v2meow_jax.pretrained import network as network_lib

NETWORK = network_lib.NetworkId(name='net', digest='0123')
DIMS = 8


def rows(seed, num=300, dims=DIMS, shift=0.0):
  """Rows of a Gaussian whose covariance is its own."""
  mixing = np.random.default_rng(seed).normal(size=(dims, dims))
  noise = np.random.default_rng(seed + 1000).normal(size=(num, dims))
  return noise @ mixing + shift


def clips(seed, num, rows_each=2, dims=DIMS, scale=1.0):
  noise = np.random.default_rng(seed).normal(size=(num, rows_each, dims))
  return list(scale * noise)


def by_sqrtm(x, y):
  """The definition, with numpy's covariance and scipy's root."""
  cov_x, cov_y = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
  root = scipy.linalg.sqrtm(cov_x @ cov_y).real
  gap = x.mean(axis=0) - y.mean(axis=0)
  return gap @ gap + np.trace(cov_x + cov_y - 2 * root)


@pytest.mark.parametrize('seed', range(5))
def test_distance_is_the_one_by_scipys_matrix_root(seed):
  x, y = rows(seed), rows(seed + 50, num=120, shift=0.3)
  assert frechet.frechet_distance(x, y) == pytest.approx(by_sqrtm(x, y))


def test_scaled_gaussian_matches_the_closed_form():
  # N(0, 1) against N(0, 4) in two independent dims: 2 x (1 - 2)^2.
  x = frechet.Gaussian(mean=np.zeros(2), cov=np.eye(2))
  y = frechet.Gaussian(mean=np.zeros(2), cov=4 * np.eye(2))
  assert frechet.distance(x, y) == pytest.approx(2.0)


def test_singular_covariances_have_the_distance_of_their_nuclear_norm():
  # tr (S_x S_y)^(1/2) is the sum of singular values of X Y^T, for centred
  # rows over the roots of their numbers less one.
  x, y = rows(0, num=10, dims=30), rows(1, num=6, dims=30)
  a, b = x - x.mean(axis=0), y - y.mean(axis=0)
  shared = np.linalg.svd(a @ b.T, compute_uv=False).sum() / np.sqrt(9 * 5)
  gap = x.mean(axis=0) - y.mean(axis=0)
  wanted = gap @ gap + (a**2).sum() / 9 + (b**2).sum() / 5 - 2 * shared
  # Eigenvalues that should be 0 are 1e-16 of the largest, their roots 1e-8.
  assert frechet.frechet_distance(x, y) == pytest.approx(wanted, rel=1e-6)


@pytest.mark.parametrize('seed', range(5))
def test_distance_is_0_to_itself_symmetric_and_blind_to_rotation(seed):
  x, y = rows(seed), rows(seed + 50, num=100)
  turn = np.linalg.qr(rows(seed + 99, num=DIMS))[0]
  there = frechet.frechet_distance(x, y)
  assert frechet.frechet_distance(x, x) == pytest.approx(0.0, abs=1e-9)
  assert frechet.frechet_distance(y, x) == pytest.approx(there)
  assert frechet.frechet_distance(x @ turn, y @ turn) == pytest.approx(there)


@pytest.mark.parametrize('length', [0.1, 1.0, 10.0])
def test_a_planted_shift_costs_its_squared_length(length):
  x = rows(3)
  shift = np.full(DIMS, length / np.sqrt(DIMS))
  got = frechet.frechet_distance(x, x + shift)
  assert got == pytest.approx(length**2)


def test_score_says_of_how_many_clips_and_of_which_network():
  score = frechet.fad(clips(0, 30), clips(1, 20), NETWORK)['fad/net']
  assert score.num_clips == 20
  assert score.details == {
    'network': {'name': 'net', 'digest': '0123'},
    'clips_reference': 30,
    'rows_reference': 60,
    'rows_generated': 40,
    'dims': DIMS,
    'singular': False,
    'per_clip': 'of the reference and the mean row of the clip',
  }
  assert score.value == pytest.approx(
    by_sqrtm(np.concatenate(clips(0, 30)), np.concatenate(clips(1, 20)))
  )


def test_two_clips_of_a_row_have_a_distance_and_no_interval():
  generated = clips(1, 2, rows_each=1)
  score = frechet.fad(clips(0, 30), generated, NETWORK)['fad/net']
  assert score.value == pytest.approx(
    frechet.frechet_distance(
      np.concatenate(clips(0, 30)), np.concatenate(generated)
    )
  )
  assert score.low is None and score.details['singular']


def test_a_covariance_of_too_few_rows_is_flagged():
  enough, few = clips(0, 30), clips(1, DIMS // 2)
  assert frechet.fad(enough, few, NETWORK)['fad/net'].details['singular']
  assert frechet.fad(few, enough, NETWORK)['fad/net'].details['singular']


def test_interval_is_as_wide_as_the_scatter_over_sets_of_clips():
  reference = clips(0, 20, rows_each=200)
  found = [
    frechet.fad(reference, clips(s, 40, scale=1.5), NETWORK)['fad/net']
    for s in range(1, 121)
  ]
  scatter = np.std([score.value for score in found])
  widths = [(score.high - score.low) / 2 for score in found]
  # Student's t for 20 groups is 2.09 deviations.
  assert np.mean(widths) == pytest.approx(2.09 * scatter, rel=0.2)


def test_extrapolation_takes_away_the_bias_of_few_clips():
  # The same distribution: the distance of endless clips is 0.
  reference = clips(0, 20, rows_each=500)
  plain, endless = [], []
  for seed in range(1, 11):
    generated = clips(seed, 60)
    plain.append(
      frechet.frechet_distance(
        np.concatenate(reference), np.concatenate(generated)
      )
    )
    found = frechet.fad_infinity(reference, generated, NETWORK, seed=seed)
    endless.append(found['fad_inf/net'].value)
  assert np.mean(plain) > 0.15
  assert abs(np.mean(endless)) < 0.1 * np.mean(plain)


def test_interval_of_the_extrapolation_is_as_wide_as_its_scatter():
  reference = clips(0, 20, rows_each=200)
  found = [
    frechet.fad_infinity(reference, clips(s, 40, scale=1.5), NETWORK, seed=s)[
      'fad_inf/net'
    ]
    for s in range(1, 61)
  ]
  scatter = np.std([score.value for score in found])
  widths = [(score.high - score.low) / 2 for score in found]
  assert np.mean(widths) == pytest.approx(2.09 * scatter, rel=0.3)


def test_a_planted_shift_costs_its_square_in_the_extrapolation_too():
  reference, generated = clips(0, 20, rows_each=500), clips(1, 60)
  moved = [clip + 2.0 / np.sqrt(DIMS) for clip in generated]
  one, other = (
    frechet.fad_infinity(reference, side, NETWORK)['fad_inf/net'].value
    for side in (generated, moved)
  )
  # The means of the sets are not the same either.
  gap = np.concatenate(generated).mean(0) - np.concatenate(reference).mean(0)
  wanted = 4.0 + 2 * gap.sum() * 2.0 / np.sqrt(DIMS)
  assert other - one == pytest.approx(wanted, rel=0.02)


def test_fad_is_symmetric_and_its_extrapolation_is_not():
  x, y = clips(0, 60), clips(1, 60, scale=1.5)
  there, back = frechet.fad(x, y, NETWORK), frechet.fad(y, x, NETWORK)
  assert there['fad/net'].value == pytest.approx(back['fad/net'].value)
  there = frechet.fad_infinity(x, y, NETWORK)['fad_inf/net'].value
  back = frechet.fad_infinity(y, x, NETWORK)['fad_inf/net'].value
  assert abs(there - back) > 0.01 * there


def test_the_value_of_a_clip_is_its_distance_as_a_point():
  reference, generated = clips(0, 30), clips(1, 20)
  score = frechet.fad(reference, generated, NETWORK)['fad/net']
  point = generated[3].mean(axis=0, keepdims=True).repeat(2, axis=0)
  wanted = frechet.frechet_distance(np.concatenate(reference), point)
  assert score.per_clip[3] == pytest.approx(wanted)


def test_extrapolation_is_the_line_through_its_own_distances():
  found = frechet.fad_infinity(clips(0, 500), clips(1, 100), NETWORK)
  score = found['fad_inf/net']
  assert max(score.details['sizes']) == 200
  assert min(score.details['sizes']) >= 2 * DIMS
  assert score.details['slope'] > 0 and 0 <= score.details['r2'] <= 1
  assert (
    score
    == frechet.fad_infinity(clips(0, 500), clips(1, 100), NETWORK)[
      'fad_inf/net'
    ]
  )


def test_what_cannot_be_scored_is_refused():
  with pytest.raises(ValueError, match='at least two rows'):
    frechet.frechet_distance(rows(0), rows(1, num=1))
  with pytest.raises(ValueError, match='8 dims and generated ones 3'):
    frechet.frechet_distance(rows(0), rows(1, dims=3))
  with pytest.raises(ValueError, match='at least two rows'):
    frechet.frechet_distance(rows(0), np.full((4, DIMS), np.nan))
  with pytest.raises(ValueError, match='too few to extrapolate; wanted 32'):
    frechet.fad_infinity(clips(0, 50), clips(1, 15), NETWORK)
