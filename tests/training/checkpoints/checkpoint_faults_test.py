"""Processes that die while saving, and jobs of several processes."""

import os
import pathlib
import random
import socket
import subprocess
import sys
import time

import pytest

from tests.fakes import forks
from tests.fakes import virtual_devices

pytestmark = pytest.mark.slow

# Restores, compares with what that step must hold, and saves until it is shot.
_TRAINER = """
import itertools, sys
from tests.fakes import planted_states
from v2meow_jax.training.checkpoints import checkpoints

with checkpoints.Checkpoints(sys.argv[1]) as saved:
  step = saved.latest_step()
  if step is not None:
    restored = saved.restore(planted_states.state(0, size=600))
    planted_states.assert_is_that_of_step(restored, step, size=600)
  print('restored', step or 0, flush=True)
  for step in itertools.count((step or 0) + 1):
    saved.save(planted_states.state(step, size=600), {})
    print('committed', step - 1, flush=True)
"""


@pytest.mark.timeout(600)
def test_twenty_kills_while_saving_lose_nothing(tmp_path):
  rng = random.Random(0)
  committed, seconds = 0, 1.0
  with forks.Parent(
    'tests.fakes.planted_states',
    'v2meow_jax.training.checkpoints.checkpoints',
    environment=os.environ,
  ) as parent:
    for kill in range(21):
      with parent.start(_TRAINER, tmp_path) as trainer:
        words = trainer.stdout.readline().split()
        assert words[:1] == ['restored'], f'after kill {kill}'
        assert int(words[1]) >= committed
        # Each line is written while a save is under way; the first trainer lives
        # until it has committed some.
        for _ in range(rng.randint(1, 2) if kill else 4):
          before = time.monotonic()
          committed = int(trainer.stdout.readline().split()[1])
          seconds = time.monotonic() - before
        time.sleep(rng.uniform(0, max(seconds, 0.1)))
        trainer.kill()
        for line in trainer.stdout.read().splitlines():
          committed = int(line.split()[1])
      left = {p.name for p in (tmp_path / 'checkpoints').iterdir()}
      assert any(name.isdigit() for name in left)
      assert not any(name.startswith('corrupt') for name in left)


# A state sharded over two processes of two devices is saved twice, the newer
# step is damaged, and both processes fall back to the older; then one process
# reads what two wrote.
_JOB = """
import sys
import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec as P
import numpy as np
from tests.fakes import planted_states
from v2meow_jax.training.checkpoints import checkpoints
import pathlib

path, address, processes, process = pathlib.Path(sys.argv[1]), *sys.argv[2:]
jax.distributed.initialize(address, int(processes), int(process))
mesh = Mesh(np.array(jax.devices()), ('data',))

def put(x, spec):
  sharding = NamedSharding(mesh, spec if x.ndim == len(spec) else P())
  return jax.make_array_from_callback(x.shape, sharding, lambda i: x[i])

def rows(x): return put(x, P('data', None))
def columns(x): return put(x, P(None, 'data'))

def check(restored, step):
  for a, b in zip(jax.tree.leaves(restored),
                  jax.tree.leaves(planted_states.state(step)), strict=True):
    for shard in a.addressable_shards:
      np.testing.assert_array_equal(shard.data, np.asarray(b)[shard.index])

with checkpoints.Checkpoints(path) as saved:
  if processes == '2':
    for step in (1, 2):
      saved.save(planted_states.state(step, put=rows), {})
      saved.wait()
    check(saved.restore(planted_states.state(0, put=columns)), 2)
    if process == '0':
      folder = path / 'checkpoints' / '2' / 'variables'
      file = max(folder.glob('ocdbt.process_1/d/*'),
                 key=lambda p: p.stat().st_size)
      file.write_bytes(file.read_bytes()[:50])
    jax.experimental.multihost_utils.sync_global_devices('damaged')
    check(saved.restore(planted_states.state(0, put=rows)), 1)
  else:
    check(saved.restore(planted_states.state(0, put=columns)), 1)
  assert sorted(p.name for p in (path / 'checkpoints').iterdir()) == [
      '1', 'corrupt-2']
"""


def test_a_job_of_two_processes_saves_verifies_and_falls_back(tmp_path, root):
  run_job(tmp_path, root, processes=2)
  assert {p.name for p in (tmp_path / 'checkpoints' / '1').glob('digests/*')}
  run_job(tmp_path, root, processes=1)


def run_job(path: pathlib.Path, root: pathlib.Path, processes: int) -> None:
  with socket.socket() as free:
    free.bind(('localhost', 0))
    address = f'localhost:{free.getsockname()[1]}'
  job = [
    subprocess.Popen(
      [sys.executable, '-c', _JOB, path, address, str(processes), str(i)],
      cwd=root,
      env=virtual_devices.environment(2),
    )
    for i in range(processes)
  ]
  try:
    assert [process.wait(timeout=200) for process in job] == [0] * processes
  finally:
    for process in job:
      process.kill()
