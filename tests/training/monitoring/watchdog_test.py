"""A hang shows where it is; work in time shows nothing."""

import time

import pytest

from v2meow_jax.training.monitoring import watchdog


def hang_here():
  time.sleep(1.0)


@pytest.mark.slow
def test_a_hang_is_shown_with_its_place(capfd):
  with watchdog.Watchdog(0.2):
    hang_here()
  told = capfd.readouterr().err
  assert 'Timeout' in told
  assert 'hang_here' in told


def test_work_in_time_is_left_alone(capfd):
  with watchdog.Watchdog(30.0) as dog:
    dog.restart()
  time.sleep(0.1)
  assert capfd.readouterr().err == ''
