"""One trainer writes to a directory, and a dead one does not lock it."""

import json
import os
import signal
import socket
import subprocess
import sys

from etils import epath
import pytest

from v2meow_jax.training.checkpoints import run_lock

_HOLD = """
import sys, time
from etils import epath
from v2meow_jax.training.checkpoints import run_lock
lock = run_lock.RunLock(epath.Path(sys.argv[1]))
print('held', flush=True)
time.sleep(600)
"""


@pytest.fixture
def holder(tmp_path, root):
  """Another process that holds the lock of `tmp_path`."""
  process = subprocess.Popen(
    [sys.executable, '-c', _HOLD, tmp_path],
    cwd=root,
    stdout=subprocess.PIPE,
    env={**os.environ, 'PYTHONPATH': str(root)},
  )
  assert process.stdout.readline() == b'held\n'
  yield process
  process.kill()
  process.wait()


def test_a_second_trainer_is_told_who_writes(tmp_path, holder):
  with pytest.raises(run_lock.LockedError) as caught:
    run_lock.RunLock(epath.Path(tmp_path))
  for words in (tmp_path, socket.gethostname(), holder.pid, 'MODEL_DIR'):
    assert str(words) in str(caught.value)


def test_the_lock_of_a_killed_trainer_is_taken_over(tmp_path, holder):
  os.kill(holder.pid, signal.SIGKILL)
  holder.wait()
  left = json.loads((tmp_path / run_lock.NAME).read_text())
  assert left['pid'] == holder.pid
  lock = run_lock.RunLock(epath.Path(tmp_path))
  now = json.loads((tmp_path / run_lock.NAME).read_text())
  assert now['pid'] == os.getpid()
  lock.release()


def test_two_runs_of_one_process_exclude_each_other(tmp_path):
  first = run_lock.RunLock(epath.Path(tmp_path))
  with pytest.raises(run_lock.LockedError):
    run_lock.RunLock(epath.Path(tmp_path))
  first.release()
  first.release()
  run_lock.RunLock(epath.Path(tmp_path)).release()
