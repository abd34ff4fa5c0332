"""Measures a soundtrack: seconds cold and warm, memory, sequential steps.

python -m benchmarks.generate --json out.json
python -m benchmarks.generate --skip_long      # without the long videos

Cold is the command `v2meow generate` in a fresh process, from start to file;
its peak memory is what the operating system saw. Warm is the Python API in a
process that has already generated once.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from collections.abc import Sequence
import math
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any

from benchmarks import report
from tests.fakes import scene_clips

AIMS = {
  'cold_seconds': 10.0,
  'second_start_seconds': 3.0,
  'warm_over_real_time': 1.0,
  'peak_bytes': 2e9,
  'memory_long_over_short': 1.15,
}


def measure_command(
  command: Sequence[str], cache: pathlib.Path
) -> tuple[float, int]:
  """Runs a command in a fresh process.

  Args:
    command: Program and arguments.
    cache: Folder in place of the user's cache of compiled programs.

  Returns:
    Wall seconds from start to exit, and peak resident memory in bytes.

  Raises:
    ValueError: It failed; the message ends with its last line of output.
  """
  start = time.perf_counter()
  with tempfile.TemporaryFile('w+') as said:
    env = {**os.environ, 'XDG_CACHE_HOME': str(cache)}
    for name in ('JAX_COMPILATION_CACHE_DIR', 'V2MEOW_PROGRAMS_DIR'):
      env.pop(name, None)
    process = subprocess.Popen(command, stdout=said, stderr=said, env=env)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.perf_counter() - start
    said.seek(0)
    lines = said.read().strip().splitlines()
  if process.returncode:
    raise ValueError(
      f'{" ".join(command)} gave exit code {process.returncode}:'
      f' {lines[-1] if lines else "no output"}'
    )
  # ru_maxrss is in kilobytes on Linux and in bytes on macOS.
  unit = 1 if sys.platform == 'darwin' else 1024
  return seconds, usage.ru_maxrss * unit


def generate_command(
  clip: pathlib.Path, out: pathlib.Path, system: str | None
) -> list[str]:
  """Makes the command line of one cold generation."""
  command = [sys.executable, '-m', 'v2meow_jax.cli.main', 'generate']
  command += [str(clip), '-o', str(out), '--seed', '0']
  return command + (['--system', system] if system else [])


def measure_warm(system: Any, clip: pathlib.Path, repeats: int):
  """Measures seconds of a generation after the first, median of `repeats`.

  Args:
    system: An `inference.system.System`.
    clip: The video.
    repeats: Generations timed, after one that is not.

  Returns:
    A dict of 'seconds' and 'seconds_per_part', both of the median run.
  """
  system.run(clip, seed=0)
  runs = []
  for seed in range(1, repeats + 1):
    start = time.perf_counter()
    parts = system.run(clip, seed=seed).seconds_per_part
    runs.append((time.perf_counter() - start, parts))
  middle = statistics.median_low(seconds for seconds, _ in runs)
  parts = next(parts for seconds, parts in runs if seconds == middle)
  return {'seconds': middle, 'seconds_per_part': parts}


def sequential_steps(system: Any, seconds: float) -> dict[str, int]:
  """Counts decoder steps that wait for one another, by stage and 'total'.

  A stage of codes writes one id a step, one that follows a flow a whole window
  in a few. Windows with a prefix follow one another and write only what the
  prefix does not give; others run side by side, `rows` at a time.
  """
  from v2meow_jax import specs
  from v2meow_jax.inference import pipeline

  steps = {}
  for stage, windows in zip(system.stages, system.windows, strict=True):
    spec = stage.spec
    starts = pipeline.window_starts(
      seconds, spec.crop_seconds, windows.prefix_seconds
    )
    if isinstance(spec.target, specs.FeatureSpec):
      calls = len(starts)
      if not windows.prefix_seconds:
        calls = math.ceil(calls / windows.rows)
      steps[spec.name] = calls * stage.model.sampler.steps
      continue
    length = spec.target.length(spec.crop_seconds)
    if windows.prefix_seconds:
      kept = round(windows.prefix_seconds * spec.target.rate_hz)
      later = length - kept * spec.target.num_codebooks
      steps[spec.name] = length + (len(starts) - 1) * later
    else:
      steps[spec.name] = math.ceil(len(starts) / windows.rows) * length
  return {**steps, 'total': sum(steps.values())}


def measure(folder: pathlib.Path, options: argparse.Namespace):
  """Measures all figures of the json, on clips rendered into `folder`."""
  clip = folder / 'clip.mp4'
  scene_clips.write(clip, options.seconds, options.seed)
  # Fresh processes come first: this one is still small, and Linux counts the
  # memory of a parent as the start of its child's peak.
  command = generate_command(clip, folder / 'out.mp4', options.system)
  cold_seconds, peak_bytes = measure_command(command, folder / 'cache')
  second_seconds, _ = measure_command(command, folder / 'cache')
  figures: dict[str, Any] = {
    'cold': {'seconds': cold_seconds, 'peak_bytes': peak_bytes},
    'second_start': {'seconds': second_seconds},
  }
  if not options.skip_long:
    figures['long'] = measure_long(folder, options)
  from v2meow_jax.inference import system as system_lib

  system = system_lib.load(options.system)
  warm = measure_warm(system, clip, options.repeats)
  warm['over_real_time'] = warm['seconds'] / options.seconds
  figures['warm'] = warm
  figures['sequential_steps_per_10s'] = sequential_steps(system, 10.0)
  figures['system_sha256'] = system.digest
  return {**figures, 'aims': aims(figures)}


def measure_long(folder: pathlib.Path, options: argparse.Namespace):
  """Measures peak memory of a short and of a long video, and their ratio."""
  clips = {}
  for seconds in (options.short_seconds, options.long_seconds):
    clips[seconds] = folder / f'{seconds:g}.mp4'
    scene_clips.write(clips[seconds], seconds, options.seed)
  return measure_lengths(clips, folder / 'long.mp4', options.system)


def measure_lengths(
  clips: Mapping[float, pathlib.Path], out: pathlib.Path, system: str | None
) -> dict[str, Any]:
  """Measures peak memory and seconds of videos, and the ratio of peaks.

  Args:
    clips: Paths of the videos by their seconds, the shortest first.
    out: Path of the soundtrack, beside which programs are kept.
    system: Folder of a system; None: the default.
  """
  peaks, walls = [], []
  for clip in report.progress(list(clips.values()), 'long videos'):
    command = generate_command(clip, out, system)
    wall, peak = measure_command(command, out.parent / 'cache')
    walls.append(wall)
    peaks.append(peak)
  return {
    'video_seconds': list(clips),
    'seconds': walls,
    'peak_bytes': peaks,
    'ratio': peaks[-1] / peaks[0],
  }


def aims(figures: dict[str, Any]) -> dict[str, bool]:
  """Checks which aims are met; that of memory only where it was measured."""
  got = {
    'cold_seconds': figures['cold']['seconds'],
    'second_start_seconds': figures['second_start']['seconds'],
    'warm_over_real_time': figures['warm']['over_real_time'],
    'peak_bytes': figures['cold']['peak_bytes'],
  }
  if 'long' in figures:
    got['memory_long_over_short'] = figures['long']['ratio']
  return {name: value < AIMS[name] for name, value in got.items()}


def show(figures: dict[str, Any]) -> str:
  """Prints the figures as a table."""
  met = {n: 'met' if yes else 'MISSED' for n, yes in figures['aims'].items()}
  cold, warm = figures['cold'], figures['warm']
  rows = [
    [
      'cold start to file',
      f'{cold["seconds"]:.1f} s',
      f'< {AIMS["cold_seconds"]:.0f} s',
      met['cold_seconds'],
    ],
    [
      'second start to file',
      f'{figures["second_start"]["seconds"]:.1f} s',
      f'< {AIMS["second_start_seconds"]:.0f} s',
      met['second_start_seconds'],
    ],
    [
      'warm, per second of video',
      f'{warm["over_real_time"]:.2f} s',
      f'< {AIMS["warm_over_real_time"]:.0f} s',
      met['warm_over_real_time'],
    ],
    *(
      [f'  {part}', f'{seconds:.2f} s', '', '']
      for part, seconds in warm['seconds_per_part'].items()
    ),
    [
      'peak memory',
      f'{cold["peak_bytes"] / 1e9:.2f} GB',
      f'< {AIMS["peak_bytes"] / 1e9:.0f} GB',
      met['peak_bytes'],
    ],
  ]
  if 'long' in figures:
    long = figures['long']
    short_seconds, long_seconds = long['video_seconds']
    rows += [
      [f'  video of {seconds:g} s', f'{peak / 1e9:.2f} GB', '', '']
      for seconds, peak in zip(
        long['video_seconds'], long['peak_bytes'], strict=True
      )
    ]
    rows.append(
      [
        f'memory, {long_seconds:g} s over {short_seconds:g} s',
        f'{long["ratio"]:.3f}',
        f'< {AIMS["memory_long_over_short"]:.2f}',
        met['memory_long_over_short'],
      ]
    )
  rows += [
    [f'steps per 10 s, {stage}', steps, '', '']
    for stage, steps in figures['sequential_steps_per_10s'].items()
  ]
  return report.table(['figure', 'measured', 'aim', ''], rows)


def use_cores(count: int) -> int:
  """Keeps this process and its children on `count` cores, where it can.

  Returns:
    How many cores they have.
  """
  if not hasattr(os, 'sched_setaffinity'):
    return os.cpu_count() or 1
  allowed = sorted(os.sched_getaffinity(0))[:count]
  os.sched_setaffinity(0, allowed)
  return len(allowed)


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
  parser = report.parser(
    'benchmarks.generate',
    'Measures what a soundtrack costs: cold start to file, warm speed, peak'
    ' memory, memory of long videos, sequential steps.',
    'python -m benchmarks.generate --skip_long --json out.json',
  )
  report.add_system(parser)
  add = parser.add_argument
  add('--seconds', type=float, default=10.0, help='of the clip (default 10)')
  add('--seed', type=int, default=7, help='of the picture (default 7)')
  add('--cores', type=report.positive, default=2, help='used (default 2)')
  add('--repeats', type=report.positive, default=3, help='warm (default 3)')
  add('--short_seconds', type=float, default=60.0, help='default 60')
  add('--long_seconds', type=float, default=300.0, help='default 300')
  add('--skip_long', action='store_true', help='no 1 and 5 minute videos')
  return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
  """Runs the benchmark."""
  options = _options(argv)
  report.check_json_path(options.json)
  cores = use_cores(options.cores)
  with tempfile.TemporaryDirectory(prefix='v2meow_benchmark_') as folder:
    figures = measure(pathlib.Path(folder), options)
  print(show(figures))
  report.write_json(
    options.json,
    {
      'benchmark': 'generate',
      **figures,
      'cores': cores,
      'settings': vars(options),
    },
  )


if __name__ == '__main__':
  sys.exit(report.run(main))
