"""A worker may crash, hang, run out of memory or refuse, and the next call works."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from v2meow_jax.jobs.generate import workers

pytestmark = pytest.mark.slow

LIMITS = workers.CallLimits(seconds=1.0, memory_bytes=2**28)
MOST_SECONDS = 60.0


class Deeds:
  """Makes a function that does what it is told."""

  def __call__(self):
    return self._do

  def _do(self, deed):
    match deed:
      case 'crash':
        os.kill(os.getpid(), signal.SIGSEGV)
      case 'exit':
        os._exit(3)
      case 'hang':
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        time.sleep(1000)
      case 'fill':
        return np.ones(2**30, np.uint8).sum()
      case 'kill':
        os.kill(os.getpid(), signal.SIGKILL)
      case 'open':
        return open('/nowhere/at all', 'rb').read()
      case 'refuse':
        raise ValueError('not this one')
      case 'err':
        raise KeyError('a bug')
    return deed


def test_each_way_to_fail_is_named_and_the_next_call_works():
  worker = workers.Worker(Deeds(), LIMITS)
  try:
    for deed, reason, words in (
      ('crash', 'crash', 'SIGSEGV|Segmentation'),
      ('exit', 'crash', 'exit code 3'),
      ('hang', 'time', '1 s'),
      ('fill', 'memory', 'GB'),
      ('kill', 'memory', 'killed'),
      ('open', 'missing', '/nowhere/at all'),
      ('refuse', 'refused', 'not this one'),
      ('err', 'error', 'KeyError'),
    ):
      with pytest.raises(workers.ItemFailure, match=words) as failure:
        worker(deed)
      assert failure.value.reason == reason and failure.value.fix
      assert worker('hello') == 'hello'
  finally:
    worker.end()


def test_a_process_that_leaves_its_workers_alone_ends(root):
  code = (
    'from tests.fakes import small_batch\n'
    'from v2meow_jax.jobs.generate import workers\n'
    'worker = workers.Worker(small_batch.Humming(), workers.CallLimits())\n'
    'worker.start()\n'
    'worker._wait_until_ready()\n'
  )
  command = [sys.executable, '-c', code]
  assert subprocess.run(command, cwd=root, timeout=MOST_SECONDS).returncode == 0


class Broken:
  """Fails to make a function."""

  def __call__(self):
    raise ValueError('no weights')


def test_a_worker_that_cannot_start_is_no_fault_of_an_item():
  worker = workers.Worker(Broken(), LIMITS)
  with pytest.raises(ChildProcessError, match='no weights'):
    worker('hello')


def _start_and_hang(sender):
  worker = workers.Worker(Deeds(), workers.CallLimits(seconds=1000.0))
  worker('hello')
  sender.send(worker._process.pid)
  worker('hang')


def test_a_worker_ends_with_its_parent_even_while_it_hangs():
  receiver, sender = multiprocessing.Pipe()
  context = multiprocessing.get_context('forkserver')
  parent = context.Process(target=_start_and_hang, args=(sender,))
  parent.start()
  pid = receiver.recv()
  parent.kill()
  parent.join()
  end = time.monotonic() + MOST_SECONDS
  while os.path.exists(f'/proc/{pid}') and time.monotonic() < end:
    time.sleep(0.05)
  assert not os.path.exists(f'/proc/{pid}')
