"""What fails in one process of a job fails in all, and none waits for it."""

import os
import socket
import subprocess
import sys

import pytest

_JOB = """
import pathlib, sys
import jax
from tests.fakes import planted_model
from v2meow_jax.training import distributed
from v2meow_jax.training import loop
from v2meow_jax.training import schedules
from v2meow_jax.training.checkpoints import checkpoints
from v2meow_jax.training.checkpoints import run_lock
from v2meow_jax.training.checkpoints import stored_step

distributed.initialize()
path, me = pathlib.Path(sys.argv[1]), jax.process_index()

def print_error(act):
  try:
    act()
  except Exception as e:
    print(type(e).__name__, flush=True)
  else:
    print('none', flush=True)

def read():
  if me:
    raise MemoryError

def batches(start_step, shard=(0, 1)):
  if me:
    raise FileNotFoundError
  return planted_model.batches(start_step, shard)

print_error(lambda: stored_step._together(read, path))
lock = run_lock.RunLock(path) if not me else None
print_error(lambda: checkpoints.Checkpoints(path))
print_error(lambda: loop.train(
    model_dir=path / 'run', model=planted_model.LinearModel(),
    train_batches=batches, schedule=schedules.warmup_rsqrt(0.1, 1),
    train_steps=1, tensorboard=False))
distributed.leave()
"""


@pytest.mark.slow
def test_no_process_waits_for_one_that_failed(tmp_path, root):
  with socket.socket() as free:
    free.bind(('localhost', 0))
    port = free.getsockname()[1]
  job = [
    subprocess.Popen(
      [sys.executable, '-c', _JOB, tmp_path],
      cwd=root,
      env={
        **os.environ,
        'PYTHONPATH': str(root),
        'V2MEOW_COORDINATOR': f'localhost:{port}',
        'V2MEOW_NUM_PROCESSES': '2',
        'V2MEOW_PROCESS_ID': str(i),
      },
      stdout=subprocess.PIPE,
      text=True,
    )
    for i in range(2)
  ]
  try:
    lines = [p.communicate(timeout=120)[0].split() for p in job]
  finally:
    for process in job:
      process.kill()
  # Before them stand lines of the library that connects processes.
  assert [words[-3:] for words in lines] == [
    ['UnreadableError', 'CheckpointError', 'ElsewhereError'],
    ['MemoryError', 'ElsewhereError', 'FileNotFoundError'],
  ]
