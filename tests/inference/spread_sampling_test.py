"""Rows spread over devices are those of one device; weights can be split."""

import numpy as np
import pytest

from tests.fakes import virtual_devices

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope='module')
def figures():
  """What one device, eight, and two groups of four draw and hold."""
  return virtual_devices.run('tests.fakes.spread_sampling')


def test_rows_on_eight_devices_draw_the_codes_of_one_to_the_bit(figures):
  # Each device runs as many rows as the one does.
  one, eight = figures['1'], figures['8/1']
  assert np.unique(one['drawn']).size > 10
  assert eight['drawn'] == one['drawn']
  assert eight['greedy'] == one['greedy']
  assert eight['collectives'] == 0  # They need nothing from each other.
  assert eight['weights'] == one['weights']
  assert eight['arguments'] <= 1.01 * one['arguments']
  assert eight['temporaries'] <= 1.1 * one['temporaries']


def test_split_weights_give_the_same_codes_and_a_quarter_of_the_memory(figures):
  one, split = figures['1'], figures['8/4']
  assert split['greedy'] == one['greedy']
  np.testing.assert_allclose(split['log_p'], one['log_p'], atol=1e-5)
  assert split['collectives'] > 0
  assert split['weights'] < 0.3 * one['weights']
  assert split['arguments'] < 0.35 * one['arguments']
