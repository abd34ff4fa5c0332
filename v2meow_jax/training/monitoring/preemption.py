"""Stops a run on signals, after it finished and saved a step."""

from __future__ import annotations

import signal
import threading
from typing import Any

from absl import logging
import jax
from jax.experimental import multihost_utils


class Preempted(Exception):
  """A signal stopped the run, which is saved; the same command resumes it."""

  exit_code = 75  # EX_TEMPFAIL of sysexits.h: try again.


class Notice:
  """Notices signals to stop, in any process of the job.

  A single process handles SIGTERM, SIGINT (Ctrl-C) and SIGHUP (a lost terminal)
  unless they are ignored, as under nohup. The processes of a job agree on a step
  through JAX's preemption service, which handles SIGTERM. After the first
  signal, a second one ends the process at once (in a job: after they agreed). A
  context manager, which restores the handlers on exit.
  """

  def __init__(self):
    self._is_signalled = False
    self._before: dict[signal.Signals, Any] = {}

  def __enter__(self) -> Notice:
    # Python sets handlers in its main thread only.
    in_main = threading.current_thread() is threading.main_thread()
    if in_main and not jax.distributed.is_initialized():
      for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:
          self._before[number] = signal.signal(number, self._receive)
    return self

  def __exit__(self, *_):
    for number, handler in self._before.items():
      signal.signal(number, handler)

  def _receive(self, *_):
    self._is_signalled = True
    for number in self._before:
      signal.signal(number, signal.SIG_DFL)

  @property
  def is_signalled(self) -> bool:
    """Whether this process got a signal to stop."""
    return self._is_signalled

  def reached(self, step: int) -> bool:
    """Whether to save and stop after `step`, the same in every process.

    Every process must call this at each step.

    Args:
      step: Number of steps done.
    """
    if jax.distributed.is_initialized():
      stop = multihost_utils.reached_preemption_sync_point(step)
      if stop:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    else:
      stop = self._is_signalled
    if stop:
      logging.warning('Stopping: saving step %d.', step)
    return stop
