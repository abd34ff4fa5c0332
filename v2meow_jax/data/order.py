"""Which example stands in which row of which batch; numpy alone.

The rows of all batches are numbered: row r of batch k is at position
k * batch_size + r. What stands there follows from (seed, position), so a run
starts at any step, on any number of processes, and saves nothing but the step.
"""

from __future__ import annotations

import functools

import numpy as np


def shard_rows(batch_size: int, shard: tuple[int, int]) -> range:
  """The rows of every batch that one process reads.

  >>> shard_rows(8, (1, 4))
  range(2, 4)

  Args:
    batch_size: Rows of the whole batch.
    shard: (index, count): the index-th of count equal, contiguous slices.

  Returns:
    Their numbers in the whole batch.

  Raises:
    ValueError: There is no such slice.
  """
  index, count = shard
  if not 0 <= index < count:
    raise ValueError(
      f'shard {index} of {count}: wanted an index from 0 to count - 1.'
    )
  if batch_size % count:
    raise ValueError(
      f'{batch_size} rows do not divide among {count} processes; give a'
      f' batch_size that is a multiple of {count}.'
    )
  size = batch_size // count
  return range(index * size, (index + 1) * size)


class Epochs:
  """Every example once an epoch, and each epoch in an order of its own.

  Position p is in epoch p // num_examples. An epoch's order is a permutation
  drawn by (seed, epoch); the last two are kept, at 8 bytes an example.
  """

  def __init__(self, num_examples: int, seed: int):
    self._num_examples = num_examples
    self._seed = seed
    self._permutation = functools.lru_cache(maxsize=2)(self._draw)

  def __call__(self, positions: np.ndarray) -> np.ndarray:
    """int64[n] -> int64[n]: the numbers of the examples at positions."""
    epochs, places = np.divmod(positions, self._num_examples)
    numbers = np.empty_like(places)
    for epoch in np.unique(epochs):
      here = epochs == epoch
      numbers[here] = self._permutation(int(epoch))[places[here]]
    return numbers

  def _draw(self, epoch: int) -> np.ndarray:
    rng = np.random.default_rng([self._seed, epoch])
    return rng.permutation(self._num_examples)
