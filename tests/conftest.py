"""What every test runs under: the CPU, offline, and honest about TensorFlow."""

import collections
import gc
import os
import pathlib
import re
import signal
import sys

import hypothesis
import pytest

# Fixtures that tests of several rooms share.
pytest_plugins = [
  'tests.fakes.planted_dataset',
  'tests.fakes.memory_bucket',
  'tests.fakes.bucket_server',
]

_ROOT = pathlib.Path(__file__).resolve().parents[1]
_CACHE = _ROOT / '.pytest_cache'

# Libraries are most of what a test creates: looking for garbage as they are
# imported is a sixth of the time that takes.
gc.set_threshold(50_000, 5, 5)

# Before anything imports jax; subprocesses of tests inherit them.
os.environ.setdefault('JAX_PLATFORMS', 'cpu')
os.environ.setdefault('JAX_COMPILATION_CACHE_DIR', str(_CACHE / 'jax'))
# Whatever takes longer than to read it again, for other tests and processes.
os.environ.setdefault('JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS', '0.05')
os.environ.setdefault('NUMBA_CACHE_DIR', str(_CACHE / 'numba'))
# Tests change what programs are made of, by monkeypatches too: no file is kept.
_PROGRAMS = 'V2MEOW_PROGRAMS_DIR'
os.environ[_PROGRAMS] = ''
os.environ.setdefault('HF_HUB_OFFLINE', '1')
# Programs of tests run once or twice: compiling them is most of their time.
os.environ.setdefault('JAX_DISABLE_MOST_OPTIMIZATIONS', '1')
os.environ.setdefault('NUMBA_OPT', '0')
os.environ.setdefault('NUMBA_LOOP_VECTORIZE', '0')
# The older code generator of XLA takes half the time of that with MLIR, for the
# same plan of memory, and a third less if it leaves a program in one piece. Last
# digits may be others.
os.environ['XLA_FLAGS'] = (
  '--xla_cpu_use_fusion_emitters=false'
  ' --xla_cpu_parallel_codegen_split_count=1'
  f' {os.environ.get("XLA_FLAGS", "")}'
)
os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')
# Tests run side by side, and threads of torch and BLAS wait by spinning: with one
# for each process, files that compare with torch take a tenth less time.
for _name in ('OMP_NUM_THREADS', 'MKL_NUM_THREADS', 'OPENBLAS_NUM_THREADS'):
  os.environ.setdefault(_name, '1')

# The same examples everywhere, however busy the machine is.
hypothesis.settings.register_profile('v2meow', deadline=None, derandomize=True)
hypothesis.settings.load_profile('v2meow')

_TIERS = ('data', 'slow', 'torch', 't5x')


def pytest_ignore_collect(collection_path, config):
  """Does not even import a file whose every test is in a tier left out."""
  if not collection_path.name.endswith('_test.py'):
    return None
  wanted = config.getoption('markexpr', '')
  text = collection_path.read_text()
  for tier in _TIERS:
    whole_file = re.search(rf'^pytestmark = .*mark\.{tier}\b', text, re.M)
    if f'not {tier}' in wanted and whole_file:
      return True
  return None


def pytest_collection_finish():
  """Leaves what was imported and collected out of every later collection."""
  gc.collect()
  gc.freeze()
  if kept := sys.modules.get('v2meow_jax.inference.programs.kept'):
    _compile_once(kept.Program)


def _compile_once(program):
  """Lets systems that are loaded again in this process share their programs.

  While something is patched, programs are of code that their keys do not tell.
  """
  shared, patched = {}, set()
  make, patch = program._make, pytest.MonkeyPatch
  setattr_, setenv_, undo_ = patch.setattr, patch.setenv, patch.undo

  def make_once(self, key, *args):
    if patched or self._identity is None:
      return make(self, key, *args)
    if key not in shared:
      shared[key] = make(self, key, *args)
    return shared[key]

  def setattr(self, *args, **kwargs):
    patched.add(id(self))
    setattr_(self, *args, **kwargs)

  def setenv(self, name, *args, **kwargs):
    if name == _PROGRAMS:  # A test of where programs are kept.
      patched.add(id(self))
    setenv_(self, name, *args, **kwargs)

  def undo(self):
    undo_(self)
    patched.discard(id(self))

  program._make = make_once
  patch.setattr, patch.setenv, patch.undo = setattr, setenv, undo


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items):
  """Begins with the files that may take longest, so that workers end together."""
  seconds = collections.defaultdict(float)
  numbers = collections.Counter(item.path for item in items)
  for item in items:
    if mark := item.get_closest_marker('timeout'):
      seconds[item.path] = max(seconds[item.path], *mark.args)
  # Of those that say nothing, the files of many tests.
  items.sort(key=lambda item: (-seconds[item.path], -numbers[item.path]))


@pytest.fixture
def root() -> pathlib.Path:
  """The root of the repository."""
  return _ROOT


@pytest.fixture
def heeded_signals():
  """Signals that shells have ignored under nohup or `&` are heeded again."""
  heeded = {
    signal.SIGINT: signal.default_int_handler,
    signal.SIGHUP: signal.SIG_DFL,
  }
  before = {number: signal.signal(number, h) for number, h in heeded.items()}
  yield
  for number, handler in before.items():
    signal.signal(number, handler)


@pytest.fixture(autouse=True)
def _unit_tests_leave_tensorflow_alone(request):
  """Fails a test that brings TensorFlow into the fast tier unannounced."""
  before = 'tensorflow' in sys.modules
  yield
  marks = {mark.name for mark in request.node.iter_markers()}
  if before or marks.intersection(_TIERS):
    return
  assert 'tensorflow' not in sys.modules, (
    f'{request.node.nodeid} imported TensorFlow; mark it `data`, or find the'
    ' import in the library that should be inside a function.'
  )
