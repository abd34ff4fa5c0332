"""`v2meow experiments`: lists what the recipes describe, with sizes."""

import argparse
import dataclasses
import json

from v2meow_jax.cli import flags


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Adds the arguments of the verb."""
  parser.description = (
    'Builds every stage of gin/stages without allocating it, and lists what'
    ' trains it, its parameters, the positions of one example and the FLOPs of'
    ' training on it: matrix products, three times the forward pass.'
  )
  parser.epilog = (
    'examples, from the repository root:\n'
    '  v2meow experiments\n'
    '  v2meow experiments --gin_file=models/small.gin --json'
  )
  flags.recipes(
    parser, 'gin file to read after each recipe, such as models/small.gin'
  )
  parser.add_argument('--json', action='store_true', help='print json')


def run(args: argparse.Namespace) -> None:
  """Prints the table."""
  from v2meow_jax import experiments  # pylint: disable=g-import-not-at-top

  paths = args.gin_search_paths
  rows = (
    experiments.build(recipe, args.gin_file, args.gin_bindings, paths)
    for recipe in experiments.recipes(paths)
  )
  if args.json:
    print(json.dumps([dataclasses.asdict(row) for row in rows], indent=1))
    return
  print(experiments.HEADER)
  for experiment in rows:
    print(experiment.row, flush=True)
