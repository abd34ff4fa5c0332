"""Joins the processes of a job, before any device is used."""

from __future__ import annotations

from collections.abc import Mapping
import os

from absl import logging
import jax

COORDINATOR = 'V2MEOW_COORDINATOR'
NUM_PROCESSES = 'V2MEOW_NUM_PROCESSES'
PROCESS_ID = 'V2MEOW_PROCESS_ID'
# Set by launchers in every process of a multi-process job.
_LAUNCHED = ('SLURM_STEP_NUM_TASKS', 'OMPI_COMM_WORLD_SIZE')


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


def _number(environment: Mapping[str, str], name: str) -> int:
  value = environment.get(name, '')
  if not value.isdecimal():
    raise ValueError(
      f'{name} is {value!r}; with {COORDINATOR} set it is a number, such as 0.'
    )
  return int(value)
