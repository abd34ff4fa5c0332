"""Orders examples by row of batch; numpy alone.

Row r of batch k is at position k * batch_size + r. Seed and position determine
its example, so a run starts at any step, on any number of processes, and saves
only the step.
"""

import functools

import numpy as np


def shard_rows(batch_size: int, shard: tuple[int, int]) -> range:
  """Returns the rows of every batch that one process reads.

  >>> shard_rows(8, (1, 4))
  range(2, 4)

  Args:
    batch_size: Number of rows of the whole batch.
    shard: (index, count): the index-th of count equal, contiguous slices.

  Raises:
    ValueError: There is no such slice.
  """
  index, count = shard
  if not 0 <= index < count:
    raise ValueError(
      f'shard {index} of {count} does not exist; wanted 0 <= index < count.'
    )
  if batch_size % count:
    raise ValueError(
      f'{batch_size} rows do not divide among {count} processes; give a'
      f' batch_size that is a multiple of {count}.'
    )
  size = batch_size // count
  return range(index * size, (index + 1) * size)


class Epochs:
  """Visits every example once per epoch, in another order each epoch.

  Position p is in epoch p // num_examples. Seed and epoch determine its
  permutation; the last two are cached, at 8 bytes per example.
  """

  def __init__(self, num_examples: int, seed: int):
    self._num_examples = num_examples
    self._seed = seed
    self._permutation = functools.lru_cache(maxsize=2)(self._draw)

  def __call__(self, positions: np.ndarray) -> np.ndarray:
    """Maps positions to numbers of examples, int64[n] -> int64[n]."""
    epochs, places = np.divmod(positions, self._num_examples)
    numbers = np.empty_like(places)
    for epoch in np.unique(epochs):
      in_epoch = epochs == epoch
      numbers[in_epoch] = self._permutation(int(epoch))[places[in_epoch]]
    return numbers

  def _draw(self, epoch: int) -> np.ndarray:
    rng = np.random.default_rng([self._seed, epoch])
    return rng.permutation(self._num_examples)
