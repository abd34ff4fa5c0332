"""Trains the tiny VMAs and its ablations, and judges them on held-out scenes.

python -m benchmarks.vmas --work runs/vmas --json out.json

Every step resumes, or is skipped when done: after a stop, run it again.

  joint        next token, a contrast of video and music, and accents
  no_contrast  the same generator without the contrast
  no_alignment the same without accents and onsets
  slow         patches once a second in place of ten times

Each is judged on music for held-out scenes (tempo, beats, onsets, genre; real
against shuffled video), and by how often a video finds its own music among 64 by
the embeddings of both.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import json
import pathlib
import sys
import tempfile
from typing import Any

import numpy as np

from benchmarks import correspondence
from benchmarks import report
from v2meow_jax import media
from v2meow_jax.evaluation.controls import judges
from v2meow_jax.evaluation.metrics import beat_coverage
from v2meow_jax.evaluation.metrics import beat_scores
from v2meow_jax.evaluation.metrics import bootstrap
from v2meow_jax.evaluation.metrics import retrieval
from v2meow_jax.files import write
from v2meow_jax.synthetic import held_out

METRICS = ('tempo_accuracy', 'beat_f', 'onset_f', 'genre_accuracy')
VARIANTS = ('joint', 'no_contrast', 'no_alignment', 'slow')
_SEED = 0  # Of the world to train on; held-out scenes have other numbers.
_STREAMS = ('patches', 'slow_patches', 'onsets', 'accents')
_KINDS = {'slow_patches': 'patches'}  # Others are called as their streams.


def _parts() -> list[Any]:
  """The tiny system's codec and style, and patches of both rates."""
  from v2meow_jax import parts
  from v2meow_jax.files import released
  from v2meow_jax.inference import loading
  from v2meow_jax.inference import system as system_lib

  folder = system_lib.folder('tiny')
  config = loading.upgraded(released.read_config(folder))
  own = [part for part, _ in loading.read_parts(folder, config)]
  kept = [p for p in own if p.stream in ('style', 'acoustic')]
  return kept + [
    parts.Part(kind=_KINDS.get(name, name), stream=name) for name in _STREAMS
  ]


def prepare(work: pathlib.Path, num: int) -> None:
  """Draws the world, and records it with the parts of the tiny system."""
  from v2meow_jax import stages
  from v2meow_jax.jobs.prepare import preparation
  from v2meow_jax.synthetic import world

  manifest = world.write(work / 'world', num=num, seed=_SEED, seconds=10.0)
  records = work / 'data' / 'vmas'
  if records.exists():
    return
  prepared = preparation.Preparation(
    table=stages.TINY, parts=_parts(), clips_at_once=1
  )
  print(preparation.prepare(str(manifest), str(records), prepared))


def train(work: pathlib.Path, variant: str, steps: int) -> pathlib.Path:
  """Trains a variant to its last step; a run that is done returns at once."""
  recipe = {'joint': 'music'}.get(variant, f'ablations/{variant}')
  run = work / 'runs' / variant
  files = ('runs/train.gin', f'systems/vmas/{recipe}.gin')
  report.verb(
    work / 'data',
    'train',
    *(f'--gin_file={f}' for f in (*files, 'systems/vmas/tiny.gin')),
    f"--gin.MODEL_DIR='{run}'",
    f'--gin.TRAIN_STEPS={steps}',
    f'--gin.WARMUP_STEPS={min(50, steps // 4)}',
    '--gin.loop.train.save_every=100',
    '--gin.loop.train.eval_every=100',
    '--gin.loop.train.tensorboard=False',
  )
  return run


def export(work: pathlib.Path, variant: str, run: pathlib.Path) -> pathlib.Path:
  """Packs a run with the codec and the style of the tiny system."""
  from v2meow_jax.inference import export as export_lib

  out = work / 'systems' / variant
  out.parent.mkdir(exist_ok=True)
  return export_lib.export(
    str(out),
    stages=[str(run)],
    parts=_parts(),
    name=f'vmas_{variant}',
    temperatures=[0.7],
  )


def _probe(folder: pathlib.Path, options: argparse.Namespace) -> Any:
  """Fits the judge of genres, with the codec that all variants share."""
  from v2meow_jax.inference import loading

  return judges.fit_probe(
    loading.load(folder).codec,
    per_genre=options.probe_per_genre,
    seconds=options.seconds,
    seed=options.seed,
  )


def judge(
  folder: pathlib.Path,
  shown: pathlib.Path,
  probe: Any,
  options: argparse.Namespace,
) -> dict[str, Any]:
  """Makes music for held-out scenes, and judges it by theirs and by others'."""
  from v2meow_jax.inference import system as system_lib

  system = system_lib.load(folder)
  scenes = held_out.scenes(options.seed, options.num, options.seconds)
  made = []
  for i, scene in enumerate(report.progress(scenes, 'generating')):
    video = held_out.write_video(scene, shown, blank=False)
    seed = 100_000 * options.seed + i
    made.append(system.generate(video, seed=seed, plan=None))
  grids = judges.grids(correspondence.judge(made, probe), scenes)
  music = [held_out.music(scene) for scene in scenes]
  grids['onset_f'] = _onset_grid(made, music)
  return {
    'real': correspondence.matched(grids),
    'per_clip': {m: np.diagonal(grids[m]).tolist() for m in METRICS},
    'shuffled': correspondence.each(bootstrap.shuffled_interval, grids),
    'steps': system.config['stages'][0]['trained_steps'],
  }


