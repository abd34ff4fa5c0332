"""Ends the process of a command soon, whatever its libraries still run."""

import atexit
from collections.abc import Callable
import os
import signal
import socket
import sys
import threading
import time
import traceback
from typing import NoReturn

EXIT_TRY_AGAIN = 75  # EX_TEMPFAIL of sysexits.h; launchers start it again.
_EXIT_CRASH = 1  # As Python has it.
_EXIT_INTERRUPTED = 130
# What threads and exit functions may take together, once the work is done.
_SECONDS = 5.0


def ask_to_start_again() -> None:
  """Makes SIGTERM end this process at once with 75, until another handler.

  For the start of a run, when nothing is there to be saved. Handlers of Python
  wait for a library call to return, and compilation takes minutes, so a thread
  watches as well. Does nothing where SIGTERM is ignored or has a handler.
  """
  in_main = threading.current_thread() is threading.main_thread()
  if not in_main or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
    return

  def end(*_) -> NoReturn:
    os.write(2, b'v2meow: asked to stop before the first step; start again.\n')
    os._exit(EXIT_TRY_AGAIN)

  def watch():
    while number := received.recv(1):
      if number[0] == signal.SIGTERM and signal.getsignal(number[0]) is end:
        end()

  received, sent = socket.socketpair()
  sent.setblocking(False)
  signal.set_wakeup_fd(sent.fileno(), warn_on_full_buffer=False)
  # Both ends live as long as the process.
  threading.Thread(target=watch, daemon=True, name='stop before start').start()
  end.sockets = received, sent
  signal.signal(signal.SIGTERM, end)


def end_when_interrupted() -> None:
  """Makes Ctrl-C end this process at once, which has nothing to clean up.

  Libraries that are being imported may swallow a KeyboardInterrupt. Does
  nothing where SIGINT is ignored or has a handler.
  """

  def end(*_) -> NoReturn:
    os.write(2, b'v2meow: interrupted\n')
    os._exit(_EXIT_INTERRUPTED)

  if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, end)


def run(main: Callable[[], int]) -> NoReturn:
  """Runs a command and ends the process with the code that it returns.

  The interpreter's own end waits for every thread of every library, some of
  which never end after an error: tf.data, orbax and pools of threads that wait
  for one another. Threads and exit functions get a few seconds here.
  """
  try:
    code = main() or 0
  except KeyboardInterrupt:
    print('v2meow: interrupted', file=sys.stderr)
    code = _EXIT_INTERRUPTED
  except SystemExit as e:
    code = e.code if isinstance(e.code, int) else int(e.code is not None)
    if isinstance(e.code, str):
      print(e.code, file=sys.stderr)
  except BaseException:
    traceback.print_exc()
    code = _EXIT_CRASH
  try:
    _finish(time.monotonic() + _SECONDS)
  except KeyboardInterrupt:
    code = code or _EXIT_INTERRUPTED
  for stream in (sys.stdout, sys.stderr):
    try:
      stream.flush()
    except (OSError, ValueError):
      pass  # Its reader has left.
  os._exit(code)


def _finish(end: float) -> None:
  """Waits until a time for threads, and runs exit functions."""
  exit_functions = threading.Thread(target=atexit._run_exitfuncs, daemon=True)
  for thread in (*threading.enumerate(), exit_functions):
    if thread is exit_functions:
      thread.start()
    elif thread.daemon or thread is threading.main_thread():
      continue
    elif thread.ident is None:
      continue  # A Ctrl-C came as it was being started: it cannot be joined.
    thread.join(max(0.1, end - time.monotonic()))
