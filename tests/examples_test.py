"""Examples in docstrings are what happens."""

import doctest
import importlib
import pathlib

import pytest

ROOT = pathlib.Path(__file__).parents[1]


# TensorFlow lives there.
DATA = 'v2meow_jax.data.'


def modules():
  """Those with an example."""
  for path in sorted((ROOT / 'v2meow_jax').rglob('*.py')):
    if '>>> ' in path.read_text(encoding='utf-8'):
      yield '.'.join(path.relative_to(ROOT).with_suffix('').parts)


def failed(names):
  results = {
    name: doctest.testmod(importlib.import_module(name)) for name in names
  }
  assert results
  return {name: r for name, r in results.items() if r.failed}


def test_examples_of_docstrings_are_what_happens():
  names = [name for name in modules() if not name.startswith(DATA)]
  assert len(names) > 20
  assert not failed(names)


@pytest.mark.data
def test_examples_of_data_are_what_happens():
  assert not failed(name for name in modules() if name.startswith(DATA))
