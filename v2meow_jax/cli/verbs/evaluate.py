"""`v2meow evaluate`: scores music or a system; `evaluate table` lays out runs."""

import argparse
import os
import sys

from v2meow_jax.cli import flags

_EXIT_INCOMPLETE = 1
_OF_SYSTEMS = ('control', 'num', 'seconds', 'probe_per_genre')


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Adds the arguments of the verb, and `table`."""
  parser.description = (
    'Scores the clips of one folder against those of another, or a system on'
    ' clips that it makes itself: for real, shuffled and blank video and for'
    ' prompts that contradict it. Writes scores.json, per_clip.csv, report.md'
    ' and plots. Exits with 1 when clips were left out or metrics not computed;'
    ' the report has the reasons. docs/evaluation.md says more.'
  )
  parser.epilog = (
    'examples:\n'
    '  v2meow evaluate --generated takes --reference music -o report\n'
    '  v2meow evaluate --system tiny --dataset synthetic --num 32'
    ' -o report\n'
    '  v2meow evaluate table report'
  )
  option = parser.add_argument
  option('--generated', metavar='DIR', help='folder of clips to score')
  option(
    '--reference',
    metavar='DIR',
    help=(
      'folder of their true music, under the same names; any audio or video;'
      ' NAME_1, NAME_2 and so on are takes of NAME'
    ),
  )
  option(
    '--system',
    help='folder or name of a system: generates the clips to score',
  )
  option(
    '--control',
    type=lambda text: text.split(','),
    help='with --system: some of shuffle,blank,prompt,stage2; default: all',
  )
  option('--num', type=int, help='with --system: number of clips; default: 32')
  option(
    '--seconds',
    type=float,
    help='with --system: length of a synthetic clip; default: 10',
  )
  option(
    '--probe_per_genre',
    type=int,
    help=(
      'with --system: number of synthetic clips of each genre to fit the judge'
      ' of genres on; default: 40'
    ),
  )
  option(
    '--prompts',
    metavar='FILE',
    help='prompts of the generated clips: json lines of id and caption',
  )
  option(
    '--metrics',
    type=lambda text: text.split(','),
    help=(
      'some of fad,kld,mcc,is,beats,retrieval; default: fad,mcc,beats and, of a'
      ' system that compares videos with music, retrieval'
    ),
  )
  option(
    '--network',
    action='append',
    metavar='NAME',
    help=(
      'network to score with; may be repeated; default: tiny-style, which comes'
      ' with the package'
    ),
  )
  option('--run_name', metavar='NAME', help='name of the run in tables')
  option('-o', '--output', metavar='REPORT', help='folder of the report')
  option(
    '--cache',
    metavar='DIR',
    help='cache of network outputs, by content; default: in REPORT',
  )
  flags.value(parser, '--plots', 4, 'number of pairs to draw')
  flags.value(parser, '--seed', 0, 'seed of every random draw')
  option(
    '--dataset',
    help=(
      'with --system: synthetic (the default), or a folder or manifest of videos'
      ' with music; else the name of the data set in tables, such as aist'
    ),
  )
  kinds = parser.add_subparsers(dest='kind', metavar='table')
  table = kinds.add_parser(
    'table',
    help='lay runs into the tables of a paper',
    description=(
      "Prints V2Meow's Tables 1, 2 and 4, or MuVi's 1 to 5, as published, with a"
      ' row for each run; a cell that was not measured is blank.'
    ),
    epilog=(
      'examples:\n'
      '  v2meow evaluate table report_a report_b > tables.md\n'
      '  v2meow evaluate table my_muvi --paper muvi'
    ),
  )
  table.add_argument(
    'runs', nargs='*', metavar='RUN', help='scores.json, or its folder'
  )
  table.add_argument(
    '--paper',
    choices=('v2meow', 'muvi'),
    default='v2meow',
    help='whose tables; default: v2meow',
  )


def run(args: argparse.Namespace) -> int:
  """Scores and reports, or prints tables; returns the exit code."""
  if args.kind == 'table':
    from v2meow_jax.evaluation.reports import tables

    print(tables.main(args.runs, args.paper), end='')
    return 0
  _check(args)
  return _control(args) if args.system is not None else _compare(args)


def _check(args: argparse.Namespace) -> None:
  folders = args.generated, args.reference
  of_system = args.system is not None
  if of_system == any(folders) or not (of_system or all(folders)):
    raise ValueError(
      'wanted either --generated DIR and --reference DIR, or --system SYSTEM.'
    )
  if args.plots < 0 or args.seed < 0:
    raise ValueError(
      f'--plots is {args.plots} and --seed {args.seed}; wanted 0 or more.'
    )
  if not args.output:
    raise ValueError('-o is missing; wanted a folder for the report.')
  for name in _OF_SYSTEMS:
    if not of_system and getattr(args, name) is not None:
      raise ValueError(f'--{name} goes with --system.')
  if of_system and args.prompts:
    raise ValueError('--prompts goes with --generated; see --control prompt.')


def _networks(args: argparse.Namespace) -> list:
  from v2meow_jax.evaluation.listening import networks
  from v2meow_jax.evaluation.reports import runner

  names = dict.fromkeys(args.network or runner.DEFAULT_NETWORKS)
  return [networks.load(name) for name in names]


def _control(args: argparse.Namespace) -> int:
  from v2meow_jax.evaluation.controls import controls
  from v2meow_jax.evaluation.controls import system_pairs
  from v2meow_jax.evaluation.reports import metric_table
  from v2meow_jax.inference import system
  from v2meow_jax.inference.programs import compile_cache

  metric_table.chosen(args.metrics or ())
  options = {
    name: getattr(args, name)
    for name in ('num', 'seconds', 'probe_per_genre')
    if getattr(args, name) is not None
  }
  compile_cache.enable()
  loaded = system.load(args.system)
  more = ('retrieval',) if system_pairs.compares(loaded) else ()
  report = controls.run(
    loaded,
    args.dataset or controls.SYNTHETIC,
    args.output,
    networks=_networks(args),
    controls=args.control or controls.CONTROLS,
    metrics=args.metrics or (*metric_table.DEFAULT, *more),
    seed=args.seed,
    run_name=args.run_name,
    num_plots=args.plots,
    cache=args.cache,
    **options,
  )
  return _show(report, args.output)


def _compare(args: argparse.Namespace) -> int:
  from v2meow_jax.evaluation.reports import comparison
  from v2meow_jax.evaluation.reports import metric_table

  metrics = args.metrics or metric_table.DEFAULT
  metric_table.chosen(metrics)
  report = comparison.compare(
    args.generated,
    args.reference,
    args.output,
    networks=_networks(args),
    prompts=args.prompts,
    metrics=metrics,
    run=args.run_name,
    dataset=args.dataset or 'own clips',
    seed=args.seed,
    num_plots=args.plots,
    cache=args.cache,
  )
  return _show(report, args.output)


def _show(report, output: str) -> int:
  """Prints the figures and what is missing; returns the exit code."""
  from v2meow_jax.evaluation.reports import report as report_lib

  # For a system, the control table is the answer.
  if report.sections:
    for heading, text in report.sections:
      print(f'{heading}\n\n{text}')
  elif report.scores is not None:
    scores = report.scores
    print(report_lib.figures(scores.metrics, scores.num_silent))
  if report.scores is not None:
    print(report_lib.networks(report.scores))
  for name, why in report.missing.items():
    print(f'not computed: {name}: {why}', file=sys.stderr)
  for name in report.silent:
    print(f'silent: {name}', file=sys.stderr)
  for fault in report.faults:
    print(f'left out: {fault.name}: {fault.reason}', file=sys.stderr)
  print(f'{os.path.join(output, report_lib.REPORT_NAME)}: {report.summary}')
  return 0 if report.is_whole else _EXIT_INCOMPLETE
