"""Compares the parallel acoustic stage with the autoregressive pair.

python -m benchmarks.parallel --work runs/parallel --json out.json

Every step resumes, or is skipped when done: after a stop, run it again. Both are
trained on the same records of music, for about as long, and follow the semantic
stage of the tiny system in it; so the systems differ in nothing else:

  pair       a coarse and a fine stage, one code after the other
  parallel   one stage that fills in all frames of a level at once
  few passes the same weights, with fewer passes over each level

On held-out scenes: tempo, beats and genre, real against shuffled video; the Frechet
distance of the music to the true one, by the embedding of the tiny system; and the
seconds of a warm clip of 10 s, by turns.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import json
import pathlib
import resource
import statistics
import sys
import time
from typing import Any

import numpy as np

from benchmarks import codec_runs
from benchmarks import correspondence
from benchmarks import report
from v2meow_jax import media
from v2meow_jax.evaluation.controls import judges
from v2meow_jax.evaluation.metrics import bootstrap
from v2meow_jax.synthetic import held_out

METRICS = ('tempo_accuracy', 'beat_f', 'genre_accuracy')
_SEED = 0  # Of the world to train on; held-out scenes have other numbers.
_FEW_PASSES = (4, 1)
# Recipes of the stages, in the order in which they run.
_RECIPES = {
  'coarse': 'stages/coarse_encoder.gin',
  'fine': 'stages/fine_encoder.gin',
  'acoustic': 'stages/acoustic_parallel.gin',
}
_SYSTEMS = {
  'pair': ('coarse', 'fine'),
  'parallel': ('acoustic',),
  'few passes': ('acoustic',),
}


def _tiny() -> tuple[pathlib.Path, dict[str, Any], list[Any]]:
  """Folder, config and parts of the tiny system."""
  from v2meow_jax.files import released
  from v2meow_jax.inference import loading
  from v2meow_jax.inference import system as system_lib

  folder = system_lib.folder('tiny')
  config = loading.upgraded(released.read_config(folder))
  return folder, config, [p for p, _ in loading.read_parts(folder, config)]


def prepare(work: pathlib.Path, num: int) -> None:
  """Draws music, and records its codes by the tiny system's networks."""
  from v2meow_jax import stages
  from v2meow_jax.jobs.prepare import preparation
  from v2meow_jax.synthetic import world

  manifest = world.write(
    work / 'world', num=num, seed=_SEED, seconds=10.0, sound_only=True
  )
  records = work / 'data' / 'music_only'
  if records.exists():
    return
  _, _, parts = _tiny()
  heard = [p for p in parts if p.stream in ('semantic', 'acoustic')]
  prepared = preparation.Preparation(table=stages.TINY, parts=heard)
  print(preparation.prepare(str(manifest), str(records), prepared))


def train(work: pathlib.Path, stage: str, steps: int) -> float:
  """Trains a stage to its last step; seconds of processor since it last began."""
  run = work / 'runs' / stage
  spent = run.with_suffix('.json')
  done = json.loads(spent.read_text()) if spent.exists() else {}
  if done.get('steps') == steps:
    return done['seconds']
  before = _children_seconds()
  report.verb(
    work / 'data',
    *('train', '--gin_file=runs/train.gin', f'--gin_file={_RECIPES[stage]}'),
    '--gin_file=tiny.gin',
    f"--gin.MODEL_DIR='{run}'",
    "--gin.DATASET='music_only'",
    '--gin.TRAIN_BATCHES=@batches.TaskBatches()',
    f'--gin.TRAIN_STEPS={steps}',
    f'--gin.WARMUP_STEPS={min(50, steps // 4)}',
    '--gin.loop.train.save_every=100',
    '--gin.loop.train.eval_every=500',
    '--gin.loop.train.tensorboard=False',
  )
  seconds = _children_seconds() - before
  spent.write_text(json.dumps({'steps': steps, 'seconds': seconds}))
  return seconds


