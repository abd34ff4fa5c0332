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
    'system', nargs='?', help='folder of a system; default: the embedded one'
  )


def run(args: argparse.Namespace) -> None:
  """Prints a line for each part and each published network."""
  from v2meow_jax.files import released  # pylint: disable=g-import-not-at-top
  from v2meow_jax.inference import system  # pylint: disable=g-import-not-at-top
  from v2meow_jax.pretrained import ledger  # pylint: disable=g-import-not-at-top

  config = released.read_config_alone(system.folder(args.system))
  print(f'system {config["name"]}:')
  for part, licence in config['licences'].items():
    if isinstance(licence, dict):  # A published network's.
      licence = '; '.join(f'{name}: {value}' for name, value in licence.items())
    print(f'  {part}: {licence}')
  print('published weights that extractors and codecs read:')
  for a in ledger.ARTEFACTS:
    print(
      f'  {a.name}: code {a.code_licence}; weights {a.weights_licence};'
      f' commercial use: {COMMERCIAL[a.commercial]}; {a.page}'
    )
