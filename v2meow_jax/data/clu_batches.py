"""Batches as a CLU iterator: what trainers of others, such as T5X, read."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
import functools
import itertools

from clu.data import dataset_iterator
import numpy as np


class CluBatches(dataset_iterator.DatasetIterator):
  """Some of a source's batches: `next` goes on, a `for` starts anew."""

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
      batches: Such as `batches.TaskBatches`.
      shard: (index, number) of the slice of every batch that is wanted.
      start_step: Of the first batch.
      num_batches: How many; None: all there are.
    """
    # A source that is read whole need not know how to split.
    keywords = {} if shard[1] == 1 else {'shard': shard}
    self._start = functools.partial(batches, start_step, **keywords)
    self._num_batches = num_batches
    self._going: Iterator[dict[str, np.ndarray]] = iter(self)

  def __iter__(self) -> Iterator[dict[str, np.ndarray]]:
    for batch in itertools.islice(self._start(), self._num_batches):
      # Names are for people: devices hold numbers.
      yield {k: v for k, v in batch.items() if k != 'example_ids'}

  def __next__(self) -> dict[str, np.ndarray]:
    return next(self._going)

  @functools.cached_property
  def element_spec(self) -> dict[str, dataset_iterator.ArraySpec]:
    """Shapes and types of a batch; reads one, which `next` then gives."""
    first = next(self._going)
    self._going = itertools.chain([first], self._going)
    spec = dataset_iterator.ArraySpec
    return {k: spec(v.dtype, v.shape) for k, v in first.items()}
