"""Trains MuVi's tiny recipe on the synthetic world, and measures its music.

python -m benchmarks.muvi --json out.json
python -m benchmarks.muvi --world 16 --pretraining_steps 12 --synchrony_steps 12 \\
  --train_steps 20 --early_steps 6 --few_steps 6 --context_steps 6 \\
  --ablation_steps 6 --num 4   # a first look

Stopped, the same command goes on: worlds, records and runs that are whole in
--folder stay. Then, on held-out scenes of 10 s:

  real          music for a video against the truth of its scene
  shuffled      the same music against the truth of every other scene
  blank         music for a grey video against the truth of every scene
  in context    music for a video that goes on from music of another genre, by a
                run that met pictures of other genres (in_context)
  N steps       the first clips with 4 to 50 steps: seconds, and beats
  few_steps     a student that was straightened for 4 steps without guidance
  no_synchrony  without the contrastive pre-training; by --variants others
  early         MuVi after its first steps, with and without that pre-training
  embedded      the tiny, autoregressive system, on the first clips
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
import dataclasses
import json
import pathlib
import sys
import tempfile
import time
from typing import Any

import numpy as np

from benchmarks import codec as codec_benchmark
from benchmarks import correspondence
from benchmarks import muvi_runs
from benchmarks import report
from v2meow_jax import media
from v2meow_jax.evaluation.controls import judges
from v2meow_jax.evaluation.metrics import beat_coverage
from v2meow_jax.evaluation.metrics import bootstrap
from v2meow_jax.evaluation.metrics import scores
from v2meow_jax.evaluation.reports import tables
from v2meow_jax.synthetic import held_out

SECONDS = muvi_runs.SECONDS
_ROWS = 8  # Clips whose windows share calls, where no time is taken.
_TIMED = 3  # Clips that are made one by one, to take the time.
_QUICK_STEPS = (4, 8)
_DEFAULT_STEPS = {
  'pretraining_steps': 800,
  'synchrony_steps': 600,
  'train_steps': 2000,
  'early_steps': 100,
  'few_steps': 200,
  'context_steps': 6000,
  'ablation_steps': 2000,
}


class _Scenes:
  """Held-out scenes, their videos, and their judge.

  Attributes:
    scenes: The scenes.
    truths: Their music.
    probe: Classifier of genres.
  """

  def __init__(self, codec: Any, options: argparse.Namespace):
    self.scenes = held_out.scenes(options.seed, options.num, SECONDS)
    self.truths = [
      held_out.music(s) for s in report.progress(self.scenes, 'true music')
    ]
    self.probe = judges.fit_probe(
      codec,
      per_genre=options.probe_per_genre,
      seconds=SECONDS,
      seed=options.seed,
    )
    self.coded = [judges.round_trip(codec, clip) for clip in self.truths]
    self._first_seed = 100_000 * options.seed

  def judge(self, clips: Sequence[media.Audio]) -> dict[str, np.ndarray]:
    """Every clip against the truth of every scene, or of the first ones."""
    judged = correspondence.judge(clips, self.probe)
    return judges.grids(judged, self.scenes[: len(clips)])

  def generate(
    self,
    system: Any,
    what: str,
    num: int | None = None,
    blank: bool = False,
    styles: Sequence[media.Audio] | None = None,
    **kwargs: Any,
  ) -> list[media.Audio]:
    """Music for the first scenes, several clips at a time."""
    from v2meow_jax.inference import requests as requests_lib

    scenes = self.scenes[:num]
    clips: list[media.Audio] = []
    for start in report.progress(range(0, len(scenes), _ROWS), what):
      with tempfile.TemporaryDirectory(prefix='v2meow_benchmark_') as folder:
        requests = [
          requests_lib.Request(
            video=held_out.write_video(
              scenes[i], pathlib.Path(folder), blank=blank
            ),
            seed=self._first_seed + i,
            style_audio=styles[i] if styles else None,
          )
          for i in range(start, min(start + _ROWS, len(scenes)))
        ]
        made = system.run_batch(requests, rows=_ROWS, **kwargs)
      clips += [soundtrack.audio for soundtrack in made]
    return clips

  def seconds(self, system: Any, **kwargs: Any) -> float:
    """Median time of a clip that is made alone, its video being read."""
    times = []
    with tempfile.TemporaryDirectory(prefix='v2meow_benchmark_') as folder:
      video = held_out.write_video(
        self.scenes[0], pathlib.Path(folder), blank=False
      )
      for seed in range(1 + _TIMED):  # The first one compiles.
        start = time.perf_counter()
        system.generate(video, seed=seed, **kwargs)
        times.append(time.perf_counter() - start)
    return float(np.median(times[1:]))


def measure(
  systems: dict[str, Any], embedded: Any, options: argparse.Namespace
) -> dict[str, Any]:
  """Generates music and judges it.

  Args:
    systems: Systems by the name of their run, 'muvi' among them.
    embedded: The autoregressive system, whose codec is that of the latents.
    options: Options of the command line.

  Returns:
    The figures, as in the json.
  """
  from v2meow_jax.models.sampling import options as sampling_lib

  system, few = systems['muvi'], options.num_blank
  held = _Scenes(system.codec, options)
  real = held.generate(system, 'real')
  made = {'muvi': real}
  grid = held.judge(real)
  figures = {
    'real': _say('real', correspondence.matched(grid)),
    'shuffled': _say(
      'shuffled', correspondence.each(bootstrap.shuffled_interval, grid)
    ),
    'runs': {},
  }
  for name, other in systems.items():
    if name not in ('muvi', 'few_steps'):
      made[name] = held.generate(other, name)
      figures['runs'][name] = _matched_and_shuffled(name, held, made[name])
  blank = held.generate(system, 'blank', few, blank=True)
  grey = judges.grids(correspondence.judge(blank, held.probe), held.scenes)
  figures['blank'] = _say(
    'blank', correspondence.each(bootstrap.grid_interval, grey)
  )
  if 'few_steps' in systems:
    quick, name = systems['few_steps'], 'few_steps'
    for steps in _QUICK_STEPS:
      sampling = sampling_lib.Sampling(steps=steps)
      label = f'{name}, {steps}'
      made[label] = held.generate(quick, label, sampling=sampling)
      figures['runs'][label] = {
        'seconds_per_clip': held.seconds(quick, sampling=sampling),
        **_matched_and_shuffled(label, held, made[label]),
      }
  learner = systems.get('in_context', system)
  figures['in_context'] = _in_context(held, learner, options)
  figures['seconds_per_clip'] = held.seconds(system)
  figures['steps'] = {}
  for steps in options.steps:
    sampling = sampling_lib.Sampling(steps=steps)
    clips = held.generate(system, f'{steps} steps', few, sampling=sampling)
    figures['steps'][steps] = {
      'seconds_per_clip': held.seconds(system, sampling=sampling),
      **_say(f'{steps} steps', correspondence.matched(held.judge(clips))),
    }
  figures['ceiling'] = {
    name: _say(name, correspondence.matched(held.judge(clips)))
    for name, clips in (('true_music', held.truths), ('round_trip', held.coded))
  }
  figures['reconstruction_db'] = {
    name: _round_trip_error(held.truths[:8], codec)
    for name, codec in (('latents', system.codec), ('codes', embedded.codec))
  }
  clips = held.generate(embedded, 'embedded', few)
  figures['embedded'] = {
    'seconds_per_clip': held.seconds(embedded),
    **_say('embedded', correspondence.matched(held.judge(clips))),
  }
  figures['beat_coverage'] = _coverages(held.truths, made)
  return {
    **figures,
    'num': {'real': len(real), 'blank': len(blank), 'steps': few},
    'probe': {'accuracy': held.probe.accuracy, 'genres': held.probe.genres},
    'verdict': {
      **correspondence.verdict(figures),
      'head_start': _head_start(figures['runs']),
    },
  }


def _say(name: str, row: dict[str, Any]) -> dict[str, Any]:
  """Prints a row as soon as it is known, and returns it."""
  cells = [f'{m} {bootstrap.Interval(**row[m])}' for m in judges.METRICS]
  print(name, *cells, sep='  ', flush=True)
  return row


def _matched_and_shuffled(
  name: str, held: _Scenes, clips: Sequence[media.Audio]
) -> dict[str, Any]:
  grid = held.judge(clips)
  return {
    **_say(name, correspondence.matched(grid)),
    'shuffled': _say(
      f'{name}, shuffled',
      correspondence.each(bootstrap.shuffled_interval, grid),
    ),
  }


def _in_context(
  held: _Scenes, system: Any, options: argparse.Namespace
) -> dict[str, Any]:
  """Music that goes on from another genre's: whose genre does it have?"""
  own = [s.genre for s in held.scenes]
  others = [held_out.other_genre(i, genre) for i, genre in enumerate(own)]
  prompts = _prompts(options, {*others})
  styles = [prompts[genre] for genre in others]
  clips = held.generate(system, 'in context', styles=styles)
  judged = correspondence.judge(clips, held.probe)
  followed, kept = (
    _mean([clip.genre == w for clip, w in zip(judged, wanted, strict=True)])
    for wanted in (others, own)
  )
  print('genre of the prompt', bootstrap.Interval(**followed), flush=True)
  return {
    **_say(
      'in context', correspondence.matched(judges.grids(judged, held.scenes))
    ),
    'genre_of_the_prompt': followed,
    'genre_of_the_picture': kept,
  }


