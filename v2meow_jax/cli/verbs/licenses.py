"""`v2meow licenses`: prints the licences of a system and of weights."""

import argparse

COMMERCIAL = {True: 'yes', False: 'no', None: 'not stated'}


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Adds the arguments of the verb."""
  parser.description = (
    'Prints the licences of a system, and of the published weights that a'
    ' system may be built from.'
  )
  parser.epilog = 'example: v2meow licenses my_system'
  parser.add_argument(
    'system', nargs='?', help='folder of a system; default: the one of songs'
  )


def run(args: argparse.Namespace) -> None:
  """Prints a line for each part and each published network."""
  from v2meow_jax.files import released  # pylint: disable=g-import-not-at-top
  from v2meow_jax.inference import system  # pylint: disable=g-import-not-at-top
  from v2meow_jax.pretrained import ledger  # pylint: disable=g-import-not-at-top

  folder = system.folder(args.system)
  config = released.read_config_alone(folder)
  print(f'system {config.get("name", folder)}:')
  # Folders of towers state none.
  licences = config.get('licences') or {'weights': released.NOT_STATED}
  if not isinstance(licences, dict):
    raise released.DamagedSystem(
      f'{folder} states licences that are no table, {licences!r}; export again.'
    )
  for part, licence in licences.items():
    if isinstance(licence, dict):  # A published network's.
      licence = '; '.join(f'{name}: {value}' for name, value in licence.items())
    print(f'  {part}: {licence}')
  print('published weights that extractors and codecs read:')
  for a in ledger.ARTEFACTS:
    print(
      f'  {a.name}: code {a.code_licence}; weights {a.weights_licence};'
      f' commercial use: {COMMERCIAL[a.commercial]}; {a.page}'
    )
