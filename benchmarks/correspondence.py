"""Measures whether music follows the video, on held-out scenes.

python -m benchmarks.correspondence --num 64 --seed 7 --json out.json

  real       each generation against the truth of the scene it was made for
  shuffled   the same generations against the truth of every other scene: the
             mean over all derangements of the videos, as generation depends on
             the video alone
  blank      generations for a grey video, against the truth of every scene
  prompted   generations with a prompt that names another genre than the
             picture's

The judges are `beat_scores.track` and a genre classifier that is fitted here,
on scenes that neither training nor this test has seen.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from collections.abc import Sequence
import dataclasses
import pathlib
import sys
import tempfile
import time
from typing import Any

import numpy as np

from benchmarks import report
from v2meow_jax import media
from v2meow_jax.evaluation.controls import judges
from v2meow_jax.evaluation.listening import genre_probe
from v2meow_jax.evaluation.metrics import beat_scores
from v2meow_jax.evaluation.metrics import bootstrap
from v2meow_jax.synthetic import held_out


def measure(system: Any, options: argparse.Namespace) -> dict[str, Any]:
  """Generates music and judges it.

  Args:
    system: An `inference.system.System`, or anything with its `generate` and
      `codec`.
    options: Options `num`, `seed`, `seconds`, `num_blank`, `num_prompted`,
      `probe_per_genre` and `no_plan` of the command line.

  Returns:
    The figures, as in the json.
  """
  scenes = held_out.scenes(options.seed, options.num, options.seconds)
  music = [held_out.music(s) for s in report.progress(scenes, 'true music')]
  probe = judges.fit_probe(
    system.codec,
    per_genre=options.probe_per_genre,
    seconds=options.seconds,
    seed=options.seed,
  )
  coded = [
    judges.round_trip(system.codec, clip)
    for clip in report.progress(music, 'codec round trip')
  ]
  generated = generate(system, scenes, options)
  asked = scenes[: options.num_prompted]
  wanted = [held_out.other_genre(i, s.genre) for i, s in enumerate(asked)]
  judged = {name: judge(c, probe) for name, c in generated.items()}
  real = judges.grids(judged['real'], scenes)
  blank = judges.grids(judged['blank'], scenes)
  prompted = judges.grids(judged['prompted'], asked)
  followed = np.array(
    [
      clip.genre == genre
      for clip, genre in zip(judged['prompted'], wanted, strict=True)
    ]
  )
  figures = {
    'real': matched(real),
    'shuffled': each(bootstrap.shuffled_interval, real),
    'blank': each(bootstrap.grid_interval, blank),
    'prompt_following': dataclasses.asdict(bootstrap.mean_interval(followed)),
    'prompted': matched(prompted),
    'ceiling': {
      'true_music': matched(judges.grids(judge(music, probe), scenes)),
      'codec_round_trip': matched(judges.grids(judge(coded, probe), scenes)),
    },
    'num': {name: len(made) for name, made in generated.items()},
    'probe': {'accuracy': probe.accuracy, 'genres': probe.genres},
    'clips': _clips(scenes, judged, real, wanted),
    'blank_clips': [_as_dict(clip) for clip in judged['blank']],
    'prompts': held_out.PROMPTS,
  }
  return {**figures, 'verdict': verdict(figures)}


def judge(
  clips: Sequence[media.Audio], probe: genre_probe.GenreProbe
) -> list[judges.JudgedClip]:
  """Estimates genre, tempo and beats of each clip."""
  genres = probe.predict(np.stack([genre_probe.features(c) for c in clips]))
  return [
    judges.JudgedClip(genre=genre, beats=beat_scores.track(clip))
    for genre, clip in zip(genres, clips, strict=True)
  ]


def matched(grid: dict[str, np.ndarray]) -> dict[str, dict[str, float]]:
  """Computes metrics over clips with their own scene, as `each`."""
  return each(lambda g: bootstrap.mean_interval(np.diagonal(g)), grid)


def each(
  interval: Callable[[np.ndarray], bootstrap.Interval],
  grid: dict[str, np.ndarray],
) -> dict[str, dict[str, float]]:
  """Computes `{mean, low, high}` of each metric by a `bootstrap` interval."""
  return {m: dataclasses.asdict(interval(x)) for m, x in grid.items()}


def generate(
  system: Any, scenes: Sequence[Any], options: argparse.Namespace
) -> dict[str, list[media.Audio]]:
  """Generates for real, blank and prompted video, a seed for each clip."""
  jobs = [('real', i) for i in range(len(scenes))]
  jobs += [('blank', i) for i in range(options.num_blank)]
  jobs += [('prompted', i) for i in range(options.num_prompted)]
  made: dict[str, list[media.Audio]] = {
    'real': [],
    'blank': [],
    'prompted': [],
  }
  planned = {'plan': None} if options.no_plan else {}
  with tempfile.TemporaryDirectory(prefix='v2meow_benchmark_') as folder:
    for number, (kind, i) in enumerate(report.progress(jobs, 'generating')):
      scene = scenes[i]
      video = held_out.write_video(
        scene, pathlib.Path(folder), blank=kind == 'blank'
      )
      prompt = None
      if kind == 'prompted':
        prompt = held_out.PROMPTS[held_out.other_genre(i, scene.genre)]
      seed = 100_000 * options.seed + number
      made[kind].append(
        system.generate(video, prompt=prompt, seed=seed, **planned)
      )
  return made


def verdict(figures: dict[str, Any]) -> dict[str, Any]:
  """Real against shuffled: are the intervals disjoint, and by how much."""
  real, shuffled = figures['real'], figures['shuffled']
  tempo = shuffled['tempo_accuracy']['mean']
  return {
    'disjoint': {
      m: real[m]['low'] > shuffled[m]['high']
      for m in ('tempo_accuracy', 'beat_f', 'genre_accuracy')
    },
    'tempo_real_over_shuffled': (
      real['tempo_accuracy']['mean'] / tempo if tempo else None
    ),
  }


def show(figures: dict[str, Any]) -> str:
  """Prints the figures as a table."""
  n = {name: figures['num'][name] for name in ('real', 'blank', 'prompted')}
  rows = [
    (f'real ({n["real"]} clips)', figures['real']),
    ('shuffled (the same)', figures['shuffled']),
    (f'blank ({n["blank"]})', figures['blank']),
    (f'prompted ({n["prompted"]})', figures['prompted']),
    ('ceiling: true music', figures['ceiling']['true_music']),
    ('ceiling: after codec', figures['ceiling']['codec_round_trip']),
  ]
  cells = [
    [name, *(_cell(row[m]) for m in judges.METRICS)] for name, row in rows
  ]
  ratio = figures['verdict']['tempo_real_over_shuffled']
  return '\n'.join(
    [
      report.table(['mean [95 % interval]', *judges.METRICS], cells),
      '',
      f'prompt_following: {_cell(figures["prompt_following"])}',
      f'genre classifier on held-out music: {figures["probe"]["accuracy"]:.3f}',
      'real above shuffled with disjoint intervals: '
      + ', '.join(
        f'{m} {"yes" if yes else "NO"}'
        for m, yes in figures['verdict']['disjoint'].items()
      ),
      'tempo, real over shuffled: '
      + (f'{ratio:.1f}' if ratio is not None else 'shuffled is 0'),
    ]
  )


def _cell(value: dict[str, float]) -> str:
  return str(bootstrap.Interval(**value))


def _as_dict(clip: judges.JudgedClip) -> dict[str, Any]:
  return {'genre': clip.genre, 'tempo_bpm': clip.beats.tempo_bpm}


def _clips(scenes, judged, real, wanted) -> list[dict[str, Any]]:
  """What was true and what was judged, clip by clip."""
  clips = []
  for i, scene in enumerate(scenes):
    clip = {
      'index': scene.index,
      'truth': {'genre': scene.genre, 'tempo_bpm': scene.tempo_bpm},
      'real': {
        **_as_dict(judged['real'][i]),
        **{m: float(real[m][i, i]) for m in judges.METRICS},
      },
    }
    if i < len(judged['prompted']):
      clip['prompted'] = {
        'wanted': wanted[i],
        **_as_dict(judged['prompted'][i]),
      }
    clips.append(clip)
  return clips


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
  parser = report.parser(
    'benchmarks.correspondence',
    'Measures whether the music follows the video: tempo, beats and genre'
    ' on held-out scenes, for real, shuffled and blank video.',
    'python -m benchmarks.correspondence --num 64 --seed 7 --json out.json',
  )
  report.add_system(parser)
  report.add_scenes(parser, 64, judges.PROBE_PER_GENRE)
  add = parser.add_argument
  add(
    '--num_blank',
    type=report.positive,
    help='generations for a grey video, each judged by every scene (default:'
    ' a quarter of --num)',
  )
  add(
    '--num_prompted',
    type=report.positive,
    help='generations with a prompt (default: half of --num)',
  )
  parser.add_argument(
    '--no_plan', action='store_true', help='make music without a plan'
  )
  options = parser.parse_args(argv)
  options.num_blank = options.num_blank or max(1, options.num // 4)
  options.num_prompted = options.num_prompted or max(1, options.num // 2)
  return options


def _check(options: argparse.Namespace) -> None:
  report.check_json_path(options.json)
  if options.num < 2:
    raise ValueError('--num 1: shuffling needs at least two scenes.')
  for name in ('num_blank', 'num_prompted'):
    if getattr(options, name) > options.num:
      raise ValueError(
        f'--{name} {getattr(options, name)} is more than --num {options.num};'
        ' raise --num.'
      )


def main(argv: Sequence[str] | None = None) -> None:
  """Runs the benchmark."""
  options = _options(argv)
  _check(options)
  from v2meow_jax.inference import system as system_lib

  start = time.perf_counter()
  system = system_lib.load(options.system)
  figures = measure(system, options)
  print(show(figures))
  report.write_json(
    options.json,
    {
      'benchmark': 'correspondence',
      **figures,
      'settings': vars(options),
      'system_sha256': system.digest,
      'seconds': round(time.perf_counter() - start, 1),
    },
  )


if __name__ == '__main__':
  sys.exit(report.run(main))
