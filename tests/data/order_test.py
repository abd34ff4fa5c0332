import numpy as np
import pytest

from v2meow_jax.data import order


@pytest.mark.parametrize('count', [1, 2, 3, 4, 6, 12])
def test_slices_are_equal_disjoint_and_in_order(count):
  slices = [order.shard_rows(12, (i, count)) for i in range(count)]
  assert [row for rows in slices for row in rows] == list(range(12))
  assert {len(rows) for rows in slices} == {12 // count}


@pytest.mark.parametrize(
  ('shard', 'message'),
  [
    ((0, 5), '12 rows do not divide among 5 processes'),
    ((2, 2), 'shard 2 of 2'),
    ((-1, 2), 'shard -1 of 2'),
    ((0, 0), 'shard 0 of 0'),
  ],
)
def test_impossible_slices_are_refused(shard, message):
  with pytest.raises(ValueError, match=message):
    order.shard_rows(12, shard)


def test_every_epoch_is_a_permutation_of_its_own():
  orders = order.Epochs(50, seed=3)(np.arange(200)).reshape(4, 50)
  np.testing.assert_array_equal(np.sort(orders, 1), [range(50)] * 4)
  other = order.Epochs(50, seed=4)(np.arange(50))
  assert len({tuple(o) for o in (*orders, other, np.arange(50))}) == 6


def test_a_position_is_found_from_anywhere():
  straight = order.Epochs(7, seed=0)(np.arange(70))
  positions = np.random.default_rng(0).permutation(70)
  epochs = order.Epochs(7, seed=0)
  for some in np.split(positions, 10):
    np.testing.assert_array_equal(epochs(some), straight[some])
  assert 0 <= epochs(np.array([10**12]))[0] < 7


def test_examples_are_spread_evenly_over_places():
  # Where example 0 stands in 4000 epochs of 8: chi-squared with 7 degrees of
  # freedom exceeds 24.3 once in a thousand seeds.
  orders = order.Epochs(8, seed=0)(np.arange(8 * 4000)).reshape(4000, 8)
  places = np.bincount(np.argmin(orders, 1))
  assert ((places - 500) ** 2 / 500).sum() < 24.3
