"""Batches as a CLU iterator, for other trainers such as T5X."""

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
import functools
import itertools

from clu.data import dataset_iterator
import numpy as np


class CluBatches(dataset_iterator.DatasetIterator):
  """Batches of a source; `next` continues, a `for` loop starts again."""

  def __init__(
    self,
    batches: Callable[..., Iterator[Mapping[str, np.ndarray]]],
    shard: tuple[int, int] = (0, 1),
    *,
    start_step: int = 0,
    num_batches: int | None = None,
  ):
    """Reads nothing yet.

    Args:
      batches: Source of batches, such as `batches.TaskBatches`.
      shard: (index, count): the index-th of count slices of every batch.
      start_step: Step of the first batch.
      num_batches: Number of batches; None: all.
    """
    # A source that is read whole need not accept a shard.
    keywords = {} if shard[1] == 1 else {'shard': shard}
    self._start = functools.partial(batches, start_step, **keywords)
    self._num_batches = num_batches
    self._iterator: Iterator[dict[str, np.ndarray]] = iter(self)

  def __iter__(self) -> Iterator[dict[str, np.ndarray]]:
    for batch in itertools.islice(self._start(), self._num_batches):
      # Devices hold only numbers.
      yield {k: v for k, v in batch.items() if k != 'example_ids'}

  def __next__(self) -> dict[str, np.ndarray]:
    return next(self._iterator)

  @functools.cached_property
  def element_spec(self) -> dict[str, dataset_iterator.ArraySpec]:
    """Shapes and dtypes of a batch; reads one, which `next` returns again."""
    first = next(self._iterator)
    self._iterator = itertools.chain([first], self._iterator)
    spec = dataset_iterator.ArraySpec
    return {k: spec(v.dtype, v.shape) for k, v in first.items()}
