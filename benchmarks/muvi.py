"""Trains MuVi's tiny recipe on the synthetic world, and measures its music.

python -m benchmarks.muvi --json out.json
python -m benchmarks.muvi --world 100 --train_steps 400 --num 8   # a first look

Stopped, the same command goes on: worlds, records and runs that are whole in
--folder stay. Then, on held-out scenes of 10 s:

  real        music for a video against the truth of its scene
  shuffled    the same music against the truth of every other scene
  blank       music for a grey video against the truth of every scene
  in context  music for a video that goes on from music of another genre
  steps       the first clips with 4 to 50 steps: seconds, and beats
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
import dataclasses
import os
import pathlib
import shlex
import subprocess
import sys
import tempfile
import time
from typing import Any

import numpy as np

from benchmarks import codec as codec_benchmark
from benchmarks import correspondence
from benchmarks import report
from v2meow_jax import media
from v2meow_jax.evaluation.controls import judges
from v2meow_jax.evaluation.metrics import bootstrap
from v2meow_jax.synthetic import held_out

SECONDS = 10.0
RECIPES = 'systems/muvi/'
# Runs in their order: recipe, and runs whose weights it starts from.
RUNS = {
  'tiny_pretraining': (),
  'tiny_synchrony': (),
  'tiny': ('tiny_pretraining', 'tiny_synchrony'),
}
PREPARATION = '--gin_file=prepare/muvi_tiny.gin'


def train(options: argparse.Namespace) -> pathlib.Path:
  """Makes what is missing in the folder; returns the system."""
  folder = pathlib.Path(options.folder)
  folder.mkdir(parents=True, exist_ok=True)
  world, records = folder / 'world', folder / 'muvi_world'
  if not (world / 'manifest.jsonl').exists():
    _command(
      folder, 'data', 'synth', world, '--num', options.world, '--seed', 0,
      '--seconds', SECONDS,
    )  # fmt: skip
  if not (records / 'moments.json').exists():
    _command(
      folder, 'data', 'prepare', world / 'manifest.jsonl', records, PREPARATION
    )
  steps = {
    'tiny_pretraining': options.pretraining_steps,
    'tiny_synchrony': options.synchrony_steps,
    'tiny': options.train_steps,
  }
  for run, sources in RUNS.items():
    if not steps[run]:
      continue
    begin = [str(folder / s) for s in sources if steps[s]]
    _command(
      folder,
      *('train', '--gin_file=runs/train.gin', f'--gin_file={RECIPES}{run}.gin'),
      f"--gin.MODEL_DIR='{folder / run}'",
      f'--gin.TRAIN_STEPS={steps[run]}',
      f'--gin.loop.train.warm_start={tuple(begin) or None}',
      '--gin.loop.train.tensorboard=False',
      '--gin.loop.train.save_every=100',
      '--gin.loop.train.eval_every=250',
    )
  system = folder / 'system'
  _command(folder, 'export', system, '--stages', folder / 'tiny', PREPARATION)
  return system


def _command(folder: pathlib.Path, *words: Any) -> None:
  """Runs a verb as a user would, from the root of the repository."""
  argv = [sys.executable, '-m', 'v2meow_jax.cli.main', *map(str, words)]
  print('+', shlex.join(argv[3:]), flush=True)
  env = {**os.environ, 'V2MEOW_DATA_DIR': str(folder)}
  if subprocess.run(argv, env=env).returncode:
    raise ValueError(f'{shlex.join(argv)} failed; see above.')


def measure(
  system: Any, quantised: Any, options: argparse.Namespace
) -> dict[str, Any]:
  """Generates music and judges it.

  Args:
    system: System to measure.
    quantised: Codec of the same frame rate, to compare its latents with.
    options: Options of the command line.

  Returns:
    The figures, as in the json.
  """
  from v2meow_jax.models.sampling import options as sampling_lib

  scenes = held_out.scenes(options.seed, options.num, SECONDS)
  truths = [held_out.music(s) for s in report.progress(scenes, 'true music')]
  probe = judges.fit_probe(
    system.codec,
    per_genre=options.probe_per_genre,
    seconds=SECONDS,
    seed=options.seed,
  )
  coded = [judges.round_trip(system.codec, clip) for clip in truths]
  with tempfile.TemporaryDirectory(prefix='v2meow_benchmark_') as folder:

    def generate(what, some, blank=False, **kwargs):
      clips, start = [], time.perf_counter()
      for i, scene in enumerate(report.progress(some, what)):
        video = held_out.write_video(scene, pathlib.Path(folder), blank=blank)
        seed = 100_000 * options.seed + i
        clips.append(system.generate(video, seed=seed, **kwargs))
      return clips, (time.perf_counter() - start) / len(some)

    generate('compiling', scenes[:1])
    real, seconds = generate('real', scenes)
    blank, _ = generate('blank', scenes[: options.num_blank], blank=True)
    others = [held_out.other_genre(i, s.genre) for i, s in enumerate(scenes)]
    prompts = _prompts(options, {*others})
    prompted = [
      generate('in context', [scene], style_audio=prompts[genre])[0][0]
      for scene, genre in zip(scenes, others, strict=True)
    ]
    few = scenes[: options.num_blank]
    sweep = {}
    for steps in options.steps:
      chosen = sampling_lib.Sampling(steps=steps)
      sweep[steps] = generate(f'{steps} steps', few, sampling=chosen)
  judged = {
    'real': correspondence.judge(real, probe),
    'blank': correspondence.judge(blank, probe),
    'prompted': correspondence.judge(prompted, probe),
  }
  grid = judges.grids(judged['real'], scenes)
  grey = judges.grids(judged['blank'], scenes)
  followed, kept = (
    [
      c.genre == genre
      for c, genre in zip(judged['prompted'], wanted, strict=True)
    ]
    for wanted in (others, [s.genre for s in scenes])
  )
  figures = {
    'real': correspondence.matched(grid),
    'shuffled': correspondence.each(bootstrap.shuffled_interval, grid),
    'blank': correspondence.each(bootstrap.grid_interval, grey),
    'in_context': {
      **correspondence.matched(judges.grids(judged['prompted'], scenes)),
      'genre_of_the_prompt': _mean(followed),
      'genre_of_the_picture': _mean(kept),
    },
    'ceiling': {
      name: correspondence.matched(
        judges.grids(correspondence.judge(clips, probe), scenes)
      )
      for name, clips in (('true_music', truths), ('round_trip', coded))
    },
    'reconstruction_db': {
      name: float(
        np.mean(
          [
            codec_benchmark.log_mel_error(
              clip.samples, judges.round_trip(codec, clip).samples, clip.rate_hz
            )
            for clip in truths[:8]
          ]
        )
      )
      for name, codec in (('latents', system.codec), ('codes', quantised))
    },
    'seconds_per_clip': seconds,
    'steps': {
      steps: {
        'seconds_per_clip': one,
        **correspondence.matched(
          judges.grids(correspondence.judge(clips, probe), few)
        ),
      }
      for steps, (clips, one) in sweep.items()
    },
    'num': {'real': len(real), 'blank': len(blank), 'steps': len(few)},
    'probe': {'accuracy': probe.accuracy, 'genres': probe.genres},
  }
  return {**figures, 'verdict': correspondence.verdict(figures)}


def _prompts(
  options: argparse.Namespace, genres: set[str]
) -> dict[str, media.Audio]:
  """Music of each genre, of scenes that nothing else is made of."""
  scenes = held_out.scenes(options.seed + 1, 64, SECONDS)
  first = {s.genre: s for s in reversed(scenes)}
  return {genre: held_out.music(first[genre]) for genre in sorted(genres)}


def _mean(values: Sequence[bool]) -> dict[str, float]:
  return dataclasses.asdict(bootstrap.mean_interval(np.array(values)))


def show(figures: dict[str, Any]) -> str:
  """Prints the figures as tables."""
  rows = [
    *((name, figures[name]) for name in ('real', 'shuffled', 'blank')),
    ('in context', figures['in_context']),
    ('ceiling: true music', figures['ceiling']['true_music']),
    ('ceiling: round trip', figures['ceiling']['round_trip']),
    *((f'{n} steps', row) for n, row in figures['steps'].items()),
  ]
  cells = [
    [
      name,
      *(str(bootstrap.Interval(**row[m])) for m in judges.METRICS),
      f'{row["seconds_per_clip"]:.2f}' if 'seconds_per_clip' in row else '',
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
      'real above shuffled with disjoint intervals: '
      + ', '.join(
        f'{m} {"yes" if yes else "NO"}'
        for m, yes in figures['verdict']['disjoint'].items()
      ),
    ]
  )


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
  add('--world', type=report.positive, default=400, help='clips (default 400)')
  for name, steps in (
    ('pretraining', 500),
    ('synchrony', 300),
    ('train', 2000),
  ):
    text = f'of the run (default {steps}); 0 leaves it out'
    add(f'--{name}_steps', type=int, default=steps, help=text)
  add('--num', type=report.positive, default=32, help='scenes (default 32)')
  add('--num_blank', type=report.positive, help='default: a quarter of --num')
  add('--seed', type=int, default=7, help='of the scenes (default 7)')
  add(
    '--steps', type=report.positive, nargs='+', default=[4, 8, 16, 25, 50],
    help='numbers of steps to compare (default 4 8 16 25 50)',
  )  # fmt: skip
  add(
    '--probe_per_genre', type=report.positive, default=judges.PROBE_PER_GENRE,
    help='clips per genre that the classifier is fitted on (default 40)',
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
  folder = options.system or train(options)
  trained = time.perf_counter() - start
  from v2meow_jax.inference import system as system_lib

  system = system_lib.load(folder)
  # The embedded codec, without whose quantiser the latents are.
  figures = measure(system, system_lib.load().codec, options)
  print(show(figures))
  report.write_json(
    options.json,
    {
      'benchmark': 'muvi',
      **figures,
      'settings': vars(options),
      'system_sha256': system.digest,
      'training_seconds': round(trained, 1),
      'seconds': round(time.perf_counter() - start, 1),
    },
  )


if __name__ == '__main__':
  sys.exit(report.run(main))
