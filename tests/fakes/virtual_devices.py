"""Python in a process of its own that sees several virtual devices."""

import json
import os
import subprocess
import sys
from typing import Any

from tests.fakes import command


def environment(count: int, **variables: str) -> dict[str, str]:
  """Environment of a process with so many devices, all of the CPU."""
  devices = f'--xla_force_host_platform_device_count={count}'
  return {
    **os.environ,
    'PYTHONPATH': str(command.ROOT),
    'XLA_FLAGS': f'{os.environ["XLA_FLAGS"]} {devices}',
    **variables,
  }


def run(*arguments: Any, timeout: float | None = None, **variables: str) -> Any:
  """Runs Python on eight devices; the json in its last line.

  Args:
    *arguments: Arguments of Python, such as '-m' and a module.
    timeout: Seconds after which it has failed; None: the test's.
    **variables: Further variables of its environment.
  """
  done = subprocess.run(
    [sys.executable, *map(str, arguments)],
    cwd=command.ROOT,
    env=environment(8, **variables),
    stdout=subprocess.PIPE,
    check=True,
    text=True,
    timeout=timeout,
  )
  return json.loads(done.stdout.splitlines()[-1])
