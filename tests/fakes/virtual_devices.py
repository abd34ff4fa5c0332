"""Python in a process of its own that sees several virtual devices."""

import functools
import json
import os
from typing import Any

from tests.fakes import command
from tests.fakes import forks

# What the programs of tests import, none of which asks for a device.
_IMPORTED = (
  'v2meow_jax.clusters.kmeans',
  'v2meow_jax.inference.pipeline',
  'v2meow_jax.inference.restore',
  'v2meow_jax.models.delayed',
  'v2meow_jax.models.towers',
  'v2meow_jax.models.transformer',
  'v2meow_jax.training.loop',
  'v2meow_jax.training.plan',
)
_RUN_MODULE = """
import runpy, sys
runpy.run_module(sys.argv.pop(1), run_name='__main__', alter_sys=True)
"""


def environment(count: int, **variables: str) -> dict[str, str]:
  """Environment of a process with so many devices, all of the CPU."""
  devices = f'--xla_force_host_platform_device_count={count}'
  return {
    **os.environ,
    'PYTHONPATH': str(command.ROOT),
    'XLA_FLAGS': f'{os.environ["XLA_FLAGS"]} {devices}',
    **variables,
  }


@functools.cache
def _parent() -> forks.Parent:
  """A process for all tests of a worker; it ends with the worker."""
  return forks.Parent(*_IMPORTED, environment=environment(8))


def run(module: str, *arguments: Any) -> Any:
  """Runs a module as `python -m` does, on eight devices.

  Args:
    module: Name of the module.
    *arguments: Arguments of the module.

  Returns:
    The json in its last line.
  """
  return run_code(_RUN_MODULE, module, *arguments)


def run_code(code: str, *arguments: Any) -> Any:
  """Runs a program as `python -c` does, and returns as `run`."""
  with _parent().start(code, *arguments) as program:
    said = program.stdout.read()
    assert program.wait() == 0
  return json.loads(said.splitlines()[-1])
