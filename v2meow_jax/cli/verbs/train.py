"""`v2meow train`: trains what a recipe describes."""

import argparse
import sys

from v2meow_jax.cli import flags


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Adds the arguments of the verb."""
  parser.description = (
    'Trains the model of the gin files, and continues from the newest'
    ' checkpoint in MODEL_DIR. Order: run, stage, overrides; later files win.'
    ' Exits with 75 after SIGTERM, once the step is saved, or at once before the'
    ' first (start it again), and with 66 when too many steps in a row were not finite.'
  )
  parser.epilog = (
    'example, from the repository root:\n  v2meow train'
    ' --gin_file=runs/train.gin --gin_file=stages/semantic.gin \\\n'
    '    --gin_file=tiny.gin --gin.MODEL_DIR="\'runs/semantic\'"'
  )
  flags.recipes(parser, 'recipe of the run', required=True)
  parser.add_argument(
    '--dry_run',
    action='store_true',
    help=(
      'print the memory and time of the run, and neither allocate, read nor'
      ' write; for a mesh of N devices set'
      ' XLA_FLAGS=--xla_force_host_platform_device_count=N'
    ),
  )
  parser.add_argument(
    '--topology',
    help=(
      'with --dry_run: slice of TPUs to plan for, by their own compiler, which'
      " needs jax[tpu] and no TPU; such as 'v5e:4x4'"
    ),
  )
  parser.add_argument(
    '--num_examples',
    type=int,
    help='with --dry_run: recordings in an epoch; default: those of the data',
  )
  parser.add_argument(
    '--utilisation',
    type=float,
    help='with --dry_run: share of its peak that a chip reaches; default: 0.4',
  )


def run(args: argparse.Namespace) -> int:
  """Trains, or prints what training would take; returns the exit code."""
  of_dry_run = args.num_examples, args.utilisation, args.topology
  if not args.dry_run and any(value is not None for value in of_dry_run):
    raise ValueError(
      '--num_examples, --utilisation and --topology go with --dry_run.'
    )
  flags.check_recipes(args)
  from v2meow_jax.training import distributed  # pylint: disable=g-import-not-at-top

  distributed.initialize()
  flags.parse_recipes(args)
  import gin  # pylint: disable=g-import-not-at-top
  from v2meow_jax.training import loop  # pylint: disable=g-import-not-at-top
  from v2meow_jax.training.checkpoints import stored_step  # pylint: disable=g-import-not-at-top
  from v2meow_jax.training.monitoring import health  # pylint: disable=g-import-not-at-top
  from v2meow_jax.training.monitoring import preemption  # pylint: disable=g-import-not-at-top

  train = gin.get_configurable('loop.train')
  del loop
  # Before data are opened.
  stored_step.absolute(gin.query_parameter('%MODEL_DIR'))
  if args.dry_run:
    _dry_run(args)
    return 0
  code = 0
  try:
    train(config_text=gin.config_str())
  except (preemption.Preempted, health.Unhealthy) as e:
    message = ' '.join(str(e).split()).partition(' In call to config')[0]
    print(f'v2meow: {message}', file=sys.stderr)
    code = e.exit_code
  else:
    print(gin.query_parameter('%MODEL_DIR'))
  distributed.leave()
  return code


def _dry_run(args: argparse.Namespace) -> None:
  import gin  # pylint: disable=g-import-not-at-top
  from v2meow_jax.training import dry_run  # pylint: disable=g-import-not-at-top

  if args.topology is not None:
    devices = dry_run.tpu_devices(args.topology)
    with gin.unlock_config():
      # A function, since gin copies what is bound, and devices have no copies.
      gin.bind_parameter('mesh.make_mesh.devices', lambda: devices)
  bindings = gin.get_bindings('loop.train')
  num_examples, utilisation = args.num_examples, args.utilisation
  if utilisation is None:
    utilisation = dry_run.DEFAULT_UTILISATION
  if num_examples is None:
    try:
      num_examples = bindings['train_batches'].num_examples
    except FileNotFoundError:
      pass  # The data is elsewhere.
  for name, licence in getattr(
    bindings['train_batches'], 'licences', {}
  ).items():
    print(f'dataset     {name}; {licence}')
  lines = dry_run.report(
    bindings,
    batch_size=gin.query_parameter('%BATCH_SIZE'),
    num_examples=num_examples,
    utilisation=utilisation,
  )
  for line in lines:
    print(line, flush=True)
