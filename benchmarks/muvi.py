"""Trains MuVi's tiny recipe on the synthetic world, and measures its music.

python -m benchmarks.muvi --json out.json
python -m benchmarks.muvi --world 16 --pretraining_steps 12 --synchrony_steps 12 \\
  --train_steps 20 --early_steps 6 --few_steps 6 --context_steps 6 \\
  --ablation_steps 6 --masked_steps 6 --num 4   # a first look

Stopped, the same command goes on: worlds, records and runs that are whole in
--folder stay. Then, on held-out scenes of 10 s:

  real          music for a video against the truth of its scene
  shuffled      the same music against the truth of every other scene
  blank         music for a grey video against the truth of every scene
  in context    music for a video that goes on from music of another genre, by a
                run that met pictures of other genres (in_context)
  N steps       the first clips with 4 to 50 steps: seconds, and beats
  few_steps     a student that was straightened for 4 steps without guidance
  no_synchrony  without the contrastive pre-training
  early         MuVi after its first steps, with and without that pre-training
  sigmoid, ...  with the other adaptors, each with a pre-training of its own
  autoregressive, masked
                systems of codes: the tiny one, and with a stage that fills in
                masked codes in the place of its coarse and fine ones
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
import functools
import json
import pathlib
import sys
import time
from typing import Any

from benchmarks import correspondence
from benchmarks import muvi_runs
from benchmarks import muvi_scenes
from benchmarks import report
from v2meow_jax import media
from v2meow_jax.evaluation.controls import judges
from v2meow_jax.evaluation.metrics import bootstrap
from v2meow_jax.evaluation.metrics import scores
from v2meow_jax.evaluation.reports import tables

_QUICK_STEPS = (4, 8)
_DEFAULT_STEPS = {
  'pretraining_steps': 800,
  'synchrony_steps': 600,
  'train_steps': 2000,
  'early_steps': 100,
  'few_steps': 200,
  'context_steps': 6000,
  'ablation_steps': 2000,
  'masked_steps': 1900,
}


def measure(
  systems: Mapping[str, Any],
  others: Mapping[str, Any],
  options: argparse.Namespace,
) -> dict[str, Any]:
  """Generates music and judges it.

  Args:
    systems: MuVi's systems by the name of their run, 'muvi' among them.
    others: Systems of codes, 'autoregressive' among them, whose codec is that
      of the latents.
    options: Options of the command line.

  Returns:
    The figures, as in the json.
  """
  system, few = systems['muvi'], options.num_blank
  held = muvi_scenes.Scenes(system.codec, options)
  made, runs = _judge_runs(held, systems)
  real = runs.pop('muvi')
  shuffled = real.pop('shuffled')
  blank = held.generate(system, 'blank', few, blank=True)
  grey = judges.grids(correspondence.judge(blank, held.probe), held.scenes)
  codecs = (('latents', system), ('codes', others['autoregressive']))
  figures = {
    'real': real,
    'shuffled': shuffled,
    'runs': runs,
    'blank': muvi_scenes.say(
      'blank', correspondence.each(bootstrap.grid_interval, grey)
    ),
    'in_context': held.in_context(systems.get('in_context', system)),
    'steps': {
      f'{n} steps': held.real(system, f'{n} steps', num=few, sampling=_steps(n))
      for n in options.steps
    },
    'others': {name: held.real(other, name) for name, other in others.items()},
    'ceiling': {
      name: correspondence.matched(held.judge(clips))
      for name, clips in (
        ('true_music', held.truths), ('round_trip', held.coded)
      )
    },
    'reconstruction_db': {
      name: muvi_scenes.round_trip_error(held.truths[:8], of.codec)
      for name, of in codecs
    },
    'seconds_per_clip': held.take_times(
      _timed(systems, others, options.steps), options.turns
    ),
    'beat_coverage': held.coverages(made),
    'num': {'real': len(made['muvi']), 'blank': len(blank), 'steps': few},
    'probe': {'accuracy': held.probe.accuracy, 'genres': held.probe.genres},
  }  # fmt: skip
  figures['verdict'] = {
    **correspondence.verdict(figures),
    'head_start': _head_start(runs),
  }
  return figures


def _steps(number: int) -> Any:
  """Options of a flow of so many steps."""
  from v2meow_jax.models.sampling import options as sampling_lib

  return sampling_lib.Sampling(steps=number)


def _judge_runs(
  held: muvi_scenes.Scenes, systems: Mapping[str, Any]
) -> tuple[dict[str, list[media.Audio]], dict[str, Any]]:
  """Music of each run, and how it is judged by its own scene and by others."""
  made = {}
  for name, system in systems.items():
    if name == 'few_steps':
      for n in _QUICK_STEPS:
        label = _quick(n)
        made[label] = held.generate(system, label, sampling=_steps(n))
    else:
      made[name] = held.generate(system, name)
  runs = {}
  for name, clips in made.items():
    grid = held.judge(clips)
    shuffled = correspondence.each(bootstrap.shuffled_interval, grid)
    runs[name] = {
      **muvi_scenes.say(name, correspondence.matched(grid)),
      'shuffled': muvi_scenes.say(f'{name}, shuffled', shuffled),
    }
  return made, runs


def _quick(steps: int) -> str:
  return f'few_steps, {steps}'


def _timed(
  systems: Mapping[str, Any], others: Mapping[str, Any], steps: Sequence[int]
) -> dict[str, Callable[..., Any]]:
  """What is timed, by the name of its row."""

  def with_steps(system, n):
    return functools.partial(system.generate, sampling=_steps(n))

  calls = {f'{n} steps': with_steps(systems['muvi'], n) for n in steps}
  if 'few_steps' in systems:
    quick = systems['few_steps']
    calls |= {_quick(n): with_steps(quick, n) for n in _QUICK_STEPS}
  return calls | {name: other.generate for name, other in others.items()}


def learnt(run: pathlib.Path) -> dict[str, float]:
  """What a run's last evaluation says of held-out examples.

  Args:
    run: Folder of the run.

  Returns:
    Its metrics; none where it has not been trained.
  """
  path = run / 'metrics.jsonl'
  if not path.exists():
    return {}
  lines = [json.loads(line) for line in path.read_text().splitlines()]
  found = {}
  for line in lines:
    found |= {k: x for k, x in line.items() if k.startswith('eval/')}
  return {name.removeprefix('eval/'): x for name, x in found.items()}


def _head_start(runs: dict[str, Any]) -> dict[str, bool]:
  """Whether MuVi is ahead early on, with disjoint intervals, by its adaptor."""
  if not {'early', 'early_no_synchrony'} <= runs.keys():
    return {}
  ahead, behind = runs['early'], runs['early_no_synchrony']
  return {m: ahead[m]['low'] > behind[m]['high'] for m in judges.METRICS}


def show(figures: dict[str, Any]) -> str:
  """Prints the figures as tables."""
  rows = [
    *((name, figures[name]) for name in ('real', 'shuffled', 'blank')),
    ('in context', figures['in_context']),
    ('ceiling: true music', figures['ceiling']['true_music']),
    ('ceiling: round trip', figures['ceiling']['round_trip']),
    *figures['steps'].items(),
  ]
  for name, row in figures['runs'].items():
    rows += [(name, row), (f'{name}, shuffled', row['shuffled'])]
  rows += figures['others'].items()
  times = figures['seconds_per_clip']
  cells = [
    [
      name,
      *(str(bootstrap.Interval(**row[m])) for m in judges.METRICS),
      f'{times[name]:.2f}' if name in times else '',
    ]
    for name, row in rows
  ]
  context = figures['in_context']
  return '\n'.join(
    [
      report.table(['', *judges.METRICS, 's for 10 s'], cells),
      '',
      *(
        f'in context, genre of the {what}: '
        + str(bootstrap.Interval(**context[f'genre_of_the_{what}']))
        for what in ('prompt', 'picture')
      ),
      'log-mel error of a round trip, in dB: '
      + ', '.join(
        f'{name} {error:.2f}'
        for name, error in figures['reconstruction_db'].items()
      ),
      'synchrony, held out: '
      + ', '.join(
        f'{name} {figures["synchrony"][name]:.3f}'
        for name in ('retrieval', 'shift_auc', 'replacement_auc')
        if name in figures['synchrony']
      ),
      *(
        f'{what} with disjoint intervals: '
        + ', '.join(f'{m} {"yes" if yes else "NO"}' for m, yes in row.items())
        for what, row in (
          ('real above shuffled', figures['verdict']['disjoint']),
          ('early above early_no_synchrony', figures['verdict']['head_start']),
        )
        if row
      ),
      '',
      tables.markdown(_runs(figures), 'muvi'),
    ]
  )


def _runs(figures: dict[str, Any]) -> list[scores.Scores]:
  """The figures that stand in MuVi's own tables."""
  return [
    scores.Scores(
      run=name,
      dataset='synthetic',
      task='video',
      clips=tuple(str(i) for i in range(figures['num']['real'])),
      settings={},
      libraries={},
      metrics={
        metric: scores.Score(value=value, num_clips=figures['num']['real'])
        for metric, value in coverage.items()
      },
    )
    for name, coverage in figures['beat_coverage'].items()
  ]


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
  parser = report.parser(
    'benchmarks.muvi',
    "Trains MuVi's tiny recipe on the synthetic world and measures whether its"
    ' music follows the video, takes up a style in context, and what steps cost.',
    'python -m benchmarks.muvi --json out.json',
  )
  report.add_system(parser)
  add = parser.add_argument
  add(
    '--folder', default='out/muvi', help='of data and runs (default out/muvi)'
  )
  add('--world', type=report.positive, default=200, help='clips (default 200)')
  for name, steps in _DEFAULT_STEPS.items():
    text = f'of the run (default {steps}); 0 leaves it out'
    add(f'--{name}', type=int, default=steps, help=text)
  add(
    '--adaptors', nargs='*', default=muvi_runs.ADAPTORS,
    choices=muvi_runs.ADAPTORS, metavar='NAME',
    help='adaptors to train besides the softmax gate (default: all others,'
    f' {" ".join(muvi_runs.ADAPTORS)}); without a name none',
  )  # fmt: skip
  add(
    '--at_once', type=report.positive, default=2,
    help='trainings at a time; 1 where they share an accelerator (default 2)',
  )  # fmt: skip
  add('--num', type=report.positive, default=32, help='scenes (default 32)')
  add('--num_blank', type=report.positive, help='default: a quarter of --num')
  add('--seed', type=int, default=7, help='of the scenes (default 7)')
  add(
    '--steps', type=report.positive, nargs='+', default=[4, 8, 16, 25, 50],
    help='numbers of steps to compare (default 4 8 16 25 50)',
  )  # fmt: skip
  add('--turns', type=report.positive, default=5, help='timed (default 5)')
  add(
    '--probe_per_genre', type=report.positive, default=20,
    help='clips per genre that the classifier is fitted on (default 20)',
  )  # fmt: skip
  options = parser.parse_args(argv)
  options.num_blank = options.num_blank or max(1, options.num // 4)
  if options.num < 2 or options.num_blank > options.num:
    raise ValueError(
      f'--num is {options.num} and --num_blank {options.num_blank}; wanted two'
      ' scenes or more, of which blank ones are a part.'
    )
  if not options.system and options.train_steps < 1:
    raise ValueError('--train_steps is 0; give a --system, or train one.')
  return options


def main(argv: Sequence[str] | None = None) -> None:
  """Runs the benchmark."""
  options = _options(argv)
  report.check_json_path(options.json)
  start = time.perf_counter()
  folder = pathlib.Path(options.folder)
  folders, masked, synchrony = {'muvi': options.system}, {}, {}
  if not options.system:
    steps = {name: getattr(options, name) for name in _DEFAULT_STEPS}
    folders, masked = muvi_runs.train(
      folder, options.world, options.adaptors, steps, options.at_once
    )
    synchrony = learnt(folder / 'synchrony')
  of_codes = {'autoregressive': 'tiny', **masked}
  trained = time.perf_counter() - start
  from v2meow_jax.inference import system as system_lib

  systems, others = (
    {name: system_lib.load(path) for name, path in paths.items()}
    for paths in (folders, of_codes)
  )
  figures = measure(systems, others, options)
  figures['synchrony'] = synchrony
  print(show(figures))
  report.write_json(
    options.json,
    {
      'benchmark': 'muvi',
      **figures,
      'settings': vars(options),
      'system_sha256': systems['muvi'].digest,
      'training_seconds': round(trained, 1),
      'seconds': round(time.perf_counter() - start, 1),
    },
  )


if __name__ == '__main__':
  sys.exit(report.run(main))