def _onset_grid(
  made: Sequence[media.Audio], music: Sequence[media.Audio]
) -> np.ndarray:
  """F of the onsets of each clip by those of each scene, within 70 ms."""
  heard, wanted = (
    [beat_coverage.onsets(clip) for clip in clips] for clips in (made, music)
  )
  return np.array([[beat_scores.beat_f(h, w) for w in wanted] for h in heard])


def retrieve(
  folder: pathlib.Path, shown: pathlib.Path, options: argparse.Namespace
) -> dict[str, Any]:
  """Finds the music of each of some scenes by the embeddings of both."""
  from v2meow_jax.files import read
  from v2meow_jax.inference import loading
  from v2meow_jax.inference.ranking import ranker as ranker_lib

  ranker = ranker_lib.Ranker(loaded=loading.load(folder))
  scenes = held_out.scenes(options.seed, options.num_retrieved, options.seconds)
  videos, music = [], []
  with tempfile.TemporaryDirectory(prefix='v2meow_benchmark_') as name:
    for scene in report.progress(scenes, 'embedding'):
      video = held_out.write_video(scene, shown, blank=False)
      videos.append(ranker.embed_video(video))
      sound = pathlib.Path(name) / 'music.wav'
      write.write_audio(sound, held_out.music(scene))
      rate_hz = ranker.loaded.codec.sample_rate_hz
      music.append(ranker.embed_music(read.read_audio(sound, rate_hz=rate_hz)))
  grid = ranker_lib.similarities(videos, music)
  return {
    'num': len(scenes),
    **{
      f'recall_at_{k}': dataclasses.asdict(retrieval.recall_at(grid, k))
      for k in (1, 5, 10)
    },
    'median_rank': retrieval.median_rank(grid),
  }


def differences(rows: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
  """By how much `joint` is above the others, clip by clip, with intervals."""
  if 'joint' not in rows:
    return {}
  own = rows['joint']['per_clip']
  return {
    name: {
      m: dataclasses.asdict(
        bootstrap.mean_interval(np.subtract(own[m], row['per_clip'][m]))
      )
      for m in METRICS
    }
    for name, row in rows.items()
    if name != 'joint'
  }


def show(rows: dict[str, dict[str, Any]]) -> str:
  """Prints a line for each variant, of each for shuffled video, and of pairs."""

  def cells(scores, names):
    return [str(bootstrap.Interval(**scores[name])) for name in names]

  lines = []
  for name, row in rows.items():
    found = row['retrieval']
    lines.append(
      [
        f'{name} ({row["steps"]} steps)',
        *cells(row['real'], METRICS),
        *cells(found, ('recall_at_1', 'recall_at_10')),
        f'{found["median_rank"]:g}',
      ]
    )
    lines.append(['  shuffled', *cells(row['shuffled'], METRICS), '', '', ''])
  for name, row in differences(rows).items():
    lines.append([f'joint - {name}', *cells(row, METRICS), '', '', ''])
  num = next(iter(rows.values()))['retrieval']['num']
  header = ['mean [95 % interval]', *METRICS, f'R@1 of {num}', 'R@10', 'rank']
  return report.table(header, lines)


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
  parser = report.parser(
    'benchmarks.vmas',
    'Trains the tiny VMAs and its ablations on the synthetic world, and judges'
    ' them on held-out scenes. Every step resumes.',
    'python -m benchmarks.vmas --work runs/vmas --json out.json',
  )
  add = parser.add_argument
  report.add_scenes(parser, num=48, probe_per_genre=12)
  report.add_work(parser, 'runs/vmas')
  add(
    '--variants',
    nargs='+',
    choices=VARIANTS,
    default=VARIANTS,
    help='what to train (default: all)',
  )
  add('--clips', type=report.positive, default=200, help='to train on')
  add('--steps', type=report.positive, default=500, help='of each variant')
  add(
    '--num_retrieved',
    type=report.positive,
    default=64,
    help='scenes among which music is found (default 64)',
  )
  return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
  """Runs the benchmark."""
  options = _options(argv)
  work = report.work_folder(options)
  prepare(work, options.clips)
  shown = work / 'held_out' / f'seed{options.seed}_{options.seconds:g}s'
  shown.mkdir(parents=True, exist_ok=True)
  rows, probe = {}, None
  for variant in options.variants:
    run = train(work, variant, options.steps)
    done = work / f'{variant}.json'
    key = vars(options) | {'variants': variant, 'json': None}
    if done.exists() and (old := json.loads(done.read_text()))['key'] == key:
      rows[variant] = old['figures']
      continue
    folder = export(work, variant, run)
    probe = probe or _probe(folder, options)
    rows[variant] = {
      **judge(folder, shown, probe, options),
      'retrieval': retrieve(folder, shown, options),
    }
    done.write_text(json.dumps({'key': key, 'figures': rows[variant]}))
  print(show(rows))
  report.write_json(
    options.json,
    {
      'benchmark': 'vmas',
      'variants': rows,
      'differences': differences(rows),
      'settings': vars(options),
    },
  )


if __name__ == '__main__':
  sys.exit(report.run(main))
