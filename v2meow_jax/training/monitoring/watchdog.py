"""Shows where a run hangs."""

from __future__ import annotations

import faulthandler
import sys


class Watchdog:
  """Prints the stack of every thread when no step ends for some time.

  Prints to standard error, repeatedly until a step ends, also while the
  interpreter is stuck in a library; the run goes on. A context manager.
  """

  def __init__(self, seconds: float):
    """Allows this long, > 0, from one `restart` to the next."""
    self._seconds = seconds

  def __enter__(self) -> Watchdog:
    self.restart()
    return self

  def restart(self) -> None:
    """Restarts the waiting time."""
    faulthandler.dump_traceback_later(
      self._seconds, repeat=True, file=sys.__stderr__ or sys.stderr
    )

  def __exit__(self, *_):
    faulthandler.cancel_dump_traceback_later()
