"""A command ends soon after its last line, whatever its libraries still run."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from tests.fakes import endings
from v2meow_jax.cli import main

pytestmark = pytest.mark.slow

# The threads of a command that hangs sleep for 1000 s.
_HANGS_SECONDS = 200.0

_STUCK = """
import atexit, signal, sys, threading, time
from concurrent import futures
from v2meow_jax.cli import ending

ending._SECONDS = 0.5

def main():
  threading.Thread(target=time.sleep, args=(1000,)).start()
  futures.ThreadPoolExecutor().submit(time.sleep, 1000)
  atexit.register(time.sleep, 1000)
  atexit.register(print, 'left', flush=True)
  print('last line', flush=True)
  {end}

ending.run(main)
"""


@pytest.mark.parametrize(
  ('end', 'code', 'said'),
  [
    ('return 0', 0, ''),
    ('return 66', 66, ''),
    ('sys.exit(2)', 2, ''),
    ('sys.exit("no such file")', 1, 'no such file'),
    ('assert False, "a bug"', 1, 'AssertionError: a bug'),
    ('signal.raise_signal(signal.SIGINT)', 130, 'interrupted'),
  ],
)
def test_threads_that_never_end_do_not_keep_a_command(
  root, end, code, said, heeded_signals
):
  with subprocess.Popen(
    [sys.executable, '-c', _STUCK.format(end=end)],
    cwd=root,
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  ) as process:
    assert process.stdout.readline() == 'last line\n'
    try:
      out, errors = process.communicate(timeout=_HANGS_SECONDS)
    finally:
      process.kill()
  assert process.returncode == code
  assert said in errors
  assert out == 'left\n'


_HALF_STARTED = """
import threading
from v2meow_jax.cli import ending

def main():
  start = threading._start_new_thread

  def interrupted(*_):
    threading._start_new_thread = start
    raise KeyboardInterrupt

  threading._start_new_thread = interrupted
  threading.Thread(target=print).start()

ending.run(main)
"""


def test_a_command_ends_that_is_interrupted_as_it_starts_a_thread(root):
  done = subprocess.run(
    [sys.executable, '-c', _HALF_STARTED],
    cwd=root, capture_output=True, text=True, timeout=_HANGS_SECONDS,
  )  # fmt: skip
  assert (done.returncode, done.stdout) == (130, '')
  assert done.stderr.strip() == 'v2meow: interrupted'


# As a compiler that is at work in a library, where no handler of Python runs.
_BUSY = """
import hashlib, sys
from v2meow_jax.cli import main
from v2meow_jax.cli.verbs import train

def run(args):
  print('started', flush=True)
  hashlib.pbkdf2_hmac('sha256', b'', b'', 2_000_000_000)

train.run = run
sys.argv = ['v2meow', 'train', '--gin_file=x.gin']
main.run()
"""


def test_a_run_that_is_stopped_before_its_first_step_asks_to_start_again(root):
  with subprocess.Popen(
    [sys.executable, '-c', _BUSY], cwd=root, stdout=subprocess.PIPE,
    stderr=subprocess.PIPE, text=True,
  ) as process:  # fmt: skip
    assert process.stdout.readline() == 'started\n'
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
  assert process.returncode == 75
  assert 'start again' in errors


@pytest.mark.data
@pytest.mark.timeout(1500)
def test_every_verb_ends_soon_after_its_last_line(root, tmp_path):
  done = subprocess.run(
    [
      *(sys.executable, '-m', 'tests.fakes.endings', str(tmp_path)),
      *('--times-of-plain', '4'),  # The command alone runs these, too, 20 times.
    ],
    cwd=root, capture_output=True, text=True,
  )  # fmt: skip
  assert done.returncode == 0, done.stdout + done.stderr[-2000:]
  rows = [json.loads(line) for line in done.stdout.splitlines()]
  for row in rows:
    is_threaded = row['command'].startswith(endings.THREADED)
    assert sum(row['codes'].values()) >= (20 if is_threaded else 4)
  assert {row['verb'] for row in rows if row['way'] == 'error'} == {
    *main._VERBS
  }
  assert {row['way'] for row in rows} == {'error', 'success', 'Ctrl-C'}


@pytest.mark.parametrize('streams', [(), (1, 2)])
def test_a_command_that_hangs_is_noticed(streams, monkeypatch):
  def hang(*_):
    os.write(1, b'last line\n')
    for stream in streams:
      os.close(stream)
    time.sleep(1000)

  monkeypatch.setattr(endings, '_IMPORTED', ())
  monkeypatch.setattr(endings, '_become', hang)
  (end,) = endings.Zygote().run([endings.Run('train')])
  assert (end.code, end.output) == (-signal.SIGKILL, 'last line\n')
  assert end.share > endings.MOST_OF_START


def test_a_command_that_computes_in_silence_does_not_hang(monkeypatch):
  def compute(*_):
    os.write(1, b'first line\n')
    while time.process_time() < 1.0:
      pass
    os.write(1, b'last line\n')
    os._exit(0)

  monkeypatch.setattr(endings, '_IMPORTED', ())
  monkeypatch.setattr(endings, '_become', compute)
  zygote = endings.Zygote()
  zygote.import_seconds = 0.2
  (end,) = zygote.run([endings.Run('train')])
  assert (end.code, end.output) == (0, 'first line\nlast line\n')
  assert end.share < endings.MOST_OF_START
