"""A machine that is taken away: finish the step, save, and leave."""

from __future__ import annotations

import signal
import threading
from typing import Any

from absl import logging
import jax
from jax.experimental import multihost_utils


class Preempted(Exception):
  """The run was asked to stop and is saved; the same command goes on."""

  exit_code = 75  # EX_TEMPFAIL of sysexits.h: try again.


class Notice:
  """Whether the run was asked to stop, in any process of the job.

  A process alone listens to SIGTERM, to SIGINT (Ctrl-C) and to SIGHUP (a lost
  terminal), as far as they are not ignored, as under nohup. The processes of a
  job agree on a step through JAX's preemption service, which knows SIGTERM.
  From the first signal on, a second one ends the process at once (in a job:
  once the step was agreed on). A context manager: outside of it signals do what
  they did before.
  """

  def __init__(self):
    self._is_given = False
    self._before: dict[signal.Signals, Any] = {}

  def __enter__(self) -> Notice:
    # Python takes signals in its main thread only.
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
    self._is_given = True
    for number in self._before:
      signal.signal(number, signal.SIG_DFL)

  def reached(self, step: int) -> bool:
    """Whether to save and stop after `step`; every process asks at each step.

    Args:
      step: Steps done.

    Returns:
      The same in every process.
    """
    if jax.distributed.is_initialized():
      given = multihost_utils.reached_preemption_sync_point(step)
      if given:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    else:
      given = self._is_given
    if given:
      logging.warning('Asked to stop: saving step %d.', step)
    return given
