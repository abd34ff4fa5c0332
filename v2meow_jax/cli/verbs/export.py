"""`v2meow export`: packs trained runs, or a system anew, into a system."""

import argparse
import itertools

from v2meow_jax.cli import flags

_TOWER_BATCHES = 8  # Enough for the centres of text and music.


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Adds the arguments of the verb."""
  parser.description = (
    'Packs the newest weights of the runs into the folder OUT, or a system anew'
    ' with weights of another type.'
  )
  parser.epilog = (
    'examples:\n'
    '  v2meow export my_system --stages runs/semantic runs/coarse runs/fine'
    ' --codec runs/codec --style runs/style --features'
    ' data/features.safetensors\n'
    '  v2meow export my_system --stages runs/semantic runs/coarse runs/fine'
    ' --gin_file=prepare/paper.gin\n'
    '  v2meow export small_system --system my_system --weights int8\n'
    '  v2meow export my_towers --towers --gin_file=runs/train.gin'
    ' --gin_file=contrastive.gin --gin.MANIFEST="\'music.jsonl\'"'
  )
  parser.add_argument(
    'out',
    help=(
      'folder, here or in a bucket, for `generate --system`; a system that is'
      ' there is replaced'
    ),
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
  parser.add_argument(
    '--system',
    dest='packed',
    metavar='FOLDER',
    help=(
      'system to pack anew, in the place of --stages and parts, such as with'
      ' --weights int8, or the name of one that ships: songs, tiny'
    ),
  )
  flags.parts(parser)
  flags.recipes(parser, 'parts that the records were prepared with')
  parser.add_argument(
    '--name',
    help="name of the system; default: v2meow, or that of --system's",
  )
  parser.add_argument(
    '--licence',
    metavar='TEXT',
    help=(
      'licence of the weights and where they come from, which `v2meow licenses`'
      " prints; default: not stated, or that of --system's"
    ),
  )
  parser.add_argument(
    '--weights',
    choices=('float16', 'float32', 'int8'),
    default='float16',
    help=(
      'type of the weights in the files. int8: those of the products of stages,'
      ' with a scale for each output channel; half the size of float16, and'
      ' hardly other music (docs/generating.md). default: float16'
    ),
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
  if bool(args.stages) == bool(args.packed):
    raise ValueError(
      'a system is made of --stages, whose MODEL_DIRs are named, or of another'
      ' --system; give one of the two.'
    )
  if args.packed:
    flags.check_no_parts(args)
  else:
    flags.check_parts(args)
  from v2meow_jax.inference import export  # pylint: disable=g-import-not-at-top
  from v2meow_jax.inference import system  # pylint: disable=g-import-not-at-top

  options = {'weights': args.weights, 'temperatures': args.temperature}
  given = {'name': args.name, 'licence': args.licence}
  options |= {name: text for name, text in given.items() if text}
  if args.packed:
    print(export.export_again(args.out, system.folder(args.packed), **options))
    return
  parts = flags.preparation(args).parts
  print(export.export(args.out, stages=args.stages, parts=parts, **options))


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
