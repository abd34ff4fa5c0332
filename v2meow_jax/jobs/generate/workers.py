"""Worker processes that may crash, hang or run out of memory.

A worker does one call after another, each within limits of time and memory that
the kernel enforces. One that ends is replaced, and the call that ended it fails.
"""

from __future__ import annotations

from collections.abc import Callable
import contextlib
import dataclasses
import multiprocessing
from multiprocessing import connection
from multiprocessing import util
import os
import re
import resource
import signal
import sys
import threading
from typing import Any

from v2meow_jax.files import full_disk

# What the kernel is given to end a process that is out of time.
_GRACE_SECONDS = 10.0
_START_SECONDS = 600.0  # ours: networks are read from a slow disk.


@dataclasses.dataclass(frozen=True, kw_only=True)
class CallLimits:
  """Limits of one call.

  Attributes:
    seconds: Wall time, in seconds.
    memory_bytes: Memory that it may take beyond what its worker had, in bytes.
  """

  seconds: float = 1800.0
  memory_bytes: int = 4 * 2**30


class ItemFailure(Exception):
  """An item cannot be made; the others can.

  Attributes:
    reason: Word for what went wrong.
    message: Sentence on what went wrong.
    fix: Advice on what to do.
    part: Part of the work that failed.
  """

  def __init__(self, reason: str, message: str, fix: str, part: str = ''):
    """Keeps all of them."""
    super().__init__(reason, message, fix, part)  # So that it can be pickled.
    self.reason, self.message, self.fix, self.part = self.args

  def __str__(self) -> str:
    return self.message


class Worker:
  """One process that calls a function, and its successors.

  Attributes:
    is_over: Whether it was ended for good.
  """

  def __init__(
    self, make: Callable[[], Callable[..., Any]], limits: CallLimits
  ):
    """Starts nothing yet.

    Args:
      make: Function that a new process calls for the function to call; both are
        picklable.
      limits: Limits of each call.
    """
    self._make = make
    self._limits = limits
    self.is_over = False
    self._process: Any = None
    self._connection: Any = None

  def start(self) -> None:
    """Starts the process, without waiting for it."""
    if self._process is not None or self.is_over:
      return
    self._connection, theirs = multiprocessing.Pipe()
    self._process = _context(self._make).Process(
      target=_serve, args=(theirs, self._make, self._limits), daemon=True
    )
    self._process.start()
    theirs.close()
    self._is_ready = False
    # At its exit, Python waits for processes, which heed no SIGTERM.
    util.Finalize(self, self._process.kill, exitpriority=1)

  def __call__(self, *args: Any) -> Any:
    """Calls the function in the process.

    Raises:
      ItemFailure: It raised an error, crashed, or went beyond a limit.
      OSError: The disk is full.
      ChildProcessError: The process cannot start.
    """
    self.start()
    if self._process is None:
      raise ItemFailure('ended', 'the batch ends', 'start it again')
    try:
      self._wait_until_ready()
      self._connection.send(args)
      if not self._connection.poll(self._limits.seconds + _GRACE_SECONDS):
        self._close()
        raise _out_of_time(self._limits)
      kind, value = self._connection.recv()
    except (EOFError, ConnectionError):
      raise self._ended() from None
    if kind == 'done':
      return value
    if kind == 'memory':
      self._close()  # What it has left is in pieces.
      raise _out_of_memory(self._limits)
    raise value

  def _wait_until_ready(self) -> None:
    if self._is_ready:
      return
    if not self._connection.poll(_START_SECONDS):
      raise ChildProcessError('a worker process does not start.')
    try:
      message = self._connection.recv()
    except (EOFError, ConnectionError):
      self._process.join()
      message = '' if self.is_over else f'exit code {self._process.exitcode}'
    if message:
      raise ChildProcessError(f'a worker process does not start: {message}')
    self._is_ready = True

  def _ended(self) -> ItemFailure:
    """What it means that the process is gone."""
    self._process.join()
    code = self._process.exitcode
    self._close()
    if code == -signal.SIGALRM:
      return _out_of_time(self._limits)
    if code == -signal.SIGKILL:
      return ItemFailure(
        'memory',
        'its worker process was killed, as the system does when memory runs out',
        'lower --workers, or give the machine more memory',
      )
    how = f'exit code {code}'
    if code is not None and code < 0:
      how = f'signal {-code} ({signal.strsignal(-code)})'
    return ItemFailure(
      'crash',
      f'its worker process crashed with {how}',
      'encode the video again: ffmpeg -i IN OUT.mp4',
    )

  def end(self) -> None:
    """Ends the process for good; a call in another thread fails."""
    self.is_over = True
    if self._process is not None:
      self._process.kill()

  def _close(self) -> None:
    """Ends the process, whatever it does."""
    if self._process is not None:
      self._process.kill()
      self._process.join()
      self._connection.close()
      self._process = self._connection = None


