"""Examples in docstrings are what happens."""

import doctest
import importlib
import pathlib

import pytest

ROOT = pathlib.Path(__file__).parents[1]


def modules():
  """Those with an example."""
  for path in sorted((ROOT / 'v2meow_jax').rglob('*.py')):
    if '>>> ' in path.read_text(encoding='utf-8'):
      yield '.'.join(path.relative_to(ROOT).with_suffix('').parts)


@pytest.mark.parametrize('name', modules())
def test_examples_of_a_module_are_what_happens(name):
  results = doctest.testmod(importlib.import_module(name))
  assert results.failed == 0
