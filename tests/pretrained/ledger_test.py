"""Every row of the ledger is complete, and its reader exists."""

import importlib

import pytest

from v2meow_jax.pretrained import ledger


@pytest.mark.parametrize('artefact', ledger.ARTEFACTS, ids=lambda a: a.name)
def test_a_row_is_complete_and_its_reader_is_there(artefact):
  module, _, function = artefact.reader.rpartition('.')
  assert callable(getattr(importlib.import_module(module), function))
  assert artefact.url.startswith('https://')
  assert artefact.file_name and artefact.megabytes > 0
  assert artefact.code_licence and artefact.weights_licence
  if artefact.weights_licence in ('MIT', 'Apache-2.0'):
    assert artefact.commercial
  if '-NC' in artefact.weights_licence:
    assert artefact.commercial is False
  assert ledger.find(artefact.name) is artefact


def test_names_are_unique():
  names = [a.name for a in ledger.ARTEFACTS]
  assert len(set(names)) == len(names)
