"""Measures what guidance does, on held-out scenes.

python -m benchmarks.guidance --num 32 --weights 1 2 4 --json out.json

  style   scenes with a prompt that names another genre than the picture's, by
          the weight of the style: how often the prompt is followed, and
          whether tempo and beats of the picture stay
  video   scenes without a prompt, by the weight of the video: whether tempo,
          beats and genre are those of the scene

The scenes and the judges are those of `benchmarks.correspondence`.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
import dataclasses
import pathlib
import sys
import tempfile
from typing import Any

import numpy as np

from benchmarks import correspondence
from benchmarks import report
from v2meow_jax.evaluation.controls import judges
from v2meow_jax.evaluation.metrics import bootstrap
from v2meow_jax.models.sampling import options as options_lib
from v2meow_jax.synthetic import held_out

_KINDS = ('style', 'video')


def measure(system: Any, options: argparse.Namespace) -> dict[str, Any]:
  """Generates with every weight, and judges the music.

  Args:
    system: An `inference.system.System`, or anything with its `generate` and
      `codec`.
    options: Options `num`, `seed`, `seconds`, `weights`, `temperature` and
      `probe_per_genre` of the command line.

  Returns:
    {'rows': one dictionary per kind and weight}, with intervals.
  """
  scenes = held_out.scenes(options.seed, options.num, options.seconds)
  probe = judges.fit_probe(
    system.codec,
    per_genre=options.probe_per_genre,
    seconds=options.seconds,
    seed=options.seed,
  )
  jobs = [(kind, w) for kind in _KINDS for w in options.weights]
  rows = []
  with tempfile.TemporaryDirectory(prefix='v2meow_benchmark_') as folder:
    for kind, weight in report.progress(jobs, 'generating'):
      sampling = options_lib.Sampling(
        temperature=options.temperature, **{f'{kind}_guidance': weight}
      )
      music, wanted = [], []
      for i, scene in enumerate(scenes):
        video = held_out.write_video(scene, pathlib.Path(folder), blank=False)
        genre = scene.genre
        if kind == 'style':
          genre = held_out.other_genre(i, genre)
        music.append(
          system.generate(
            video,
            prompt=held_out.PROMPTS[genre] if kind == 'style' else None,
            seed=100_000 * options.seed + i,
            sampling=sampling,
          )
        )
        wanted.append(genre)
      judged = correspondence.judge(music, probe)
      followed = [c.genre == g for c, g in zip(judged, wanted, strict=True)]
      row = correspondence.matched(judges.grids(judged, scenes))
      row['genre_followed'] = dataclasses.asdict(
        bootstrap.mean_interval(np.array(followed))
      )
      rows.append({'kind': kind, 'weight': weight, **row})
  return {'rows': rows}


def show(figures: dict[str, Any]) -> str:
  """Prints the figures as a table."""
  names = ('genre_followed', 'tempo_accuracy', 'beat_f')
  return report.table(
    ['mean [95 % interval]', 'weight', *names],
    [
      [
        row['kind'],
        f'{row["weight"]:g}',
        *(str(bootstrap.Interval(**row[name])) for name in names),
      ]
      for row in figures['rows']
    ],
  )


def main(argv: Sequence[str] | None = None) -> None:
  """Runs the benchmark."""
  parser = report.parser(
    'benchmarks.guidance',
    'Measures how guidance of style and of video changes what music follows.',
    'python -m benchmarks.guidance --num 32 --weights 1 2 4 --json out.json',
  )
  report.add_system(parser)
  report.add_scenes(parser, 32, judges.PROBE_PER_GENRE)
  add = parser.add_argument
  add(
    '--weights',
    type=float,
    nargs='+',
    default=[1.0, 2.0, 4.0],
    help='of guidance; 1 is none (default 1 2 4)',
  )
  add(
    '--temperature',
    type=float,
    help="of all stages; a high one leaves room (default: the system's own)",
  )
  options = parser.parse_args(argv)
  report.check_json_path(options.json)
  for weight in options.weights:
    options_lib.Sampling(style_guidance=weight)
  from v2meow_jax.inference import system as system_lib

  system = system_lib.load(options.system)
  figures = measure(system, options)
  print(show(figures))
  report.write_json(
    options.json,
    {
      'benchmark': 'guidance',
      **figures,
      'settings': vars(options),
      'system_sha256': system.digest,
    },
  )


if __name__ == '__main__':
  sys.exit(report.run(main))
