"""Every row of the ledger is complete, and its reader exists."""

import importlib

from v2meow_jax.pretrained import ledger


def faults(artefact: ledger.Artefact) -> list[str]:
  """What is wrong with a row."""
  module, _, function = artefact.reader.rpartition('.')
  free = artefact.weights_licence in ('MIT', 'Apache-2.0')
  checks = {
    'no reader': callable(
      getattr(importlib.import_module(module), function, None)
    ),
    'no https': artefact.url.startswith('https://'),
    'no file': artefact.file_name and artefact.megabytes > 0,
    'no licence': artefact.code_licence and artefact.weights_licence,
    'not commercial': artefact.commercial or not free,
    'commercial': '-NC' not in artefact.weights_licence
    or artefact.commercial is False,
    'not found by name': ledger.find(artefact.name) is artefact,
  }
  return [fault for fault, passed in checks.items() if not passed]


def test_rows_are_complete_and_their_readers_are_there():
  wrong = {a.name: f for a in ledger.ARTEFACTS if (f := faults(a))}
  assert not wrong, wrong


def test_names_are_unique():
  names = [a.name for a in ledger.ARTEFACTS]
  assert len(set(names)) == len(names)
