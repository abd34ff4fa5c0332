"""Compiled programs are kept per processor, where the user keeps caches."""

import errno
import pathlib

import jax
import pytest

from v2meow_jax.evaluation.metrics import numba_cache
from v2meow_jax.files import copies
from v2meow_jax.files import private_files
from v2meow_jax.inference.programs import compile_cache
from v2meow_jax.pretrained import store


@pytest.fixture(autouse=True)
def settings(monkeypatch):
  names = (
    'jax_compilation_cache_dir',
    'jax_persistent_cache_min_compile_time_secs',
    'jax_persistent_cache_min_entry_size_bytes',
  )
  before = {name: getattr(jax.config, name) for name in names}
  monkeypatch.delenv('JAX_COMPILATION_CACHE_DIR', raising=False)
  monkeypatch.delenv(compile_cache.VARIABLE, raising=False)
  compile_cache.processor.cache_clear()
  yield
  compile_cache.processor.cache_clear()
  for name, value in before.items():
    jax.config.update(name, value)


def enabled() -> pathlib.Path:
  folder = compile_cache.enable()
  assert folder is not None
  return folder


def test_the_cache_lies_in_the_users_cache_folder(tmp_path, monkeypatch):
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
  folder = enabled()
  assert folder.parent == tmp_path / 'v2meow'
  assert jax.config.jax_compilation_cache_dir == str(folder)
  assert compile_cache.enable() == folder


def test_all_that_is_kept_lies_in_one_folder(tmp_path, monkeypatch):
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
  for variable in (copies.DIR_VARIABLE, store.VARIABLE, 'NUMBA_CACHE_DIR'):
    monkeypatch.delenv(variable, raising=False)
  kept = [enabled(), copies._folder(), store.default_dir()]
  kept.append(numba_cache._folder('1'))
  assert {folder.parent for folder in kept} == {tmp_path / 'v2meow'}
  assert len(set(kept)) == len(kept)


def test_a_variable_names_the_folder_or_turns_it_off(tmp_path, monkeypatch):
  monkeypatch.setenv(compile_cache.VARIABLE, str(tmp_path / 'here'))
  assert enabled().parent == tmp_path / 'here'
  before = jax.config.jax_compilation_cache_dir
  for none in ('', 'gs://bucket/programs'):
    monkeypatch.setenv(compile_cache.VARIABLE, none)
    assert compile_cache.enable() is None
  assert jax.config.jax_compilation_cache_dir == before


def test_another_processor_has_another_folder(tmp_path, monkeypatch):
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
  here = compile_cache.enable()
  compile_cache.processor.cache_clear()
  monkeypatch.setattr('platform.machine', lambda: 'another')
  assert compile_cache.enable() != here


def test_a_folder_that_jax_was_given_is_respected(tmp_path, monkeypatch):
  monkeypatch.setenv('JAX_COMPILATION_CACHE_DIR', str(tmp_path))
  assert compile_cache.enable() is None


def test_a_folder_that_others_may_write_to_is_not_used(tmp_path, monkeypatch):
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
  folder = enabled()
  jax.config.update('jax_compilation_cache_dir', None)
  folder.chmod(0o777)
  assert compile_cache.enable() is None
  assert jax.config.jax_compilation_cache_dir is None


def test_a_folder_that_cannot_be_written_is_not_used(tmp_path, monkeypatch):
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
  before = jax.config.jax_compilation_cache_dir

  def fails(*_, **__):
    raise OSError(errno.EROFS, 'Read-only file system')

  for target, fault in (
    ('pathlib.Path.mkdir', fails),
    ('os.access', lambda *_: False),
  ):
    with monkeypatch.context() as patch:
      patch.setattr(target, fault)
      assert compile_cache.enable() is None
  assert jax.config.jax_compilation_cache_dir == before


def test_a_home_that_cannot_be_written_is_no_error(tmp_path, monkeypatch):
  (tmp_path / 'file').write_text('')
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'file'))
  assert compile_cache.enable() is None


def test_the_folder_is_bounded(tmp_path, monkeypatch):
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
  monkeypatch.setattr(compile_cache, 'MAX_BYTES', 5000)
  folder = enabled()
  for name in 'abc':
    private_files.write(folder, name, bytes(2000))
  compile_cache.enable()
  assert len(list(folder.iterdir())) == 2
