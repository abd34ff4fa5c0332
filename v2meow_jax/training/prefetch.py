"""Puts batches on the devices ahead of time, in a thread."""

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
import queue
import threading
from typing import Any

import numpy as np

from v2meow_jax.models import trainable

HostBatch = Mapping[str, np.ndarray]


class Prefetched:
  """Iterates over (batch on the host, batch on the devices).

  A thread works ahead. An error of the data is raised at its batch. `close`
  ends the thread.
  """

  def __init__(
    self,
    batches: Iterator[HostBatch],
    put: Callable[[HostBatch], trainable.Batch],
    depth: int = 2,
  ):
    """Starts the thread.

    Args:
      batches: Batches on the host.
      put: Function that puts a batch on the devices.
      depth: Number of batches to prepare ahead.
    """
    self._ready: queue.Queue[Any] = queue.Queue(depth)
    self._is_closed = threading.Event()
    self._thread = threading.Thread(
      target=self._work, args=(batches, put), daemon=True, name='prefetch'
    )
    self._thread.start()

  @property
  def is_ready(self) -> bool:
    """Whether the next batch is ready."""
    return not self._ready.empty()

  def __iter__(self) -> Iterator[tuple[HostBatch, trainable.Batch]]:
    return self

  def __next__(self) -> tuple[HostBatch, trainable.Batch]:
    item = self._ready.get()
    if isinstance(item, BaseException):
      self._offer(item)  # For the next call.
      raise item
    return item

  def close(self) -> None:
    """Ends the thread, waiting at most 5 s for a batch that is being read."""
    self._is_closed.set()
    self._thread.join(timeout=5.0)

  def _work(self, batches, put):
    try:
      for batch in batches:
        if not self._offer((batch, put(batch))):
          return
      self._offer(StopIteration())
    except Exception as e:  # Raised again by `__next__`.
      self._offer(e)

  def _offer(self, item: Any) -> bool:
    """Queues an item; returns False once this is closed."""
    while not self._is_closed.is_set():
      try:
        self._ready.put(item, timeout=0.1)
        return True
      except queue.Full:
        continue
    return False