def _children_seconds() -> float:
  usage = resource.getrusage(resource.RUSAGE_CHILDREN)
  return usage.ru_utime + usage.ru_stime


def pack(work: pathlib.Path, name: str) -> pathlib.Path:
  """A system of the tiny one's semantic stage and what was trained here."""
  from v2meow_jax.inference import export
  from v2meow_jax.inference import loading
  from v2meow_jax.inference import restore

  tiny, config, parts = _tiny()
  (row,) = (r for r in config['stages'] if r['name'] == 'semantic')
  stages = [
    (row['model'], loading.read_params(tiny, 'semantic'), row['trained_steps'])
  ]
  for stage in _SYSTEMS[name]:
    model, params, step = restore.read_stage(work / 'runs' / stage)
    if name == 'few passes':
      model = {**model, 'sampler': {**model['sampler'], 'passes': _FEW_PASSES}}
    stages.append((model, params, step))
  out = work / 'systems' / name.replace(' ', '_')
  out.parent.mkdir(exist_ok=True)
  return export.pack(
    str(out),
    stages=stages,
    parts=parts,
    name=name.replace(' ', '_'),
    weights='float16',
    licence=config['licences']['weights'],
    temperatures=[0.7, *[0.4] * len(_SYSTEMS[name])],
  )


class Scenes:
  """Held-out scenes, their videos, and the judges of music for them."""

  def __init__(
    self, system: Any, shown: pathlib.Path, options: argparse.Namespace
  ):
    """Draws the scenes, and fits the judge of genres."""
    from v2meow_jax.evaluation.listening import networks

    self._first_seed = 100_000 * options.seed
    self.scenes = held_out.scenes(options.seed, options.num, options.seconds)
    self.videos = [
      held_out.write_video(s, shown, blank=False) for s in self.scenes
    ]
    self._network = networks.load('tiny-style')
    self._probe = judges.fit_probe(
      system.codec,
      per_genre=options.probe_per_genre,
      seconds=options.seconds,
      seed=options.seed,
    )
    self._true = self._embedded([held_out.music(s) for s in self.scenes])

  def _embedded(self, clips: Sequence[media.Audio]) -> list[np.ndarray]:
    rate_hz = clips[0].rate_hz
    return codec_runs.embed([c.samples for c in clips], self._network, rate_hz)

  def judge(self, system: Any) -> dict[str, Any]:
    """Makes music for all scenes, and judges it by theirs and by others'."""
    made = [
      system.generate(video, seed=self._first_seed + i)
      for i, video in enumerate(report.progress(self.videos, 'generating'))
    ]
    grids = judges.grids(correspondence.judge(made, self._probe), self.scenes)
    return {
      'real': correspondence.matched(grids),
      'shuffled': correspondence.each(bootstrap.shuffled_interval, grids),
      'per_clip': {m: np.diagonal(grids[m]).tolist() for m in METRICS},
      'embedded': self._embedded(made),
    }

  def distance(self, *sets: Sequence[np.ndarray]) -> bootstrap.Interval:
    """Frechet distance of clips to the true ones, or by how much it differs."""
    own, *others = (codec_runs.distance_to(self._true, s) for s in sets)
    return bootstrap.jackknife_interval(
      lambda kept: own(kept) - sum(other(kept) for other in others),
      len(self._true),
    )


def take_times(
  systems: Mapping[str, Any], video: Any, turns: int
) -> dict[str, dict[str, float]]:
  """Median seconds of a warm clip and of its stages, of systems by turns."""
  runs: dict[str, list[dict[str, float]]] = {name: [] for name in systems}
  for turn in report.progress(range(turns + 1), 'taking turns'):
    for name, system in systems.items():
      start = time.perf_counter()
      parts = system.run(video, seed=turn).seconds_per_part
      whole = time.perf_counter() - start
      if turn:  # The first compiles.
        runs[name].append({'whole': whole, **parts})
  return {
    name: {part: statistics.median(r[part] for r in some) for part in some[0]}
    for name, some in runs.items()
  }


