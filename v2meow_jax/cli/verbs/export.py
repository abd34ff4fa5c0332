"""`v2meow export`: packs trained runs into a released system."""

import argparse
import itertools

from v2meow_jax.cli import flags

_TOWER_BATCHES = 8  # Enough for the centres of text and music.


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Adds the arguments of the verb."""
  parser.description = (
    'Packs the newest weights of the runs into the folder OUT.'
  )
  parser.epilog = (
    'examples:\n'
    '  v2meow export my_system --stages runs/semantic runs/coarse runs/fine'
    ' --codec runs/codec --style runs/style --features'
    ' data/features.safetensors\n'
    '  v2meow export my_system --stages runs/semantic runs/coarse runs/fine'
    ' --gin_file=prepare/paper.gin\n'
    '  v2meow export my_towers --towers --gin_file=runs/train.gin'
    ' --gin_file=contrastive.gin --gin.MANIFEST="\'music.jsonl\'"'
  )
  parser.add_argument(
    'out', help='new folder, here or in a bucket, for `generate --system`'
  )
  parser.add_argument(
    '--towers',
    action='store_true',
    help='export the style embedding that the run of --gin_file trained',
  )
  parser.add_argument(
    '--stages',
    nargs='+',
    metavar='MODEL_DIR',
    help='MODEL_DIRs of the stages, in the order in which they run',
  )
  flags.parts(parser)
  flags.recipes(parser, 'parts that the records were prepared with')
  flags.value(parser, '--name', 'v2meow', 'name of the system')
  parser.add_argument(
    '--dtype',
    choices=('float16', 'float32'),
    default='float16',
    help='type of the weights in the files; default: float16',
  )
  parser.add_argument(
    '--temperature',
    nargs='+',
    type=float,
    metavar='T',
    help=(
      'sampling temperature, one for all stages or one per stage; default: those'
      ' of the stages themselves'
    ),
  )


def run(args: argparse.Namespace) -> None:
  """Writes the system, or the towers, and prints the folder."""
  flags.check_bindings(args)
  if args.towers:
    print(_export_towers(args))
    return
  if not args.stages:
    raise ValueError('a system is made of --stages; name their MODEL_DIRs.')
  flags.check_parts(args)
  from v2meow_jax.inference import export  # pylint: disable=g-import-not-at-top

  print(
    export.export(
      args.out,
      stages=args.stages,
      parts=flags.preparation(args).parts,
      name=args.name,
      dtype=args.dtype,
      temperatures=args.temperature,
    )
  )


def _export_towers(args: argparse.Namespace):
  """Exports trained towers with the centres of their training data."""
  if not args.gin_file:
    raise ValueError(
      '--towers takes the command line of the run: --gin_file=runs/train.gin'
      ' --gin_file=contrastive.gin and --gin.MANIFEST.'
    )
  from v2meow_jax.inference import towers  # pylint: disable=g-import-not-at-top

  flags.parse_recipes(args)
  import gin  # pylint: disable=g-import-not-at-top

  batches = gin.get_configurable('TRAIN_BATCHES/macro')()
  some = itertools.islice(batches(0), _TOWER_BATCHES)
  return towers.export(gin.query_parameter('%MODEL_DIR'), args.out, some)
