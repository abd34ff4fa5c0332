"""Beats bent to cuts: all are met, and the tempo stays within its limits."""

import numpy as np

from v2meow_jax.extractors.planning import bending
from v2meow_jax.extractors.planning import grid


def local_tempi(bent, seconds):
  first, last = bent.grid.beats_at(np.array([0.0, seconds]))
  times = bent.grid.times_at(np.arange(np.ceil(first), last))
  return 60 / np.diff(times)


def test_cuts_at_random_are_met_within_the_limit_of_the_tempo():
  rng = np.random.default_rng(1)
  num_met = num_cuts = 0
  for _ in range(20):
    cuts = np.cumsum(rng.uniform(0.8, 3.0, 9))
    bpm = rng.uniform(70, 150)
    bent = bending.bend(grid.plain(bpm), cuts, is_own=False)
    tempi = local_tempi(bent, cuts[-1] + 3)
    assert tempi.max() <= bpm * bending.MAX_STRETCH + 1e-6
    assert tempi.min() >= bpm / bending.MAX_STRETCH - 1e-6
    halves = 2 * bent.grid.beats_at(cuts[bent.met])
    np.testing.assert_allclose(halves, np.round(halves), atol=1e-6)
    num_met += bent.met.sum()
    num_cuts += len(cuts)
  assert num_met >= 0.95 * num_cuts


def test_cuts_on_the_beat_leave_the_grid_alone():
  plain = grid.plain(120.0)
  bent = bending.bend(plain, np.array([1.0, 2.5, 6.0]), is_own=False)
  assert bent.met.all() and bent.cost < 1e-9
  np.testing.assert_allclose(local_tempi(bent, 9.0), 120.0)


def test_a_pulse_of_the_picture_is_returned_to_after_a_cut():
  own = grid.plain(120.0)
  bent = bending.bend(own, np.array([5.08]), is_own=True)
  assert bent.met.all()
  assert abs(bent.grid.beats_at(np.array([5.08]))[0] - 10) < 1e-9
  far = np.array([0.0, 2.0, 4.0, 6.5, 9.0])
  np.testing.assert_allclose(bent.grid.beats_at(far), own.beats_at(far))


def test_cuts_that_cannot_be_met_are_missed():
  # Three cuts within a tenth of a second: one beat meets one of them.
  cuts = np.array([3.0, 3.04, 3.08])
  bent = bending.bend(grid.plain(90.0), cuts, is_own=False)
  assert bent.met.sum() == 1


def test_no_cuts_change_nothing():
  plain = grid.plain(100.0)
  assert bending.bend(plain, np.zeros(0), is_own=False).grid is plain
