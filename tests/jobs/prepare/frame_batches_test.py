"""What comes out for a clip depends on that clip alone."""

import numpy as np
import pytest

from v2meow_jax.jobs.prepare import frame_batches


class Doubler:
  """Doubles; breaks on a batch that holds -1."""

  def __init__(self):
    self.calls = []

  def __call__(self, inputs):
    self.calls.append(inputs[:, 0].tolist())
    if (inputs == -1).any():
      raise ValueError('the network broke')
    return 2 * inputs


def _rows(*values):
  return np.array(values, np.float32)[:, None]


@pytest.fixture
def doubler():
  return Doubler()


@pytest.fixture
def batches(doubler):
  return frame_batches.Batches(doubler, 4)


def test_frames_of_clips_share_full_batches(batches, doubler):
  for owner, values in {'a': (1, 2, 3), 'b': (4, 5), 'c': (6,)}.items():
    batches.put(owner, _rows(*values))
  batches.flush()
  assert doubler.calls == [[1, 2, 3, 4], [5, 6, 0, 0]]
  assert batches.take('a').tolist() == [[2], [4], [6]]
  assert batches.take('b').tolist() == [[8], [10]]
  assert batches.take('c').tolist() == [[12]]


def test_stretches_of_a_clip_stay_in_order(batches):
  for start in range(0, 12, 3):
    batches.put('a', _rows(start, start + 1, start + 2))
    batches.put('b', _rows(-start - 2))
  batches.flush()
  assert batches.take('a')[:, 0].tolist() == [2 * i for i in range(12)]


def test_a_clip_that_breaks_the_network_costs_its_neighbours_nothing(batches):
  batches.put('good', _rows(1, 2))
  batches.put('bad', _rows(-1))
  batches.put('fine', _rows(3))
  batches.flush()
  assert batches.take('good').tolist() == [[2], [4]]
  assert batches.take('fine').tolist() == [[6]]
  with pytest.raises(ValueError, match='the network broke'):
    batches.take('bad')


def test_a_clip_that_failed_elsewhere_leaves_nothing(batches, doubler):
  batches.put('gone', _rows(7))
  batches.put('a', _rows(1))
  batches.drop('gone')
  batches.flush()
  assert doubler.calls == [[1, 0, 0, 0]]


def test_nothing_waits_once_it_is_flushed(batches, doubler):
  batches.put('a', _rows(1))
  batches.flush()
  batches.flush()
  assert len(doubler.calls) == 1
