"""The command `v2meow`: parses, imports what the verb needs, makes one call."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
import dataclasses
import itertools
import json
import os
import signal
import sys
import threading

import v2meow_jax
from v2meow_jax.cli import data
from v2meow_jax.cli import evaluate
from v2meow_jax.cli import explain
from v2meow_jax.cli import study
from v2meow_jax.cli import weights

_EXIT_USER_ERROR = 2
_TOWER_BATCHES = 8  # That tell the centres of text and music.
_INSIST_SECONDS = 0.05
_EXIT_INTERRUPTED = 130  # As shells have it: 128 + SIGINT.
_EXIT_PIPE = 141  # Likewise: 128 + SIGPIPE.
_MISSING = (
  '; what training and its data need is an extra: python -m pip install -c'
  " requirements.lock -e '.[train]'"
)


def _generate(args: argparse.Namespace) -> None:
  from v2meow_jax.inference import soundtrack  # pylint: disable=g-import-not-at-top
  from v2meow_jax.models.sampling import options  # pylint: disable=g-import-not-at-top

  soundtrack.write(
    args.video,
    args.output,
    prompt=args.prompt,
    style_audio=args.style_audio,
    seed=args.seed,
    sampling=[
      options.Sampling(temperature=temperature, top_k=args.top_k)
      for temperature in args.temperature or [None]
    ],
    rows=args.rows,
    takes=args.takes,
    system_dir=args.system,
  )


def _train(args: argparse.Namespace) -> int:
  from v2meow_jax import gin_config  # pylint: disable=g-import-not-at-top
  from v2meow_jax.training import distributed  # pylint: disable=g-import-not-at-top

  distributed.initialize()
  recipe = args.gin_file, args.gin_bindings, args.gin_search_paths
  gin_config.check_used(*recipe)
  gin_config.parse(*recipe)
  import gin  # pylint: disable=g-import-not-at-top
  from v2meow_jax.training import loop  # pylint: disable=g-import-not-at-top
  from v2meow_jax.training.monitoring import health  # pylint: disable=g-import-not-at-top
  from v2meow_jax.training.monitoring import preemption  # pylint: disable=g-import-not-at-top

  train = gin.get_configurable('loop.train')
  del loop
  if args.dry_run:
    _dry_run(args)
    return 0
  if args.num_examples is not None or args.utilisation is not None:
    raise ValueError('--num_examples and --utilisation go with --dry_run.')
  try:
    train(config_text=gin.config_str())
  except (preemption.Preempted, health.Unhealthy) as e:
    print(f'v2meow: {" ".join(str(e).split())}', file=sys.stderr)
    return e.exit_code
  return 0


def _dry_run(args: argparse.Namespace) -> None:
  import gin  # pylint: disable=g-import-not-at-top
  from v2meow_jax.training import dry_run  # pylint: disable=g-import-not-at-top

  run = gin.get_bindings('loop.train')
  num_examples, utilisation = args.num_examples, args.utilisation
  if utilisation is None:
    utilisation = dry_run.DEFAULT_UTILISATION
  if num_examples is None:
    try:
      num_examples = run['train_batches'].num_examples
    except FileNotFoundError:
      pass  # The data is elsewhere.
  for name, licence in getattr(run['train_batches'], 'licences', {}).items():
    print(f'dataset     {name}; {licence}')
  lines = dry_run.report(
    run,
    batch_size=gin.query_parameter('%BATCH_SIZE'),
    num_examples=num_examples,
    utilisation=utilisation,
  )
  for line in lines:
    print(line, flush=True)


def _experiments(args: argparse.Namespace) -> None:
  from v2meow_jax import experiments  # pylint: disable=g-import-not-at-top

  paths = args.gin_search_paths
  found = (
    experiments.build(recipe, args.gin_file, args.gin_bindings, paths)
    for recipe in experiments.recipes(paths)
  )
  if args.json:
    print(json.dumps([dataclasses.asdict(e) for e in found], indent=1))
    return
  print(experiments.HEADER)
  for experiment in found:
    print(experiment.row, flush=True)


def _export(args: argparse.Namespace) -> None:
  from v2meow_jax.inference import export  # pylint: disable=g-import-not-at-top

  if args.gin_bindings and not args.gin_file:
    raise ValueError('--gin.NAME=VALUE goes with --gin_file.')
  if args.towers:
    print(_export_towers(args))
    return
  if not args.stages:
    raise ValueError('a system is made of --stages; name their MODEL_DIRs.')
  print(
    export.export(
      args.out,
      stages=args.stages,
      parts=data.preparation(args).parts,
      name=args.name,
      dtype=args.dtype,
      temperatures=args.temperature,
    )
  )


def _export_towers(args: argparse.Namespace):
  """The towers that a recipe trained, with the centres of its training data."""
  from v2meow_jax.inference import towers  # pylint: disable=g-import-not-at-top

  if not args.gin_file:
    raise ValueError(
      '--towers takes the command line of the run: --gin_file=runs/train.gin'
      ' --gin_file=contrastive.gin and --gin.MANIFEST.'
    )
  data.parse_recipe(args)
  import gin  # pylint: disable=g-import-not-at-top

  batches = gin.get_configurable('TRAIN_BATCHES/macro')()
  some = itertools.islice(batches(0), _TOWER_BATCHES)
  return towers.export(gin.query_parameter('%MODEL_DIR'), args.out, some)


def _doctor(args: argparse.Namespace) -> int:
  from v2meow_jax import doctor  # pylint: disable=g-import-not-at-top

  del args
  return doctor.main()


def _add_generate(verbs) -> None:
  parser = verbs.add_parser(
    'generate',
    help='make a soundtrack for a video',
    description=(
      'Makes a soundtrack for a video. OUT.mp4 keeps the picture as it is'
      ' and gets the new sound; OUT.wav and OUT.flac hold the sound alone.'
      ' OUT.mp4.json beside it says how it was made.'
    ),
    epilog=(
      'examples:\n'
      '  v2meow generate cat.mp4 -o out.mp4\n'
      '  v2meow generate cat.mp4 -o out.wav --prompt "calm piano" --seed 3\n'
      '  v2meow generate cat.mp4 -o out.mp4 --takes 4   # out_1.mp4 ...'
    ),
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  parser.add_argument('video', help='mp4, mov, mkv, webm or avi')
  parser.add_argument(
    '-o', '--output', required=True, help='.mp4, .wav or .flac'
  )
  style = parser.add_mutually_exclusive_group()
  style.add_argument(
    '--prompt',
    help='style in words: genre, instruments, mood; default: the picture',
  )
  style.add_argument('--style-audio', help='a piece of music as the style')
  parser.add_argument(
    '--seed', type=int, default=0, help='another seed, another take; default: 0'
  )
  parser.add_argument(
    '--temperature',
    nargs='+',
    type=float,
    metavar='T',
    help=(
      'higher is freer, lower is safer, 0 takes the likeliest; one for all'
      " stages or one per stage, in their order; default: the system's own"
    ),
  )
  parser.add_argument(
    '--top-k', type=int, help='draw from the k likeliest codes only'
  )
  parser.add_argument(
    '--rows',
    type=int,
    help=(
      'windows in a call of each stage, and takes made together: more is faster'
      " and rounds otherwise; default: the system's own, and take by take"
    ),
  )
  parser.add_argument(
    '--takes',
    type=int,
    default=1,
    help='make N, from seed to seed+N-1; default: 1',
  )
  parser.add_argument(
    '--system', help='folder of a released system; default: the embedded one'
  )
  parser.set_defaults(run=_generate)


def _add_train(verbs) -> None:
  parser = verbs.add_parser(
    'train',
    help='train a stage, the codec or the style embedding',
    description=(
      'Trains what the gin files name, and goes on where MODEL_DIR stopped.'
      ' Order: run, stage, overrides; later files win. Ends with 75 after'
      ' SIGTERM, when it is saved and may be started again, and with 66 when'
      ' too many steps in a row were not finite.'
    ),
    epilog=(
      'example, from the repository root:\n  v2meow train'
      ' --gin_file=runs/train.gin --gin_file=stages/semantic.gin \\\n'
      '    --gin_file=tiny.gin --gin.MODEL_DIR="\'runs/semantic\'"'
    ),
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  parser.add_argument(
    '--gin_file', action='append', required=True, help='may be repeated'
  )
  data.add_search_paths(parser)
  parser.add_argument(
    '--dry_run',
    action='store_true',
    help=(
      'print what it would take, and neither allocate, read nor write; for a'
      ' mesh of N devices set XLA_FLAGS=--xla_force_host_platform_device_count=N'
    ),
  )
  parser.add_argument(
    '--num_examples',
    type=int,
    help='of a dry run: recordings of an epoch; default: those of the data',
  )
  parser.add_argument(
    '--utilisation',
    type=float,
    help='of a dry run: share of the peak that chips reach; default: 0.4',
  )
  parser.set_defaults(run=_train, takes_gin_bindings=True)


def _add_experiments(verbs) -> None:
  parser = verbs.add_parser(
    'experiments',
    help='list the experiments that the recipes describe, with their sizes',
    description=(
      'Builds every stage of gin/stages without allocating it, and lists what'
      ' trains it, its parameters, the positions of one example and the FLOPs'
      ' of training on it: matrix products, three times the forward pass.'
    ),
    epilog=(
      'examples, from the repository root:\n'
      '  v2meow experiments\n'
      '  v2meow experiments --gin_file=models/small.gin --json'
    ),
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  parser.add_argument(
    '--gin_file',
    action='append',
    default=[],
    help='read after each recipe, such as models/small.gin; may be repeated',
  )
  data.add_search_paths(parser)
  parser.add_argument('--json', action='store_true', help='for programs')
  parser.set_defaults(run=_experiments, takes_gin_bindings=True)


def _add_export(verbs) -> None:
  parser = verbs.add_parser(
    'export',
    help='pack trained runs into a system that `generate` plays',
    description='Packs the newest weights of the runs into the folder OUT.',
    epilog=(
      'examples:\n'
      '  v2meow export my_system --stages runs/semantic runs/coarse runs/fine'
      ' --codec runs/codec --style runs/style --features'
      ' data/features.safetensors\n'
      '  v2meow export my_system --stages runs/semantic runs/coarse runs/fine'
      ' --gin_file=prepare/paper.gin\n'
      '  v2meow export my_towers --towers --gin_file=runs/train.gin'
      ' --gin_file=contrastive.gin --gin.MANIFEST="\'music.jsonl\'"'
    ),
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  parser.add_argument('out', help='folder, for `generate --system`')
  parser.add_argument(
    '--towers',
    action='store_true',
    help='export a style embedding instead: the run of --gin_file',
  )
  parser.add_argument(
    '--stages',
    nargs='+',
    metavar='MODEL_DIR',
    help='of the stages, in the order they run',
  )
  data.add_parts(parser)
  data.add_recipe(parser, 'the parts of the records, instead')
  parser.add_argument(
    '--name', default='v2meow', help='of the system; default: v2meow'
  )
  parser.add_argument(
    '--dtype',
    choices=('float16', 'float32'),
    default='float16',
    help='of the weights in the files; default: float16',
  )
  parser.add_argument(
    '--temperature',
    nargs='+',
    type=float,
    metavar='T',
    help=(
      'what the system samples with, one for all stages or one per stage;'
      ' default: what each stage was described with'
    ),
  )
  parser.set_defaults(run=_export, takes_gin_bindings=True)


def parser() -> argparse.ArgumentParser:
  """The whole command line."""
  top = argparse.ArgumentParser(
    prog='v2meow', description='Music for a video, stage by stage, on JAX.'
  )
  top.add_argument(
    '--version', action='version', version=v2meow_jax.__version__
  )
  verbs = top.add_subparsers(dest='verb', required=True)
  _add_generate(verbs)
  explain.add(verbs)
  data.add(verbs)
  _add_experiments(verbs)
  _add_train(verbs)
  _add_export(verbs)
  evaluate.add(verbs)
  weights.add(verbs)
  study.add(verbs)
  doctor = verbs.add_parser(
    'doctor', help='say what is installed and which parts work'
  )
  doctor.set_defaults(run=_doctor)
  return top


def _insist(lost) -> None:
  """Asks again for a Ctrl-C that came inside a callback, where it is dropped."""
  if not isinstance(lost.exc_value, KeyboardInterrupt):
    sys.__unraisablehook__(lost)
    return
  threading.Timer(_INSIST_SECONDS, signal.raise_signal, [signal.SIGINT]).start()


def main(argv: Sequence[str] | None = None) -> int:
  """Runs a command; returns 0, 2 for the user's error, 130 for Ctrl-C.

  A reader of its output that leaves, such as `head`, ends it with 141.

  `train` also returns 75 when it was asked to stop and has saved (start it
  again), and 66 when too many steps in a row were skipped (look at the data).
  """
  top = parser()
  given = list(sys.argv[1:] if argv is None else argv)
  # What follows -- is Beam's; argparse would mix it with our own.
  end = given.index('--') if '--' in given else len(given)
  args, unknown = top.parse_known_args(given[:end])
  args.beam_options = given[end + 1 :]
  args.gin_bindings = [
    u.removeprefix('--gin.') for u in unknown if u.startswith('--gin.')
  ]
  strange = [u for u in unknown if not u.startswith('--gin.')]
  if args.gin_bindings and not getattr(args, 'takes_gin_bindings', False):
    strange = unknown
  if args.beam_options and not getattr(args, 'takes_beam_options', False):
    strange += args.beam_options
  if strange:
    top.error(f'unrecognized arguments: {" ".join(strange)}')
  sys.unraisablehook = _insist
  try:
    code = args.run(args) or 0
    sys.stdout.flush()
    return code
  except BrokenPipeError:
    # `| head` has seen enough; at exit Python would try to write the rest.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return _EXIT_PIPE
  except (ValueError, OSError, ImportError) as e:
    message = ' '.join(str(e).split()).partition(' In call to config')[0]
    # Also where gin tells of it: recipes import what only training needs.
    if 'No module named' in message:
      message += _MISSING
    print(f'v2meow: error: {message}', file=sys.stderr)
    return _EXIT_USER_ERROR
  except KeyboardInterrupt:
    print('v2meow: interrupted', file=sys.stderr)
    return _EXIT_INTERRUPTED


if __name__ == '__main__':
  sys.exit(main())