def _prompts(
  options: argparse.Namespace, genres: set[str]
) -> dict[str, media.Audio]:
  """Music of each genre, of scenes that nothing else is made of."""
  scenes = held_out.scenes(options.seed + 1, 64, SECONDS)
  first = {s.genre: s for s in reversed(scenes)}
  return {genre: held_out.music(first[genre]) for genre in sorted(genres)}


def _mean(values: Sequence[bool]) -> dict[str, float]:
  return dataclasses.asdict(bootstrap.mean_interval(np.array(values)))


def _round_trip_error(clips: Sequence[media.Audio], codec: Any) -> float:
  errors = [
    codec_benchmark.log_mel_error(
      clip.samples, judges.round_trip(codec, clip).samples, clip.rate_hz
    )
    for clip in clips
  ]
  return float(np.mean(errors))


def _coverages(
  truths: Sequence[media.Audio], made: dict[str, list[media.Audio]]
) -> dict[str, dict[str, float]]:
  """BCS and BHS of MuVi's form, by the name of the music."""

  def bins(clips):
    return [beat_coverage.bins(clip, 'unadjusted') for clip in clips]

  wanted, found = bins(truths), {}
  for name, clips in made.items():
    # A picture a little longer than its scene has longer music.
    cut = [
      clip.fitted(len(truth.samples))
      for truth, clip in zip(truths, clips, strict=True)
    ]
    scored = beat_coverage.beat_coverage(wanted, bins(cut), form='unadjusted')
    found[name] = {metric: score.value for metric, score in scored.items()}
  return found


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
    *((f'{n} steps', row) for n, row in figures['steps'].items()),
  ]
  for name, row in figures['runs'].items():
    rows += [(name, row), (f'{name}, shuffled', row['shuffled'])]
  rows.append(('embedded, autoregressive', figures['embedded']))
  times = {'real': figures['seconds_per_clip']}
  cells = []
  for name, row in rows:
    taken = row.get('seconds_per_clip', times.get(name))
    cells.append(
      [
        name,
        *(str(bootstrap.Interval(**row[m])) for m in judges.METRICS),
        '' if taken is None else f'{taken:.2f}',
      ]
    )
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
    '--variants', action='store_true',
    help='train the other adaptors as well: '
    + ', '.join(muvi_runs.ADAPTORS),
  )  # fmt: skip
  add('--num', type=report.positive, default=32, help='scenes (default 32)')
  add('--num_blank', type=report.positive, help='default: a quarter of --num')
  add('--seed', type=int, default=7, help='of the scenes (default 7)')
  add(
    '--steps', type=report.positive, nargs='+', default=[4, 8, 16, 25, 50],
    help='numbers of steps to compare (default 4 8 16 25 50)',
  )  # fmt: skip
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
  folders, synchrony = {'muvi': options.system}, {}
  if not options.system:
    folder = pathlib.Path(options.folder)
    steps = {name: getattr(options, name) for name in _DEFAULT_STEPS}
    folders = muvi_runs.train(folder, options.world, options.variants, steps)
    synchrony = learnt(folder / 'synchrony')
  trained = time.perf_counter() - start
  from v2meow_jax.inference import system as system_lib

  systems = {name: system_lib.load(path) for name, path in folders.items()}
  # The embedded codec, without whose quantiser the latents are.
  figures = measure(systems, system_lib.load('tiny'), options)
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
