"""A source of batches, as a CLU iterator."""

import itertools

import numpy as np
import pytest

from v2meow_jax.data import clu_batches

pytestmark = pytest.mark.data


def count(start_step, shard=(0, 1)):
  """Row r of batch k is (k, r); four rows, split among the shards."""
  index, number = shard
  rows = np.arange(4).reshape(number, -1)[index]
  for step in range(start_step, 6):
    x = np.stack([np.full_like(rows, step), rows], 1).astype(np.float32)
    yield {'x': x, 'example_ids': np.full(len(rows), b'clip', 'S64')}


def test_next_goes_on_and_a_loop_starts_anew():
  batches = clu_batches.CluBatches(count, start_step=2, num_batches=3)
  assert [next(batches)['x'][0, 0] for _ in range(2)] == [2, 3]
  assert [b['x'][0, 0] for b in batches] == [2, 3, 4]
  assert [b['x'][0, 0] for b in batches] == [2, 3, 4]
  assert next(batches)['x'][0, 0] == 4
  with pytest.raises(StopIteration):
    next(batches)


def test_numbers_are_passed_on_and_names_are_not():
  batches = clu_batches.CluBatches(count)
  assert {k: (s.shape, s.dtype) for k, s in batches.element_spec.items()} == {
    'x': ((4, 2), np.float32)
  }
  # Looking at the shapes takes nothing away.
  assert next(batches)['x'][0, 0] == 0


def test_shards_together_are_the_batch():
  parts = [clu_batches.CluBatches(count, (i, 2)) for i in range(2)]
  whole = clu_batches.CluBatches(count)
  for a, b, both in itertools.islice(zip(*parts, whole, strict=True), 2):
    np.testing.assert_array_equal(np.concatenate([a['x'], b['x']]), both['x'])
