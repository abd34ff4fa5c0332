"""`v2meow batch`: soundtracks for a list of videos, each exactly once."""

import argparse
from collections.abc import Sequence
import os
from typing import Any

from v2meow_jax.cli import finish_flags
from v2meow_jax.cli import flags
from v2meow_jax.cli.verbs import generate

_KINDS = ('run', 'status', 'retry', 'collect')
_FORMATS = ('mp4', 'mov', 'mkv', 'webm', 'wav', 'flac')
_ENGINES = ('ray', 'beam')
_BEAM_SHARDS = 64
# ours: with one, a clip is decoded only when the one before it is written.
_FEWEST_WORKERS = 2
_MOST_WORKERS = 8


def completed(words: Sequence[str]) -> list[str]:
  """A command line in which `batch MANIFEST` is `batch run MANIFEST`.

  >>> completed(['batch', 'clips.jsonl', '-o', 'music'])
  ['batch', 'run', 'clips.jsonl', '-o', 'music']
  >>> completed(['batch', 'status', 'music'])
  ['batch', 'status', 'music']
  """
  if words[:1] != ['batch'] or words[1:2] in ([], ['-h'], ['--help']):
    return list(words)
  if words[1] in _KINDS:
    return list(words)
  return ['batch', 'run', *words[1:]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Adds `run`, which may be left out, `status`, `retry` and `collect`."""
  parser.description = (
    'Makes soundtracks for every video of a list, on one machine or many, each'
    ' exactly once: `v2meow batch MANIFEST -o OUT` is short for `v2meow batch'
    ' run MANIFEST -o OUT`, whose options `v2meow batch run --help` lists.'
    ' docs/batch.md says more.'
  )
  kinds = parser.add_subparsers(dest='kind', required=True)
  _add_run(kinds)
  for name, text, example in (
    (
      'status',
      'say what is done, failed (and why) and left, and how long it takes',
      'v2meow batch status music',
    ),
    (
      'retry',
      'have failed items tried again by the next run',
      'v2meow batch retry music --reason time',
    ),
    (
      'collect',
      'write one list of all results, OUT/results.jsonl',
      'v2meow batch collect music',
    ),
  ):
    kind = kinds.add_parser(
      name, help=text, description=text, epilog=f'example: {example}'
    )
    kind.add_argument('out', metavar='OUT', help='folder of a batch')
    if name == 'retry':
      kind.add_argument(
        '--reason', help='only those that failed for it; default: all'
      )


def _add_run(kinds) -> None:
  run_parser = kinds.add_parser(
    'run',
    help='make what is not made yet; the word may be left out',
    description=(
      'Makes soundtracks for every video of MANIFEST: json lines or a .csv with'
      ' id, path and, where a video wants its own, prompt, negative, style_audio,'
      ' seed, plan, bpm, start, end, loudness or another option below; or a folder'
      ' of videos. OUT gets'
      ' ID.mp4 and ID.mp4.json of each, the same as `v2meow generate --rows`'
      ' makes. The same command again makes what is not made yet; one bad video'
      ' does not end it: OUT/failed.jsonl says what to mend. Exits with 0 when'
      ' all is done, 3 when items failed, 75 when it was asked to stop (start it'
      ' again), 2 when the call is wrong.'
    ),
    epilog=(
      'examples:\n'
      '  v2meow batch clips.jsonl -o music\n'
      '  v2meow batch videos/ -o music --format wav --prompt "calm piano"\n'
      '  v2meow batch gs://bucket/clips.csv -o gs://bucket/music --shard 0/4\n'
      '  v2meow batch clips.jsonl -o music --engine ray --actors 3\n'
      '  v2meow batch clips.jsonl -o music --engine beam --'
      ' --direct_running_mode=multi_processing --direct_num_workers=2\n'
      '  v2meow batch status music\n'
      '  v2meow batch retry music --reason time\n'
      '  v2meow batch collect music'
    ),
  )
  option = run_parser.add_argument
  option(
    'manifest', help='.jsonl, .csv or folder of videos, here or in a bucket'
  )
  option(
    '-o', '--output', required=True, metavar='OUT', help='folder of the results'
  )
  option(
    '--format',
    choices=_FORMATS,
    default='mp4',
    help='kind of the results; default: mp4',
  )
  option(
    '--shard',
    metavar='I/N',
    help=(
      'make the part I of N, such as 0/4; default: as SLURM_ARRAY_TASK_ID or'
      ' JOB_COMPLETION_INDEX (with V2MEOW_NUM_SHARDS) say, else all'
    ),
  )
  option(
    '--engine',
    choices=_ENGINES,
    help=(
      'what hands out shards: a Ray cluster (that of RAY_ADDRESS, or of this'
      ' machine; extra ray), or an Apache Beam pipeline (extra data), whose'
      ' options follow --; default: this process makes one shard'
    ),
  )
  option(
    '--actors',
    type=int,
    metavar='N',
    help=(
      'number of processes on the Ray cluster; default: one for each accelerator,'
      ' or for each node without any'
    ),
  )
  option(
    '--num_shards',
    '--num-shards',
    type=int,
    metavar='N',
    help=(
      'number of shards that an engine hands out; default: 4 for each actor of'
      f' Ray, {_BEAM_SHARDS} for Beam'
    ),
  )
  option(
    '--rows',
    type=int,
    help=(
      'number of windows in each call of a stage, and of clips made together, at'
      " most 256; other numbers may round differently; default: the system's own"
      ' and clip by clip on a CPU, where more make a flow slower, else 8'
    ),
  )
  option(
    '--workers',
    type=int,
    help=(
      'number of processes that read videos, and of those that write them, on'
      f' the CPU; default: half of the cores, {_FEWEST_WORKERS} to'
      f' {_MOST_WORKERS}'
    ),
  )
  option(
    '--time_limit',
    type=float,
    default=1800.0,
    metavar='SECONDS',
    help='time to read or to write one video; default: 1800',
  )
  option(
    '--memory_limit',
    type=float,
    default=4.0,
    metavar='GB',
    help='memory to read or to write one video; default: 4',
  )
  option(
    '--skip_bad_rows',
    '--skip-bad-rows',
    action='store_true',
    help='go on without rows that cannot be used, which are printed',
  )
  generate.add_options(run_parser)
  finish_flags.add(run_parser)
  finish_flags.add_best_of(run_parser)
  flags.system(run_parser)
  flags.computing(run_parser)


def run(args: argparse.Namespace) -> int:
  """Runs a batch, or says what has become of one; returns the exit code."""
  if args.kind == 'run':
    return _run(args)
  from v2meow_jax.jobs.generate import report  # pylint: disable=g-import-not-at-top

  if args.kind == 'status':
    print(report.status(args.out))
  elif args.kind == 'retry':
    print(report.retry(args.out, args.reason))
  else:
    print(report.collect(args.out))
  return 0


def _run(args: argparse.Namespace) -> int:
  cores = os.cpu_count() or 1
  if hasattr(os, 'sched_getaffinity'):  # Jobs of a cluster may use some alone.
    cores = len(os.sched_getaffinity(0))
  num_workers = args.workers
  if num_workers is None:
    num_workers = min(max(_FEWEST_WORKERS, cores // 2), _MOST_WORKERS)
  for flag, value in (
    ('--workers', num_workers),
    ('--time_limit', args.time_limit),
    ('--memory_limit', args.memory_limit),
  ):
    if not value > 0:
      raise ValueError(f'{flag} is {value:g}; wanted more than 0.')
  from v2meow_jax.jobs import shards  # pylint: disable=g-import-not-at-top
  from v2meow_jax.jobs.generate import items  # pylint: disable=g-import-not-at-top
  from v2meow_jax.jobs.generate import job  # pylint: disable=g-import-not-at-top
  from v2meow_jax.jobs.generate import workers  # pylint: disable=g-import-not-at-top
  from v2meow_jax.training.monitoring import preemption  # pylint: disable=g-import-not-at-top

  batch = job.Batch(
    manifest=args.manifest,
    out=args.output,
    defaults={name: getattr(args, name) for name in items.OPTIONS},
    system_dir=args.system,
    dtype=args.dtype,
    tensor=args.tensor,
    rows=args.rows,
    output_format=args.format,
    num_workers=num_workers,
    limits=workers.CallLimits(
      seconds=args.time_limit, memory_bytes=round(args.memory_limit * 1e9)
    ),
    skip_bad_rows=args.skip_bad_rows,
  )
  shard = shards.chosen(args.shard)
  if args.engine:
    return _run_engine(args, batch, shard)
  if args.actors is not None or args.num_shards is not None:
    raise ValueError(
      '--actors and --num_shards go with --engine; one process makes one --shard.'
    )
  with preemption.Notice() as notice:
    return job.run(batch, shard, is_stopped=lambda: notice.is_signalled)


def _run_engine(args: argparse.Namespace, batch: Any, shard: Any) -> int:
  if shard.count > 1:
    raise ValueError(
      f'--engine {args.engine} hands out all shards, and this is to be shard'
      f' {shard}; leave out --shard, or run it outside of the array.'
    )
  if args.engine == 'beam':
    if args.actors is not None:
      raise ValueError(
        '--actors is of --engine ray; options of Beam follow --, such as --'
        ' --direct_num_workers=2.'
      )
    from v2meow_jax.jobs.engines import beam_engine  # pylint: disable=g-import-not-at-top

    num_shards = _BEAM_SHARDS if args.num_shards is None else args.num_shards
    return beam_engine.run(
      batch, num_shards=num_shards, options=args.beam_options
    )
  from v2meow_jax.jobs.engines import ray_engine  # pylint: disable=g-import-not-at-top
  from v2meow_jax.training.monitoring import preemption  # pylint: disable=g-import-not-at-top

  with preemption.Notice() as notice:
    return ray_engine.run(
      batch,
      num_actors=args.actors,
      num_shards=args.num_shards,
      is_stopped=lambda: notice.is_signalled,
    )
