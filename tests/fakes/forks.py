"""Python in forks of one process that has imported its libraries already.

Most of the time of a short process goes by with imports. A fork is a process of
its own all the same: it has what was imported, and nothing that ran.
"""

from collections.abc import Mapping
import gc
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
from typing import Any
from typing import Self
from typing import TextIO

from tests.fakes import command

_MAX_BYTES = 1 << 16  # of a message


class Fork:
  """A running fork; leaving a `with` block kills it and waits for its end.

  Attributes:
    stdout: What it prints, to be read.
  """

  def __init__(self, pid: int, stdout: TextIO, channel: socket.socket):
    """Takes what `Parent.start` made."""
    self.stdout = stdout
    self._pid = pid
    self._channel = channel
    self._code: int | None = None

  def kill(self) -> None:
    """Kills it, as SIGKILL does, if it has not ended."""
    os.kill(self._pid, signal.SIGKILL)  # Its number is kept for it.

  def has_ended(self, seconds: float = 0) -> bool:
    """Whether it has ended, or does so within some seconds."""
    if self._code is not None:
      return True
    return bool(select.select([self._channel], [], [], seconds)[0])

  def wait(self) -> int:
    """Waits for its end; its exit code, or minus the signal that ended it."""
    if self._code is None:
      self._code = int(self._channel.recv(_MAX_BYTES))
    return self._code

  def __enter__(self) -> Self:
    return self

  def __exit__(self, *_: Any) -> None:
    self.kill()
    self.wait()
    self.stdout.close()


class Parent:
  """A process in which modules are imported; its forks run one at a time."""

  def __init__(self, *modules: str, environment: Mapping[str, str]):
    """Starts the process.

    Args:
      *modules: Names of the modules, none of which starts a thread.
      environment: Environment variables of the process, and of its forks.
    """
    kind = socket.AF_UNIX, socket.SOCK_SEQPACKET
    self._channel, theirs = socket.socketpair(*kind)
    with theirs:
      self._process = subprocess.Popen(
        [sys.executable, '-m', __name__, str(theirs.fileno()), *modules],
        cwd=command.ROOT,
        env=environment,
        pass_fds=[theirs.fileno()],
      )

  def start(self, code: str, *arguments: Any, **environment: str) -> Fork:
    """Runs a program as `python -c` does, once the fork before has ended.

    Args:
      code: Source of the program.
      *arguments: Arguments of the program.
      **environment: Environment variables beside those of the parent. What is
        imported may have read them by then.
    """
    request = [code, [*map(str, arguments)], environment]
    received, sent = os.pipe()
    socket.send_fds(self._channel, [json.dumps(request).encode()], [sent])
    os.close(sent)
    pid = int(self._channel.recv(_MAX_BYTES))
    return Fork(pid, open(received, encoding='utf-8'), self._channel)

  def __enter__(self) -> Self:
    return self

  def __exit__(self, *_: Any) -> None:
    self._channel.close()
    self._process.wait()


def _program(channel: socket.socket) -> str:
  """Forks for each request; returns in forks, with the source of what they are."""
  pid = None
  while True:
    message, fds, *_ = socket.recv_fds(channel, _MAX_BYTES, 1)
    if pid is not None:
      os.waitpid(pid, 0)  # Nobody wants to kill it any more.
    if not message:
      sys.exit()
    if not (pid := os.fork()):
      break
    os.close(fds[0])
    channel.send(str(pid).encode())
    end = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert end is not None
    is_exit = end.si_code == os.CLD_EXITED
    channel.send(str(end.si_status if is_exit else -end.si_status).encode())
  channel.close()
  os.dup2(fds[0], 1)
  os.close(fds[0])
  code, arguments, environment = json.loads(message)
  os.environ.update(environment)
  sys.argv = ['-c', *arguments]
  return code


if __name__ == '__main__':
  for name in sys.argv[2:]:
    importlib.import_module(name)
  gc.freeze()  # Forks do not copy what they look at to collect it.
  exec(
    _program(socket.socket(fileno=int(sys.argv[1]))), {'__name__': '__main__'}
  )
