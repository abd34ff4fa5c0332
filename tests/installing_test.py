"""Advice to install names the Python that lacks what is missing."""

import sys

import pytest

from v2meow_jax import installing


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
  assert installing.extra('eval') == wanted
  monkeypatch.chdir(venv)
  assert installing.extra().endswith('-c requirements.lock -e .')


def test_from_elsewhere_it_is_quoted_for_a_shell(venv, tmp_path, monkeypatch):
  monkeypatch.setenv('VIRTUAL_ENV', str(tmp_path / 'other'))
  monkeypatch.chdir(tmp_path)
  wanted = f"'{venv}/bin/python' -m pip install gcsfs"
  assert installing.command('gcsfs') == wanted


def test_where_it_is_activated_it_is_python(venv, monkeypatch):
  monkeypatch.setenv('VIRTUAL_ENV', str(venv))
  assert installing.command('gcsfs') == 'python -m pip install gcsfs'
