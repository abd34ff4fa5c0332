"""A command ends soon after its last line, whatever its libraries still run."""

import concurrent.futures
import os
import select
import signal
import subprocess
import sys
import time

import pytest

# The threads of a command that hangs sleep for 1000 s.
_HANGS_SECONDS = 200.0
# The end of a command takes less than this many times its way to its last line.
_MOST_OF_START = 2.0

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
    ('signal.raise_signal(signal.SIGINT)', 1, 'KeyboardInterrupt'),
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


def _share_of_start(command, root, environment):
  """Code and last line of a command; its end as a share of the time before."""
  start = time.monotonic()
  with subprocess.Popen(
    [sys.executable, '-m', 'v2meow_jax.cli.main', *command],
    cwd=root,
    env={**os.environ, **environment},
    stdout=subprocess.PIPE,
    stderr=subprocess.STDOUT,
    # Shells have it ignored in what runs beside them.
    preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
  ) as process:
    output, at = b'', start
    pipe = process.stdout.fileno()
    while select.select([pipe], [], [], _HANGS_SECONDS)[0]:
      if not (more := os.read(pipe, 1 << 16)):
        break
      output, at = output + more, time.monotonic()
    try:
      process.wait(timeout=_MOST_OF_START * (at - start))
    except subprocess.TimeoutExpired:
      process.kill()
    share = (time.monotonic() - at) / (at - start)
    return process.wait(), output.decode().splitlines()[-1], share


_TRAIN = (
  'train', '--gin_file=runs/train.gin', '--gin_file=stages/semantic.gin',
  '--gin_file=tiny.gin',
)  # fmt: skip


@pytest.mark.slow
@pytest.mark.data
@pytest.mark.timeout(1500)
@pytest.mark.parametrize(
  ('command', 'code', 'times'),
  [
    (_TRAIN, 2, 20),
    (('doctor',), 0, 4),
    (('generate', 'missing.mp4', '-o', 'out.wav'), 2, 4),
    (('data', 'prepare', 'missing.jsonl', 'out'), 2, 4),
    (('evaluate', 'missing'), 2, 4),
    (('explain', 'missing.mp4', '-o', 'out'), 2, 4),
    (('export', 'out', '--stages', 'missing'), 2, 4),
  ],
)
def test_every_verb_ends_soon_after_its_last_line(
  root, tmp_path, command, code, times
):
  environment = {'V2MEOW_DATA_DIR': str(tmp_path), 'PYTHONUNBUFFERED': '1'}
  with concurrent.futures.ThreadPoolExecutor(4) as pool:
    ends = list(
      pool.map(
        lambda _: _share_of_start(command, root, environment),
        range(times),
      )
    )
  assert {c for c, *_ in ends} == {code}, ends
  assert all(share < _MOST_OF_START for *_, share in ends), ends


@pytest.mark.parametrize('streams', ['', '>&- 2>&-'])
def test_a_command_that_hangs_is_noticed(streams, root, monkeypatch, tmp_path):
  stand_in = tmp_path / 'python'
  stand_in.write_text(f'#!/bin/sh\necho last line\nexec sleep 1000 {streams}\n')
  stand_in.chmod(0o755)
  monkeypatch.setattr(sys, 'executable', str(stand_in))
  monkeypatch.setitem(globals(), '_HANGS_SECONDS', 0.5)
  code, last, share = _share_of_start([], root, {})
  assert (code, last) == (-signal.SIGKILL, 'last line')
  assert share >= _MOST_OF_START
