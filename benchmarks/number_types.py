"""Measures what smaller types of weights and of computing cost and save.

python -m benchmarks.number_types --num 8 --json out.json

The system is packed with weights of each type, and its stages score the codes
of held-out scenes, whose music they did not write. A row has:

  MB        of the files of the stages
  codes     nats that a stage needs for a true code, and how much more than with
            float32: the lower the better
  seconds   of all stages for one clip, the fastest of several, once compiled
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from collections.abc import Sequence
import pathlib
import sys
import tempfile
from typing import Any

import numpy as np

from benchmarks import report
from v2meow_jax import media
from v2meow_jax import specs
from v2meow_jax.inference import pipeline
from v2meow_jax.synthetic import compose
from v2meow_jax.synthetic import held_out
from v2meow_jax.synthetic import render

_WEIGHTS = ('float32', 'float16', 'int8')
_DTYPES = ('float32', 'bfloat16')
_SECONDS = 10.0


def streams_of(system: Any, scene: Any) -> dict[str, np.ndarray]:
  """Streams of a scene's picture and of its true music, [frames, dim | levels].

  Args:
    system: An `inference.system.System` whose parts are trained here.
    scene: A `synthetic.scene.Scene`.
  """
  frames = np.stack(list(render.frames(scene)))
  times = np.arange(len(frames)) / float(scene.rate_hz)
  video = media.Video(frames=frames, times=times, seconds=scene.seconds)
  music = compose.music(scene)
  missing = -len(music.samples) % system.codec.hop_samples
  waveform = np.pad(music.samples, (0, missing))[None]
  codes = np.asarray(system.codec.encode(waveform))[0]
  streams = {}
  for name, stream in system.streams.items():
    if getattr(stream, 'record_name', name) == 'acoustic':
      first = stream.first_codebook
      streams[name] = codes[:, first : first + stream.num_codebooks]
    elif name == 'style':
      streams[name] = system.styles['style'](music)
    elif system.extractors[name].reads == 'plan':
      # There is none: the motion of the picture is read.
      frames = stream.num_frames(scene.seconds)
      streams[name] = np.zeros((frames, stream.dim), np.float32)
    else:
      extractor = system.extractors[name]
      streams[name] = extractor(music if extractor.reads == 'audio' else video)
  return streams


def nats_per_code(
  stage: Any, clips: Sequence[Mapping[str, np.ndarray]], seconds: float
) -> float:
  """Mean nats of the true codes, in whole windows of every clip.

  Args:
    stage: An `inference.restore.ModelStage`.
    clips: Streams of each clip, by name.
    seconds: Length of the clips.
  """
  spec = stage.spec
  starts = np.arange(int(seconds / spec.crop_seconds)) * spec.crop_seconds

  def rows(stream: specs.Stream) -> np.ndarray:
    return np.stack(
      [
        pipeline.cut(clip[stream.name], stream, start, spec.crop_seconds)
        for clip in clips
        for start in starts
      ]
    )

  codes = rows(spec.target)
  inputs = {stream.name: rows(stream) for stream in spec.inputs}
  log_p = stage.log_probabilities(inputs, codes)
  places = codes.reshape(len(codes), -1, 1)
  return -float(np.take_along_axis(log_p, places, -1).mean())


def measure(options: argparse.Namespace) -> dict[str, Any]:
  """Packs, loads, scores and times the system in every pair of types."""
  from v2meow_jax.inference import export
  from v2meow_jax.inference import system as system_lib

  source = system_lib.folder(options.system)
  given = system_lib.load(source)
  scenes = held_out.scenes(options.seed, options.num, _SECONDS)
  clips = [streams_of(given, scene) for scene in scenes]
  rows = []
  with tempfile.TemporaryDirectory(prefix='v2meow_benchmark_') as folder:
    video = held_out.write_video(scenes[0], pathlib.Path(folder), blank=False)
    pairs = [(w, d) for w in _WEIGHTS for d in _DTYPES]
    for weights, dtype in report.progress(pairs, 'measuring'):
      packed = pathlib.Path(folder) / weights
      if not packed.exists():
        export.export_again(str(packed), source, weights=weights)
      system = system_lib.load(packed, dtype=dtype)
      runs = [system.run(video) for _ in range(1 + options.repeats)]
      names = [stage.spec.name for stage in system.stages]
      files = [packed / f'{name}.safetensors' for name in names]
      rows.append(
        {
          'weights': weights,
          'dtype': dtype,
          'megabytes': sum(f.stat().st_size for f in files) / 1e6,
          'nats': {
            stage.spec.name: nats_per_code(stage, clips, _SECONDS)
            for stage in system.stages
          },
          'seconds': min(
            sum(run.seconds_per_part[name] for name in names)
            for run in runs[1:]
          ),
        }
      )
  return {'rows': rows}


def show(figures: Mapping[str, Any]) -> str:
  """Prints the figures as a table."""
  first = figures['rows'][0]['nats']
  return report.table(
    ['weights', 'computed in', 'MB', 'seconds', *first],
    [
      [
        row['weights'],
        row['dtype'],
        f'{row["megabytes"]:.1f}',
        f'{row["seconds"]:.2f}',
        *(
          f'{nats:.4f} ({nats / first[name] - 1:+.2%})'
          for name, nats in row['nats'].items()
        ),
      ]
      for row in figures['rows']
    ],
  )


def main(argv: Sequence[str] | None = None) -> None:
  """Runs the benchmark."""
  parser = report.parser(
    'benchmarks.number_types',
    'Measures what smaller types of weights and of computing cost and save.',
    'python -m benchmarks.number_types --num 8 --json out.json',
  )
  report.add_system(parser)
  add = parser.add_argument
  add('--num', type=report.positive, default=8, help='scenes (default 8)')
  add('--seed', type=int, default=7, help='of the scenes (default 7)')
  add('--repeats', type=report.positive, default=3, help='runs (default 3)')
  options = parser.parse_args(argv)
  report.check_json_path(options.json)
  figures = measure(options)
  report.write_json(options.json, figures)
  print(show(figures))


if __name__ == '__main__':
  sys.exit(report.run(main))