def measure(
  work: pathlib.Path, options: argparse.Namespace
) -> dict[str, dict[str, Any]]:
  """Figures of each system, and how those of others differ from the pair's."""
  from v2meow_jax.inference import system as system_lib

  systems = {name: system_lib.load(pack(work, name)) for name in _SYSTEMS}
  shown = work / 'held_out' / f'seed{options.seed}_{options.seconds:g}s'
  shown.mkdir(parents=True, exist_ok=True)
  scenes = Scenes(systems['pair'], shown, options)
  rows = {name: scenes.judge(system) for name, system in systems.items()}
  times = take_times(systems, scenes.videos[0], options.turns)
  embedded = {name: row.pop('embedded') for name, row in rows.items()}
  pair = rows['pair']['per_clip']
  for name, row in rows.items():
    row['seconds'] = times[name]
    row['frechet'] = dataclasses.asdict(scenes.distance(embedded[name]))
    if name == 'pair':
      continue
    differs = {
      m: bootstrap.mean_interval(np.subtract(row['per_clip'][m], pair[m]))
      for m in METRICS
    }
    differs['frechet'] = scenes.distance(embedded[name], embedded['pair'])
    row['less_pair'] = {
      m: dataclasses.asdict(interval) for m, interval in differs.items()
    }
  return rows


def show(rows: Mapping[str, dict[str, Any]], spent: Mapping[str, float]) -> str:
  """Prints a line for each system, for shuffled video, and of differences."""

  def cells(scores, names):
    return [str(bootstrap.Interval(**scores[n])) for n in names]

  lines = []
  for name, row in rows.items():
    acoustic = sum(row['seconds'][stage] for stage in _SYSTEMS[name])
    times = [f'{acoustic:.2f}', f'{row["seconds"]["whole"]:.2f}']
    judged = {**row['real'], 'frechet': row['frechet']}
    lines.append([name, *cells(judged, (*METRICS, 'frechet')), *times])
    lines.append(['  shuffled', *cells(row['shuffled'], METRICS), '', '', ''])
    if 'less_pair' in row:
      differs = cells(row['less_pair'], (*METRICS, 'frechet'))
      lines.append(['  less the pair', *differs, '', ''])
  header = [
    'mean [95 % interval]',
    *METRICS,
    'Frechet',
    'acoustic, s',
    'all, s',
  ]
  trained = ', '.join(f'{name} {s / 60:.1f}' for name, s in spent.items())
  return (
    f'{report.table(header, lines)}\nprocessor minutes of training: {trained}'
  )


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
  parser = report.parser(
    'benchmarks.parallel',
    'Trains the parallel acoustic stage and the autoregressive pair on the same'
    ' music for about as long, and compares their music and their seconds. Every'
    ' step resumes.',
    'python -m benchmarks.parallel --work runs/parallel --json out.json',
  )
  add = parser.add_argument
  report.add_scenes(parser, num=48, probe_per_genre=12)
  report.add_work(parser, 'runs/parallel')
  for option, default, text in (
    ('clips', 600, 'to train on'),
    ('coarse_steps', 1500, 'of the pair'),
    ('fine_steps', 1000, 'of the pair'),
    ('acoustic_steps', 1900, 'of the parallel stage: as long as the pair'),
  ):
    add(
      f'--{option}',
      type=report.positive,
      default=default,
      help=f'{text} (default {default})',
    )
  add('--turns', type=report.positive, default=9, help='timed (default 9)')
  return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
  """Runs the benchmark."""
  options = _options(argv)
  work = report.work_folder(options)
  prepare(work, options.clips)
  spent = {
    stage: train(work, stage, getattr(options, f'{stage}_steps'))
    for stage in _RECIPES
  }
  rows = measure(work, options)
  print(show(rows, spent))
  report.write_json(
    options.json,
    {
      'benchmark': 'parallel',
      'systems': rows,
      'training_processor_seconds': spent,
      'settings': vars(options),
    },
  )


if __name__ == '__main__':
  sys.exit(report.run(main))
