"""Times against sums by hand."""

import pytest

from v2meow_jax.training.monitoring import goodput


class Time:
  """A clock that is set by hand."""

  now = 0.0

  def __call__(self):
    return self.now


def test_time_that_is_no_step_is_told_apart():
  time = Time()
  clock = goodput.Clock(time)
  with clock.on('start'):
    time.now = 10.0
  clock.window()
  time.now = 13.0
  with clock.on('data'):
    time.now = 14.0
  with clock.on('eval'):
    time.now = 20.0
  # 3 s of steps and 1 s of waiting for data; the evaluation counts in neither.
  assert clock.window() == (4.0, 1.0)
  assert clock.goodput() == pytest.approx(3 / 20)
  time.now = 22.0
  assert clock.window() == (2.0, 0.0)


def test_the_peak_of_an_unknown_chip_is_unknown():
  assert goodput.peak_flops() is None
