"""Advice to install names the Python that lacks what is missing."""

import sys

import pytest

import v2meow_jax


@pytest.fixture
def venv(tmp_path, monkeypatch):
  folder = tmp_path / 'my work' / '.venv'
  monkeypatch.setattr(sys, 'prefix', str(folder))
  monkeypatch.setattr(sys, 'executable', str(folder / 'bin' / 'python'))
  folder.mkdir(parents=True)
  return folder


def test_without_activating_it_is_the_python_of_the_command(venv, monkeypatch):
  monkeypatch.delenv('VIRTUAL_ENV', raising=False)
  monkeypatch.chdir(venv.parent)
  wanted = ".venv/bin/python -m pip install -c requirements.lock -e '.[eval]'"
  assert v2meow_jax.extra_command('eval') == wanted
  monkeypatch.chdir(venv)
  assert v2meow_jax.extra_command().endswith('-c requirements.lock -e .')


def test_from_elsewhere_it_is_quoted_for_a_shell(venv, tmp_path, monkeypatch):
  monkeypatch.setenv('VIRTUAL_ENV', str(tmp_path / 'other'))
  monkeypatch.chdir(tmp_path)
  wanted = f"'{venv}/bin/python' -m pip install gcsfs"
  assert v2meow_jax.install_command('gcsfs') == wanted


def test_where_it_is_activated_it_is_python(venv, monkeypatch):
  monkeypatch.setenv('VIRTUAL_ENV', str(venv))
  assert v2meow_jax.install_command('gcsfs') == 'python -m pip install gcsfs'
