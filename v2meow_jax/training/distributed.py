"""Joins the processes of a job, before any device is used."""

from collections.abc import Callable
from collections.abc import Mapping
import os
from typing import Any
from typing import TypeVar

from absl import logging
import jax
from jax.experimental import multihost_utils
import numpy as np

COORDINATOR = 'V2MEOW_COORDINATOR'
NUM_PROCESSES = 'V2MEOW_NUM_PROCESSES'
PROCESS_ID = 'V2MEOW_PROCESS_ID'
# Set by launchers in every process of a multi-process job.
_LAUNCHED = ('SLURM_STEP_NUM_TASKS', 'OMPI_COMM_WORLD_SIZE')

T = TypeVar('T')


class ElsewhereError(ValueError):
  """Another process of the job failed; its own log has the cause."""


def initialize(environment: Mapping[str, str] = os.environ) -> None:
  """Joins the job described by the environment, if there is one.

  `V2MEOW_COORDINATOR` is host:port of process 0, with `V2MEOW_NUM_PROCESSES`
  and `V2MEOW_PROCESS_ID` beside it; or 'auto', where JAX can detect the job
  (Cloud TPU, GKE, Slurm, Open MPI). Without it, only jobs of several tasks of
  Slurm or mpirun are joined.

  Args:
    environment: Environment variables.

  Raises:
    ValueError: A variable is missing or not a number.
  """
  coordinator = environment.get(COORDINATOR)
  if coordinator is None:
    tasks = max(int(environment.get(name, 1)) for name in _LAUNCHED)
    if tasks == 1:
      return
  if coordinator in (None, 'auto'):
    jax.distributed.initialize()
  else:
    jax.distributed.initialize(
      coordinator,
      num_processes=_number(environment, NUM_PROCESSES),
      process_id=_number(environment, PROCESS_ID),
    )
  logging.info(
    'Process %d of %d, %d of %d devices.',
    jax.process_index(), jax.process_count(),
    jax.local_device_count(), jax.device_count(),
  )  # fmt: skip


def leave() -> None:
  """Leaves the job, if there is one, once every process is done."""
  if jax.distributed.is_initialized():
    jax.distributed.shutdown()


def worst(severity: int) -> int:
  """The largest severity of all processes, which call this together."""
  if jax.process_count() == 1:
    return severity
  everywhere = multihost_utils.process_allgather(np.int32(severity))
  return int(np.max(everywhere))


def together(act: Callable[[], T], what: str) -> T:
  """Returns what `act` returns, once it returned on every process.

  What one process cannot do, none goes on without: the others would wait for it
  at the next sum over devices.

  Args:
    act: Function that needs no other process.
    what: Name of what it does, for the error of the other processes.

  Raises:
    ElsewhereError: It failed on another process; here, what it raised is.
  """
  result: Any = None
  cause: BaseException | None = None
  try:
    result = act()
  except BaseException as e:  # Raised again once the others know.
    cause = e
  failed = worst(int(cause is not None))
  if cause is not None:
    raise cause
  if failed:
    raise ElsewhereError(f'{what} failed on another process; see its log.')
  return result


def _number(environment: Mapping[str, str], name: str) -> int:
  value = environment.get(name, '')
  if not value.isdecimal():
    raise ValueError(
      f'{name} is {value!r}; with {COORDINATOR} set it is a number, such as 0.'
    )
  return int(value)
