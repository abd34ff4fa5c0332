"""Joins the processes of a job, before anything touches a device."""

from __future__ import annotations

from collections.abc import Mapping
import os

from absl import logging
import jax

COORDINATOR = 'V2MEOW_COORDINATOR'
NUM_PROCESSES = 'V2MEOW_NUM_PROCESSES'
PROCESS_ID = 'V2MEOW_PROCESS_ID'
# Set by launchers in every process of a job of several.
_LAUNCHED = ('SLURM_STEP_NUM_TASKS', 'OMPI_COMM_WORLD_SIZE')


def initialize(environment: Mapping[str, str] = os.environ) -> None:
  """Joins the job that the environment tells of; alone, it does nothing.

  `V2MEOW_COORDINATOR` is host:port of process 0, with `V2MEOW_NUM_PROCESSES`
  and `V2MEOW_PROCESS_ID` beside it; or 'auto', for what JAX finds out by itself
  (Cloud TPU, GKE, Slurm, Open MPI). Without it, several tasks of a Slurm step
  or of mpirun are joined as well.

  Args:
    environment: Where the variables are read.

  Raises:
    ValueError: A variable is missing or is no number.
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


def _number(environment: Mapping[str, str], name: str) -> int:
  value = environment.get(name, '')
  if not value.isdecimal():
    raise ValueError(
      f'{name} is {value!r}; with {COORDINATOR} set it is a number, such as 0.'
    )
  return int(value)
