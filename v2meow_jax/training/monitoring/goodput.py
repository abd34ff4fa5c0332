"""Measures how a run spends its time, and the peak FLOP/s of the hardware."""

import collections
from collections.abc import Callable
from collections.abc import Iterator
import contextlib
import time
from typing import Any

import jax

# Dense bf16 FLOP/s of a device by the beginning of its kind's name, from the
# vendors' data sheets; the first match counts.
PEAK_FLOPS = {
  'TPU v4': 275e12,
  'TPU v5 lite': 197e12,
  'TPU v5e': 197e12,
  'TPU v5': 459e12,
  'TPU v6 lite': 918e12,
  'TPU v6e': 918e12,
  'NVIDIA A100': 312e12,
  'NVIDIA H100 PCIe': 756e12,
  'NVIDIA H100': 989e12,
  'NVIDIA H200': 989e12,
  'NVIDIA L4': 121e12,
}


class Clock:
  """Separates the time of steps from all other time of a run."""

  def __init__(self, now: Callable[[], float] = time.monotonic):
    """Starts the clock."""
    self._now = now
    self._start = now()
    self._other: collections.Counter[str] = collections.Counter()
    self._mark = (self._start, collections.Counter())

  @contextlib.contextmanager
  def on(self, what: str, after: Any = None) -> Iterator[None]:
    """Counts the time of this block as other than steps.

    Args:
      what: Name of the activity: 'start', 'data', 'eval' or 'save'.
      after: Arrays of the step under way, whose time ends when they are ready.
    """
    jax.block_until_ready(after)
    start = self._now()
    try:
      yield
    finally:
      self._other[what] += self._now() - start

  def window(self) -> tuple[float, float]:
    """Returns seconds of steps and of waiting for data since the last call."""
    start, other = self._mark
    self._mark = self._now(), self._other.copy()
    spent = self._mark[1] - other
    data = spent['data']
    return self._mark[0] - start - spent.total() + data, data

  def goodput(self) -> float:
    """Returns the share of time in steps since the start of the clock."""
    wall = self._now() - self._start
    return 1.0 - self._other.total() / wall if wall else 0.0


def peak_flops() -> float | None:
  """Returns bf16 FLOP/s of all devices together; None for an unknown kind."""
  kind = jax.devices()[0].device_kind
  for name, flops in PEAK_FLOPS.items():
    if kind.startswith(name):
      return flops * jax.device_count()
  return None
