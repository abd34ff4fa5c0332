"""Losses of pairs in blocks equal their closed forms, on one device and eight."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.fakes import split_pairs
from tests.fakes import virtual_devices
from v2meow_jax.models.objectives import contrastive
from v2meow_jax.models.objectives import pair_losses

pytestmark = pytest.mark.slow

TOLERANCE = 1e-6  # Of float32 against float64.


@pytest.fixture(scope='module')
def on_eight_devices():
  return virtual_devices.run('tests.fakes.split_pairs')


@pytest.mark.parametrize('form', split_pairs.FORMS)
@pytest.mark.parametrize('rows', [1, 5, 64])
def test_loss_and_gradient_equal_the_closed_form(form, rows, monkeypatch):
  monkeypatch.setattr(pair_losses, 'BLOCK_ROWS', rows)
  x, y, weights = split_pairs.pairs(23, seed=rows)
  bias = jnp.float32(-1.5 if form == 'sigmoid' else 0.0)
  found = split_pairs.mean_loss(form)(x, y, weights, bias)
  wanted = split_pairs.closed_form(form, x, y, weights, float(bias))
  if form == 'info_nce':
    found, wanted = ((loss, grads[:2]) for loss, grads in (found, wanted))
  assert split_pairs.largest_difference(found, wanted) < TOLERANCE


@pytest.mark.parametrize('form', split_pairs.FORMS)
def test_split_over_eight_devices_they_are_the_same(form, on_eight_devices):
  assert on_eight_devices['differences'][form] < TOLERANCE


def test_the_nearest_are_found_on_eight_devices(on_eight_devices):
  assert on_eight_devices['nearest']


@pytest.mark.parametrize('form', split_pairs.FORMS)
def test_memory_of_a_device_grows_with_its_rows_alone(form, on_eight_devices):
  def growth(name):
    first, *_, last = on_eight_devices['bytes'][name]
    return last / first

  # Four times the rows: the matrix of all pairs takes up to 16 times.
  assert growth(form) < 4.2
  assert growth('dense') > 8


def test_it_is_the_loss_of_a_dense_matrix():
  x, y, _ = split_pairs.pairs(12)
  rows = pair_losses.info_nce_rows(x, y)
  dense = contrastive.info_nce(jnp.einsum('nd,md->nm', x, y))
  np.testing.assert_allclose(rows.mean(), dense, rtol=1e-6)


def test_at_chance_the_losses_are_those_that_are_said():
  zeros = jnp.zeros((10, 4))
  np.testing.assert_allclose(
    pair_losses.info_nce_rows(zeros, zeros), np.log(10), rtol=1e-6
  )
  np.testing.assert_allclose(
    pair_losses.sigmoid_rows(zeros, zeros, jnp.float32(0)),
    10 * np.log(2),
    rtol=1e-6,
  )


def test_pairs_that_are_out_change_nothing():
  x, y, weights = split_pairs.pairs(20)
  others = np.where(weights[:, None] > 0, (x, y), 100.0)
  loss = split_pairs.mean_loss('sigmoid')
  first = loss(x, y, weights, 0.0)
  second = loss(*others.astype(np.float32), weights, 0.0)
  np.testing.assert_allclose(first[0], second[0], rtol=1e-6)
  for a, b in zip(first[1], second[1], strict=True):
    np.testing.assert_allclose(
      np.where(np.ndim(a) == 2, weights[:, None], 1) * np.asarray(a), b,
      atol=1e-6,
    )  # fmt: skip


def test_no_matrix_of_all_pairs_is_made(monkeypatch):
  monkeypatch.setattr(pair_losses, 'BLOCK_ROWS', 8)
  x, y, weights = split_pairs.pairs(64)
  for form in split_pairs.FORMS:
    jaxpr = jax.make_jaxpr(split_pairs.mean_loss(form))(x, y, weights, 0.0)
    assert '[64,8]' in str(jaxpr) and '[64,64]' not in str(jaxpr)


def test_outside_a_trainer_rows_are_on_one_device():
  assert pair_losses.row_split(8) is None
