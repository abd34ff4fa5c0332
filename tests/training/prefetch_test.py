"""Batches come in order, with their errors, and the thread ends."""

import threading

import numpy as np
import pytest

from v2meow_jax.training import prefetch


def source(stop, error=None):
  for i in range(stop):
    yield {'x': np.array([i])}
  if error:
    raise error


def test_batches_come_in_order_and_end():
  made = prefetch.Prefetched(source(5), lambda b: b['x'] + 100)
  got = [(int(host['x'][0]), int(put[0])) for host, put in made]
  assert got == [(i, i + 100) for i in range(5)]
  with pytest.raises(StopIteration):
    next(made)
  made.close()


def test_an_error_is_raised_at_its_batch():
  made = prefetch.Prefetched(source(2, OSError('disk')), lambda b: b)
  next(made)
  next(made)
  with pytest.raises(OSError, match='disk'):
    next(made)
  made.close()


def test_no_more_is_made_than_can_wait_and_closing_ends_the_thread():
  made, first = [], threading.Event()

  def put(batch):
    made.append(batch)
    if len(made) == 3:
      first.set()
    return batch

  ahead = prefetch.Prefetched(source(1000), put, depth=2)
  assert first.wait(30)
  assert ahead.is_ready
  ahead.close()
  # Two wait, one is in the hand of the thread.
  assert len(made) == 3
  assert 'prefetch' not in [t.name for t in threading.enumerate()]
