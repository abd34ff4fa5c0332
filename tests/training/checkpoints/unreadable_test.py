"""Storage that fails for a moment, or for good, condemns no checkpoint."""

import errno
import os
import shutil
import subprocess
import sys

import pytest

from tests.fakes import planted_states
from v2meow_jax.training.checkpoints import checkpoints
from v2meow_jax.training.checkpoints import stored_step

ERRORS = (errno.EIO, errno.ESTALE, errno.EMFILE, errno.ETIMEDOUT)


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
  """Waits of attempts are short."""
  monkeypatch.setattr(stored_step, 'RETRY_SECONDS', (0.01,) * 3)


@pytest.fixture
def model_dir(tmp_path):
  with checkpoints.Checkpoints(tmp_path) as saved:
    for step in (1, 2):
      saved.save(planted_states.state(step), {})
  return tmp_path


def failing(monkeypatch, number, times):
  """Listings of folders fail, so often."""
  real, left = os.listdir, iter(range(times))

  def listdir(path='.'):
    if next(left, None) is not None:
      raise OSError(number, os.strerror(number), str(path))
    return real(path)

  monkeypatch.setattr(os, 'listdir', listdir)


@pytest.mark.slow
@pytest.mark.parametrize('number', ERRORS)
def test_a_folder_that_cannot_be_listed_is_not_an_empty_one(
  model_dir, monkeypatch, number
):
  with checkpoints.Checkpoints(model_dir) as saved:
    with monkeypatch.context() as m:
      failing(m, number, times=100)
      with pytest.raises(stored_step.UnreadableError):
        saved.latest_step()
    with monkeypatch.context() as m:
      failing(m, number, times=2)
      assert saved.latest_step() == 2


# Fails each read of a restore in turn, once and for good.
_PROGRAM = """
import ctypes, pathlib, sys
from tests.fakes import planted_states
from v2meow_jax.training.checkpoints import checkpoints
from v2meow_jax.training.checkpoints import stored_step

stored_step.RETRY_SECONDS = (0.0,) * 3
faults = ctypes.CDLL(sys.argv[1])
faults.faults_count.restype = ctypes.c_long
faults.faults_set.argtypes = [
    ctypes.c_char_p, ctypes.c_int, ctypes.c_long, ctypes.c_long]
path = pathlib.Path(sys.argv[2])
folder = path / 'checkpoints'
never = 10**9

def fail(number, first, last):
  faults.faults_set(str(folder).encode(), number, first, last)

def names():
  fail(0, never, never)
  return sorted(p.name for p in folder.iterdir())

with checkpoints.Checkpoints(path) as saved:
  like = planted_states.state(0)
  saved.restore(like)
  fail(0, never, never)
  saved.restore(like)
  reads = faults.faults_count()
  assert reads > 20, reads
  for number in map(int, sys.argv[3].split(',')):
    for n in range(0, reads, int(sys.argv[4])):
      fail(number, n, n + 1)
      planted_states.assert_is_that_of_step(saved.restore(like), 2)
      fail(number, n, never)
      try:
        # What orbax can do without may be lost for good.
        planted_states.assert_is_that_of_step(saved.restore(like), 2)
      except stored_step.UnreadableError:
        pass
      assert names() == ['1', '2'], (number, n, names())
print(reads)
"""


@pytest.mark.skipif(not shutil.which('cc'), reason='needs a C compiler')
@pytest.mark.slow
@pytest.mark.parametrize('every', [7, 1])
def test_no_read_that_fails_condemns_a_step(model_dir, root, tmp_path, every):
  library = tmp_path / 'faults.so'
  source = root / 'tests' / 'fakes' / 'faults.c'
  subprocess.run(
    ['cc', '-shared', '-fPIC', '-w', '-o', library, source, '-ldl'], check=True
  )
  done = subprocess.run(
    [
      sys.executable, '-c', _PROGRAM, library, model_dir,
      ','.join(map(str, ERRORS)), str(every),
    ],
    cwd=root,
    capture_output=True,
    text=True,
    env={
      **os.environ, 'PYTHONPATH': str(root), 'LD_PRELOAD': str(library),
    },
  )  # fmt: skip
  assert done.returncode == 0, done.stderr
  assert int(done.stdout) > 20, 'reads that were made to fail'


def test_a_bucket_that_does_not_answer_condemns_no_step(model_dir, monkeypatch):
  unavailable = type('HttpError', (Exception,), {'__module__': 'gcsfs.retry'})

  def read(path):
    raise unavailable('Service Unavailable, 503')

  monkeypatch.setattr(stored_step, '_read_facts', read)
  path = stored_step.absolute(model_dir) / 'checkpoints' / '2'
  with pytest.raises(stored_step.UnreadableError, match='503'):
    stored_step.facts(path)
