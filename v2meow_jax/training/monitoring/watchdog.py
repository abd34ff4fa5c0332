"""Shows where a run hangs."""

from __future__ import annotations

import faulthandler
import sys


class Watchdog:
  """Prints the stack of every thread when nothing is done for some time.

  To the process's standard error, again and again until something is done; the
  run itself goes on. It works while the interpreter is stuck in a library. A
  context manager.
  """

  def __init__(self, seconds: float):
    """Waits this long, > 0, from one `fed` to the next."""
    self._seconds = seconds

  def __enter__(self) -> Watchdog:
    self.fed()
    return self

  def fed(self) -> None:
    """Something was done: starts to wait anew."""
    faulthandler.dump_traceback_later(
      self._seconds, repeat=True, file=sys.__stderr__ or sys.stderr
    )

  def __exit__(self, *_):
    faulthandler.cancel_dump_traceback_later()
