"""Measures whether the best of several takes is better, by another judge.

python -m benchmarks.best_of --num 24 --takes 4 --temperature 1.3 --json out.json

The scorer of `v2meow generate --best_of` chooses among takes of held-out scenes;
librosa's beat tracker, which it knows nothing of, says how well the beats of the
chosen one meet those of the scene: the mean over all takes is what chance gives,
the best of them what no scorer can beat.
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

from benchmarks import report
from v2meow_jax.evaluation.metrics import beat_scores
from v2meow_jax.evaluation.metrics import bootstrap
from v2meow_jax.inference.finish import scoring
from v2meow_jax.models.sampling import options as options_lib
from v2meow_jax.synthetic import held_out


def measure(system: Any, options: argparse.Namespace) -> dict[str, Any]:
  """Makes takes of held-out scenes, and has them chosen and judged.

  Args:
    system: An `inference.system.System`, or anything with its `run`.
    options: Options of the command line.

  Returns:
    Mean beat F of all takes, of the chosen and of the best ones, and the gain of
    the chosen over all, each with an interval.
  """
  scenes = held_out.scenes(options.seed, options.num, options.seconds)
  sampling = options_lib.Sampling(temperature=options.temperature)
  scores, judged = np.zeros((2, options.num, options.takes))
  with tempfile.TemporaryDirectory(prefix='v2meow_benchmark_') as folder:
    for i, scene in enumerate(report.progress(scenes, 'generating')):
      video = held_out.write_video(scene, pathlib.Path(folder), blank=False)
      for take in range(options.takes):
        seed = 100_000 * options.seed + 100 * i + take
        made = system.run(video, seed=seed, sampling=sampling)
        scores[i, take] = scoring.beats_heard(made.audio, made.plan)
        judged[i, take] = beat_scores.beat_f(
          beat_scores.track(made.audio).times, np.asarray(scene.beat_times)
        )
  chosen = judged[np.arange(options.num), scores.argmax(axis=1)]
  rows = {
    'any take': judged.mean(axis=1),
    'chosen': chosen,
    'best': judged.max(axis=1),
    'chosen over any': chosen - judged.mean(axis=1),
  }
  return {
    name: dataclasses.asdict(bootstrap.mean_interval(values))
    for name, values in rows.items()
  }


def show(figures: dict[str, Any]) -> str:
  """Prints the figures as a table."""
  rows = [[n, str(bootstrap.Interval(**v))] for n, v in figures.items()]
  return report.table(['takes', 'beat F, 70 ms [95 % interval]'], rows)


def main(argv: Sequence[str] | None = None) -> None:
  """Runs the benchmark."""
  parser = report.parser(
    'benchmarks.best_of',
    'Measures whether the best of several takes has better beats.',
    'python -m benchmarks.best_of --num 24 --takes 4 --json out.json',
  )
  report.add_system(parser)
  add = parser.add_argument
  add('--num', type=report.positive, default=24, help='scenes (default 24)')
  add('--takes', type=report.positive, default=4, help='of each (default 4)')
  add('--seed', type=int, default=7, help='of scenes and draws (default 7)')
  add('--seconds', type=float, default=10.0, help='of a clip (default 10)')
  add(
    '--temperature',
    type=float,
    help="of all stages; a high one leaves room (default: the system's own)",
  )
  options = parser.parse_args(argv)
  report.check_json_path(options.json)
  from v2meow_jax.inference import system as system_lib

  system = system_lib.load(options.system)
  figures = measure(system, options)
  print(show(figures))
  report.write_json(
    options.json,
    {
      'benchmark': 'best_of',
      **figures,
      'settings': vars(options),
      'system_sha256': system.digest,
    },
  )


if __name__ == '__main__':
  sys.exit(report.run(main))
