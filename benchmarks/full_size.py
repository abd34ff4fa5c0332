"""Runs a system of the paper's sizes with random weights on this machine.

`python -m benchmarks.full_size` writes CLIP, I3D and DAC 16 kHz in their
published layouts, packs them with three stages of the `base` size into a
system, and lets `v2meow generate` play two seconds on two cores. What comes out
is noise; its shapes, ids and rates and the memory it took are compared with
what they should be, and the benchmark fails where they are not.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from collections.abc import Sequence
from concurrent import futures
import functools
import json
import multiprocessing
import pathlib
import sys
import tempfile
from typing import Any

import numpy as np

from benchmarks import generate
from benchmarks import report
from tests.fakes import random_system
from tests.fakes import scene_clips
from v2meow_jax import specs
from v2meow_jax import stages

AIM_BYTES = 12e9
CORES = 2
SAMPLE_RATE_HZ = 16_000


def play(folder: pathlib.Path) -> int:
  """Runs `v2meow generate` on two cores and keeps its streams: exit code.

  Args:
    folder: Has `system` and `clip.mp4`; gets `out.wav`, its json, and
      `streams.safetensors`, in which the codec's codes are 'acoustic'.
  """
  generate.use_cores(CORES)
  from safetensors import numpy as st

  from v2meow_jax.cli import main as main_lib
  from v2meow_jax.inference import system

  run_batch = system.System.run_batch

  @functools.wraps(run_batch)
  def keeping(*args, **options):
    (soundtrack,) = run_batch(*args, **options)
    flowed = {**soundtrack.streams, 'acoustic': soundtrack.codes}
    st.save_file(
      {name: np.ascontiguousarray(x) for name, x in flowed.items()},
      folder / 'streams.safetensors',
    )
    return [soundtrack]

  # The command writes the sound alone.
  system.System.run_batch = keeping
  clip, out = folder / 'clip.mp4', folder / 'out.wav'
  command = generate.generate_command(clip, out, str(folder / 'system'))
  return main_lib.main(command[command.index('generate') :])


def measure(folder: pathlib.Path, seconds: float, tiny: bool) -> dict[str, Any]:
  """Makes the system, runs it in a process of its own, checks the result.

  Args:
    folder: Gets the weights and the sound.
    seconds: Length of the video, in seconds.
    tiny: Whether all but the streams is small.

  Returns:
    'samples', 'wanted_samples', 'wall_seconds', 'peak_bytes', 'cores',
    'seconds_per_part', 'licences', 'streams': their shapes, and 'faults'.
  """
  from safetensors import numpy as st
  import soundfile

  scene_clips.write(folder / 'clip.mp4', seconds, seed=7)
  # Apart, because Linux counts the memory of a parent in its child's peak.
  spawn = multiprocessing.get_context('spawn')
  with futures.ProcessPoolExecutor(1, mp_context=spawn) as apart:
    apart.submit(random_system.write_system, folder, tiny).result()
  command = [sys.executable, '-m', 'benchmarks.full_size', '--play']
  wall_seconds, peak_bytes = generate.measure_command(
    [*command, str(folder)], folder / 'cache'
  )
  sound = soundfile.info(folder / 'out.wav')
  sidecar = json.loads((folder / 'out.wav.json').read_text())
  streams = st.load_file(folder / 'streams.safetensors')
  return {
    'samples': sound.frames,
    'wanted_samples': round(seconds * SAMPLE_RATE_HZ),
    'wall_seconds': wall_seconds,
    'peak_bytes': peak_bytes,
    'cores': CORES,
    'seconds_per_part': sidecar['seconds_per_part'],
    'licences': sidecar['licences'],
    'streams': {name: list(x.shape) for name, x in streams.items()},
    'faults': [
      *stream_faults(streams, seconds),
      *sound_faults(sound.frames, sound.samplerate, seconds),
      *memory_faults(peak_bytes),
    ],
  }


def sound_faults(samples: int, rate_hz: int, seconds: float) -> list[str]:
  """Lists faults of the length of a sound."""
  wanted = round(seconds * SAMPLE_RATE_HZ)
  if (samples, rate_hz) == (wanted, SAMPLE_RATE_HZ):
    return []
  return [
    f'the sound has {samples} samples at {rate_hz} Hz; wanted {wanted} at'
    f' {SAMPLE_RATE_HZ}'
  ]


def memory_faults(peak_bytes: int) -> list[str]:
  """Lists whether a process took more than `AIM_BYTES`."""
  if peak_bytes <= AIM_BYTES:
    return []
  return [
    f'the peak of memory is {peak_bytes / 1e9:.2f} GB; wanted at most'
    f' {AIM_BYTES / 1e9:.0f}'
  ]


def stream_faults(
  streams: Mapping[str, np.ndarray], seconds: float
) -> list[str]:
  """Lists faults of the streams of a generation.

  Args:
    streams: Streams by name, [frames, dim | levels], as in
      `inference.requests.Soundtrack`, and the codec's codes as 'acoustic'.
    seconds: Whole seconds of the video.

  Returns:
    A sentence for each stream that is missing, of another rate or width, or
    holds what it must not: no more than the paper's `stages.PAPER` allow.
  """
  table = {**stages.PAPER, 'acoustic': stages.acoustic(stages.PAPER)}
  wanted = ('clip', 'flow', 'style', *random_system.STAGES, 'acoustic')
  found = (_fault(table[name], streams.get(name), seconds) for name in wanted)
  return [fault for fault in found if fault]


def _fault(
  stream: specs.Stream, values: np.ndarray | None, seconds: float
) -> str | None:
  if values is None:
    return f'there is no stream {stream.name!r}'
  is_tokens = isinstance(stream, specs.TokenSpec)
  width = stream.num_codebooks if is_tokens else stream.dim
  frames = 1 if not stream.rate_hz else round(seconds * stream.rate_hz)
  # What a stage writes may reach beyond the end, to that of its last window.
  whole = stream.name in random_system.STAGES and values.shape[0] >= frames
  if values.shape != (values.shape[0] if whole else frames, width):
    return (
      f'the stream {stream.name!r} has shape {values.shape}; wanted {frames}'
      f' frames of {width} for {seconds:g} s at {stream.rate_hz:g} Hz'
    )
  if not is_tokens:
    finite = np.isfinite(values).all()
    return None if finite else f'the stream {stream.name!r} is not finite'
  low, high = values.min(), values.max()
  if low < 0 or high >= stream.codebook_size:
    return (
      f'the stream {stream.name!r} has codes from {low} to {high}; wanted 0 to'
      f' {stream.codebook_size - 1}'
    )
  return None


def _show(figures: Mapping[str, Any]) -> str:
  """Prints the figures as a table."""
  rows = [
    ['samples', figures['samples'], figures['wanted_samples']],
    ['wall seconds', f'{figures["wall_seconds"]:.0f}', ''],
    [
      'peak memory, GB',
      f'{figures["peak_bytes"] / 1e9:.2f}',
      f'<= {AIM_BYTES / 1e9:.0f}',
    ],
  ]
  rows += [
    [f'seconds of {part}', f'{seconds:.1f}', '']
    for part, seconds in figures['seconds_per_part'].items()
  ]
  rows += [
    [f'shape of {name}', ' x '.join(map(str, shape)), '']
    for name, shape in figures['streams'].items()
  ]
  return report.table(['figure', 'measured', 'wanted'], rows)


def main(argv: Sequence[str] | None = None) -> None:
  """Runs the benchmark; ValueError lists faults."""
  parser = report.parser(
    'benchmarks.full_size',
    "Plays a system of the paper's sizes with random weights, end to end, on"
    f' {CORES} cores; fails unless shapes, ids, rates and memory are right.',
    'python -m benchmarks.full_size --json full_size.json',
  )
  add = parser.add_argument
  add('--seconds', type=report.positive, default=2, help='of the video: 2')
  add('--tiny', action='store_true', help='small networks, the same streams')
  add('--play', metavar='DIR', help=argparse.SUPPRESS)
  options = parser.parse_args(argv)
  if options.play:
    raise SystemExit(play(pathlib.Path(options.play)))
  report.check_json_path(options.json)
  with tempfile.TemporaryDirectory(prefix='v2meow_benchmark_') as folder:
    figures = measure(pathlib.Path(folder), options.seconds, options.tiny)
  print(_show(figures))
  report.write_json(options.json, {'benchmark': 'full_size', **figures})
  if figures['faults']:
    raise ValueError(f'{"; ".join(figures["faults"])}.')


if __name__ == '__main__':
  sys.exit(report.run(main))
