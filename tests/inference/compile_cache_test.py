"""Compiled programs are kept per processor, where the user keeps caches."""

import errno

import jax
import pytest

from v2meow_jax.inference import compile_cache


@pytest.fixture
def settings():
  names = (
    'jax_compilation_cache_dir',
    'jax_persistent_cache_min_compile_time_secs',
    'jax_persistent_cache_min_entry_size_bytes',
  )
  before = {name: getattr(jax.config, name) for name in names}
  yield
  for name, value in before.items():
    jax.config.update(name, value)


def test_the_cache_lies_in_the_users_cache_folder(
  tmp_path, monkeypatch, settings
):
  monkeypatch.delenv('JAX_COMPILATION_CACHE_DIR', raising=False)
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
  folder = compile_cache.enable()
  assert folder.parent == tmp_path / 'v2meow_jax'
  assert jax.config.jax_compilation_cache_dir == str(folder)
  assert compile_cache.enable() == folder


def test_another_processor_has_another_folder(tmp_path, monkeypatch, settings):
  monkeypatch.delenv('JAX_COMPILATION_CACHE_DIR', raising=False)
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
  here = compile_cache.enable()
  monkeypatch.setattr('platform.machine', lambda: 'another')
  assert compile_cache.enable() != here


def test_a_folder_that_the_user_named_is_respected(tmp_path, monkeypatch):
  monkeypatch.setenv('JAX_COMPILATION_CACHE_DIR', str(tmp_path))
  assert compile_cache.enable() is None


def test_a_folder_that_cannot_be_read_or_written_is_not_used(
  tmp_path, monkeypatch, settings
):
  monkeypatch.delenv('JAX_COMPILATION_CACHE_DIR', raising=False)
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
  before = jax.config.jax_compilation_cache_dir

  def fails(*_, **__):
    raise OSError(errno.EROFS, 'Read-only file system')

  for target in ('tempfile.TemporaryFile', 'pathlib.Path.iterdir'):
    with monkeypatch.context() as patch:
      patch.setattr(target, fails)
      assert compile_cache.enable() is None
  assert jax.config.jax_compilation_cache_dir == before


def test_a_home_that_cannot_be_written_is_no_error(tmp_path, monkeypatch):
  monkeypatch.delenv('JAX_COMPILATION_CACHE_DIR', raising=False)
  (tmp_path / 'file').write_text('')
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'file'))
  assert compile_cache.enable() is None
