"""Processes that compile the same functions at once never mix their code."""

import fcntl
import pathlib
import re

from numba.core import caching
import pytest

from v2meow_jax.evaluation.metrics import numba_cache

librosa = numba_cache.librosa()

ROOT = pathlib.Path(numba_cache.__file__).parents[3]


@pytest.fixture
def index(tmp_path):
  """Makes the index of one function, as each process has it."""
  numba_cache.librosa()
  return lambda stamp='source': caching.IndexDataCacheFile(
    str(tmp_path), 'localmax', stamp
  )


def test_code_is_of_the_types_that_it_was_compiled_for(index):
  first, second = index(), index()
  first._load_index = dict  # Both looked before either had written.
  write = second._save_data

  def write_last(name, code):
    first.save('of ints', 'code for ints')
    write(name, code)

  second._save_data = write_last
  second.save('of floats', 'code for floats')
  assert index().load('of ints') == 'code for ints'
  assert index().load('of floats') in (None, 'code for floats')


def test_a_process_that_ends_between_index_and_code_leaves_no_older_code(index):
  index('older source').save('of ints', 'older code')
  ended = index()
  ended._save_data = lambda *_: None
  ended.save('of ints', 'code')
  assert index().load('of ints') is None
  index().save('of ints', 'code')
  assert index().load('of ints') == 'code'


@pytest.mark.parametrize('variable', ['XDG_CACHE_HOME', 'NUMBA_CACHE_DIR'])
def test_without_a_folder_that_can_be_written_to_one_is_made(
  variable, tmp_path, monkeypatch
):
  (tmp_path / 'file').write_text('')
  monkeypatch.delenv('NUMBA_CACHE_DIR', raising=False)
  monkeypatch.setenv(variable, str(tmp_path / 'file'))
  folder = numba_cache._folder('1')
  (folder / 'written').write_text('')
  assert tmp_path not in folder.parents


def test_each_version_has_a_folder_of_its_own(tmp_path, monkeypatch):
  monkeypatch.setenv('NUMBA_CACHE_DIR', str(tmp_path))
  assert numba_cache._folder('1') != numba_cache._folder('2')
  assert numba_cache._folder('1').parent == tmp_path


def test_no_other_process_compiles_while_modules_are_imported(
  tmp_path, monkeypatch
):
  tried = []

  def look(name):
    with (folder / 'lock').open() as lock, pytest.raises(BlockingIOError):
      fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    tried.append(name)

  monkeypatch.setattr(caching.config, 'CACHE_DIR', caching.config.CACHE_DIR)
  monkeypatch.setattr(numba_cache.importlib, 'import_module', look)
  (folder := tmp_path / 'folder').mkdir()
  monkeypatch.setattr(numba_cache, '_folder', lambda _: folder)
  numba_cache.librosa.__wrapped__()
  source = pathlib.Path(librosa.__file__).parent
  compiling = [
    'librosa.' + '.'.join(path.relative_to(source).with_suffix('').parts)
    for path in source.rglob('*.py')
    if 'guvectorize' in path.read_text()
  ]
  assert sorted(tried) == ['librosa', *sorted(compiling)]
  with (folder / 'lock').open() as lock:
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_librosa_is_imported_in_one_place():
  others = [
    path
    for room in ('v2meow_jax', 'tests', 'benchmarks')
    for path in (ROOT / room).rglob('*.py')
    if re.search(r'^ *import librosa', path.read_text(), re.M)
    and path.stem != 'numba_cache'
  ]
  assert not others
