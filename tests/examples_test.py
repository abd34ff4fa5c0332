"""Examples in docstrings are what happens."""

import doctest
import importlib
import pathlib

ROOT = pathlib.Path(__file__).parents[1]


def modules():
  """Those with an example."""
  for path in sorted((ROOT / 'v2meow_jax').rglob('*.py')):
    if '>>> ' in path.read_text(encoding='utf-8'):
      yield '.'.join(path.relative_to(ROOT).with_suffix('').parts)


def test_examples_of_docstrings_are_what_happens():
  results = {
    name: doctest.testmod(importlib.import_module(name)) for name in modules()
  }
  assert len(results) > 20
  assert not {name: r for name, r in results.items() if r.failed}
