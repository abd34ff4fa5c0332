"""The verb `v2meow evaluate`, and `v2meow evaluate table`."""

from __future__ import annotations

import argparse
import os
import sys

_EXIT_INCOMPLETE = 1
_OF_SYSTEMS = ('control', 'num', 'seconds', 'probe_per_genre')


def add(verbs) -> None:
  """Adds the verb to the command line."""
  parser = verbs.add_parser(
    'evaluate',
    help='score music, or a system under controls; print the tables',
    description=(
      'Scores the clips of one folder against those of another, or a system on'
      ' clips that it makes itself: for real, shuffled and blank video and for'
      ' prompts that contradict it. Writes scores.json, per_clip.csv, report.md'
      ' and plots. Ends with 1 when clips were left out or metrics not computed:'
      ' the report has the reasons. docs/evaluation.md tells more.'
    ),
    epilog=(
      'examples:\n'
      '  v2meow evaluate --generated takes --reference music -o report\n'
      '  v2meow evaluate --system embedded --dataset synthetic --num 32'
      ' -o report\n'
      '  v2meow evaluate table report'
    ),
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  add_option = parser.add_argument
  add_option('--generated', metavar='DIR', help='clips that are scored')
  add_option(
    '--reference',
    metavar='DIR',
    help=(
      'their true music, by the same names; any audio or video; NAME_1, NAME_2'
      ' and so on are takes of NAME'
    ),
  )
  add_option(
    '--system',
    help='folder of a system, or embedded: generates what is scored',
  )
  add_option(
    '--control',
    type=lambda text: text.split(','),
    help='of --system: some of shuffle,blank,prompt,stage2; default: all',
  )
  add_option('--num', type=int, help='of --system: clips; default: 32')
  add_option(
    '--seconds', type=float, help='of --system: of a scene; default: 10'
  )
  add_option(
    '--probe_per_genre',
    type=int,
    help=(
      'of --system: synthetic clips of a genre that the judge of genres is'
      ' fitted on; default: 40'
    ),
  )
  add_option(
    '--prompts',
    metavar='FILE',
    help='of the generated clips: json lines of id and caption',
  )
  add_option(
    '--metrics',
    type=lambda text: text.split(','),
    help='some of fad,kld,mcc,is,beats; default: fad,mcc,beats',
  )
  add_option(
    '--network',
    action='append',
    metavar='NAME',
    help='that listens; may be repeated; default: tiny-style, which ships',
  )
  add_option('--run_name', metavar='NAME', help='of the run, for tables')
  add_option('-o', '--output', metavar='REPORT', help='folder of the report')
  add_option(
    '--cache',
    metavar='DIR',
    help='of what networks heard, by content; default: in REPORT',
  )
  add_option(
    '--plots', type=int, default=4, help='pairs that are drawn; default: 4'
  )
  add_option(
    '--seed', type=int, default=0, help='of all that is drawn; default: 0'
  )
  add_option(
    '--dataset',
    help=(
      'with --system: synthetic (the default), or a folder or manifest of videos'
      ' with music; else the name of the data set, such as aist, for tables'
    ),
  )
  parser.set_defaults(run=_evaluate)
  kinds = parser.add_subparsers(dest='kind', metavar='table')
  table = kinds.add_parser(
    'table',
    help="lay runs into the paper's tables",
    description=(
      "Prints the paper's Tables 1, 2 and 4 as published, with a row for each"
      ' run; a cell that was not measured is blank.'
    ),
    epilog='example: v2meow evaluate table report_a report_b > tables.md',
  )
  table.add_argument(
    'runs', nargs='*', metavar='RUN', help='scores.json, or its folder'
  )
  table.set_defaults(run=_table)


def _evaluate(args: argparse.Namespace) -> int:
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
  return _control(args) if of_system else _compare(args)


def _networks(args: argparse.Namespace) -> list:
  from v2meow_jax.evaluation.listening import networks
  from v2meow_jax.evaluation.reports import runner

  names = dict.fromkeys(args.network or runner.DEFAULT_NETWORKS)
  return [networks.load(name) for name in names]


def _control(args: argparse.Namespace) -> int:
  from v2meow_jax.evaluation.controls import controls
  from v2meow_jax.evaluation.reports import metric_table
  from v2meow_jax.inference import compile_cache
  from v2meow_jax.inference import system

  metrics = args.metrics or metric_table.DEFAULT
  metric_table.chosen(metrics)
  given = {
    name: getattr(args, name)
    for name in ('num', 'seconds', 'probe_per_genre')
    if getattr(args, name) is not None
  }
  compile_cache.enable()
  report = controls.run(
    system.load(args.system),
    args.dataset or controls.SYNTHETIC,
    args.output,
    networks=_networks(args),
    controls=args.control or controls.CONTROLS,
    metrics=metrics,
    seed=args.seed,
    run_name=args.run_name,
    num_plots=args.plots,
    cache=args.cache,
    **given,
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
  """Prints what was found; the exit code."""
  from v2meow_jax.evaluation.reports import report as report_lib

  # Of a system, the control table is what one asked for.
  if report.sections:
    for heading, text in report.sections:
      print(f'{heading}\n\n{text}')
  elif report.scores is not None:
    print(report_lib.figures(report.scores.metrics))
  if report.scores is not None:
    print(report_lib.networks(report.scores))
  for name, why in report.missing.items():
    print(f'not computed: {name}: {why}', file=sys.stderr)
  for fault in report.faults:
    print(f'left out: {fault.name}: {fault.reason}', file=sys.stderr)
  print(f'{os.path.join(output, report_lib.REPORT_NAME)}: {report.summary}')
  return 0 if report.is_whole else _EXIT_INCOMPLETE


def _table(args: argparse.Namespace) -> None:
  from v2meow_jax.evaluation.reports import tables

  print(tables.main(args.runs), end='')