def _out_of_time(limits: CallLimits) -> ItemFailure:
  return ItemFailure(
    'time',
    f'it took longer than {limits.seconds:g} s',
    'raise --time_limit, or encode the video again: ffmpeg -i IN OUT.mp4',
  )


def _out_of_memory(limits: CallLimits) -> ItemFailure:
  return ItemFailure(
    'memory',
    f'it needs more than {limits.memory_bytes / 1e9:.3g} GB of memory',
    'raise --memory_limit, or shrink the video: ffmpeg -i IN -vf scale=1280:-2'
    ' OUT.mp4',
  )


def _context(make: Any) -> Any:
  """How processes start: from one that has imported what they need.

  A plain fork would copy locks of threads that hold them.
  """
  context = multiprocessing.get_context('forkserver')
  context.set_forkserver_preload([type(make).__module__])
  return context


def _serve(
  theirs: connection.Connection,
  make: Callable[[], Callable[..., Any]],
  limits: CallLimits,
) -> None:
  """What the process runs: calls, until the other end is closed."""
  # Signals to a job go to all of its processes; the first one decides.
  for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, signal.SIG_IGN)
  signal.signal(signal.SIGALRM, signal.SIG_DFL)
  resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
  threading.Thread(target=_end_with_parent, daemon=True).start()
  try:
    function = make()
  except Exception as e:
    theirs.send(f'{type(e).__name__}: {e}')
    return
  theirs.send('')
  _limit_memory(limits.memory_bytes)
  with contextlib.suppress(EOFError, ConnectionError):
    while True:
      theirs.send(_result(function, theirs.recv(), limits))


def _result(
  function: Callable[..., Any], args: Any, limits: CallLimits
) -> tuple[str, Any]:
  """The kind of end of one call, and its value or error."""
  # The kernel ends the process, whatever holds it.
  signal.setitimer(signal.ITIMER_REAL, limits.seconds)
  try:
    return 'done', function(*args)
  except ItemFailure as e:
    return 'failed', e
  except MemoryError:
    return 'memory', None
  except Exception as e:
    if full_disk.is_of_full_disk(e):
      return 'disk', OSError(str(e))
    return 'failed', _refusal(e)
  finally:
    signal.setitimer(signal.ITIMER_REAL, 0)


def _refusal(error: Exception) -> ItemFailure:
  message = ' '.join(str(error).split()) or type(error).__name__
  if isinstance(error, FileNotFoundError):
    message = f'there is no file {error.filename or message}'
    return ItemFailure('missing', message, 'correct the path, and run again')
  if isinstance(error, ValueError):
    return ItemFailure('refused', message, 'do what it says, and run again')
  return ItemFailure(
    'error',
    f'{type(error).__name__}: {message}',
    'try again: v2meow batch retry OUT --reason error',
  )


def _limit_memory(num_bytes: int) -> None:
  """Limits private memory to what the process has, and as much more."""
  if not sys.platform.startswith('linux'):
    return
  with open('/proc/self/status', encoding='utf-8') as file:
    match = re.search(r'VmData:\s+(\d+) kB', file.read())
  most = num_bytes + 1024 * int(match[1] if match else 0)
  _, hard = resource.getrlimit(resource.RLIMIT_DATA)
  if hard != resource.RLIM_INFINITY:
    most = min(most, hard)
  resource.setrlimit(resource.RLIMIT_DATA, (most, hard))


def _end_with_parent() -> None:
  parent = multiprocessing.parent_process()
  assert parent is not None
  connection.wait([parent.sentinel])
  os._exit(1)
