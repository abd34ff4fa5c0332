"""Measures `v2meow batch`: items a minute, what the stages wait for, memory.

python -m benchmarks.batch --num 64 --json out.json
python -m benchmarks.batch --parts memory

The loop that it is compared with has the system loaded and compiled, and makes
the first of the same clips one after another, as `v2meow generate` does. Memory
is that of the largest process, of --num items and of --num_memory, which are clips
of 2 s as .wav. Unless there is a --system, its stages there are random and next to
nothing: what could grow with the list is in none of them.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
import json
import pathlib
import re
import subprocess
import sys
import tempfile
import time
from typing import Any

from benchmarks import generate
from benchmarks import report
from tests.fakes import scene_clips

PARTS = ('speed', 'memory')
AIMS = {'over_loop': 2.5, 'wait_share': 0.05, 'memory_ratio': 1.15}
_MEMORY_SECONDS = 2.0
# In a process of its own, as it loads JAX.
_PACK = """
import sys

from tests.fakes import small_system

small_system.pack(sys.argv[1], small_system.CHAINS['two'])
"""
_LAST_LINES = re.compile(
  r'(\d+) items in ([\d.]+) minutes, .*waited for ([\d.]+)%'
)


def write_manifest(folder: pathlib.Path, num: int, options: Any) -> str:
  """Writes a list of items: some clips, each with several seeds."""
  clips = min(num, options.num_clips)
  for index in range(clips):
    clip = folder / f'{index}.mp4'
    if not clip.exists():
      scene_clips.write(clip, options.seconds, options.seed + index)
  rows = (
    {'id': f'item_{n}', 'path': f'{n % clips}.mp4', 'seed': n}
    for n in range(num)
  )
  manifest = folder / f'{num}.jsonl'
  manifest.write_text(''.join(json.dumps(row) + '\n' for row in rows))
  return str(manifest)


def measure_batch(folder: pathlib.Path, num: int, options: Any):
  """Runs a batch in a process of its own.

  Returns:
    A dict of 'items', 'items_per_minute' once it has started, 'wait_share',
    'peak_bytes' and 'start_seconds'.
  """
  manifest = write_manifest(folder, num, options)
  said = folder / 'said.txt'
  command = [
    *('sh', '-c', 'exec "$@" >"$0"', str(said)),
    *(sys.executable, '-m', 'v2meow_jax.cli.main', 'batch', manifest),
    *('-o', str(folder / f'music_{num}'), '--format', options.format),
    *('--rows', str(options.rows), '--workers', str(options.workers)),
    *(['--system', options.system] if options.system else []),
  ]
  seconds, peak = generate.measure_command(command, folder / 'cache')
  found = _LAST_LINES.search(said.read_text())
  if not found:
    raise ValueError(f'the batch of {num} items did not say how it went.')
  minutes = float(found[2])
  return {
    'items': int(found[1]),
    'items_per_minute': int(found[1]) / minutes,
    'wait_share': float(found[3]) / 100,
    'peak_bytes': peak,
    'start_seconds': seconds - 60 * minutes,
  }


def measure_loop(folder: pathlib.Path, options: Any) -> dict[str, float]:
  """Makes clips one after another in a process that has made one already."""
  from v2meow_jax.inference import soundtrack
  from v2meow_jax.inference import system as system_lib
  from v2meow_jax.inference.programs import compile_cache

  compile_cache.enable()
  loaded = system_lib.load(options.system)
  load, system_lib.load = system_lib.load, lambda *_: loaded
  try:
    for index in range(options.num_loop + 1):
      if index == 1:
        start = time.perf_counter()
      soundtrack.write(
        str(folder / f'{index % options.num_clips}.mp4'),
        str(folder / f'loop.{options.format}'),
        seed=index,
      )
  finally:
    system_lib.load = load
  minutes = (time.perf_counter() - start) / 60
  return {
    'items': options.num_loop,
    'items_per_minute': options.num_loop / minutes,
  }


def measure_memory(folder: pathlib.Path, options: Any) -> dict[str, Any]:
  """Measures the largest process of a short and of a long list, and the ratio."""
  folder.mkdir()
  system = options.system
  if system is None:
    system = str(folder / 'system')
    subprocess.run([sys.executable, '-c', _PACK, system], check=True)
  cheap = {'seconds': _MEMORY_SECONDS, 'format': 'wav', 'system': system}
  options = argparse.Namespace(**{**vars(options), **cheap})
  # Programs that are compiled are kept for the next ones.
  measure_batch(folder, options.rows, options)
  lists = [
    measure_batch(folder, num, options)
    for num in report.progress([options.num, options.num_memory], 'lists')
  ]
  peaks = [each['peak_bytes'] for each in lists]
  return {'lists': lists, 'ratio': peaks[1] / peaks[0]}


def measure(folder: pathlib.Path, options: Any) -> dict[str, Any]:
  """Measures the parts that are asked for."""
  figures: dict[str, Any] = {}
  # Linux counts the memory of a parent as the start of its child's peak, and
  # this process is still small.
  if 'memory' in options.parts:
    figures['memory'] = measure_memory(folder / 'memory', options)
  if 'speed' in options.parts:
    measure_batch(folder, options.rows, options)
    figures['batch'] = measure_batch(folder, options.num, options)
    figures['loop'] = measure_loop(folder, options)
    figures['over_loop'] = (
      figures['batch']['items_per_minute'] / figures['loop']['items_per_minute']
    )
  return {**figures, 'aims': aims(figures)}


def aims(figures: dict[str, Any]) -> dict[str, bool]:
  """Checks which aims are met."""
  met = {}
  if 'batch' in figures:
    met['over_loop'] = figures['over_loop'] >= AIMS['over_loop']
    met['wait_share'] = figures['batch']['wait_share'] < AIMS['wait_share']
  if 'memory' in figures:
    met['memory_ratio'] = figures['memory']['ratio'] < AIMS['memory_ratio']
  return met


def show(figures: dict[str, Any]) -> str:
  """Prints the figures as a table."""
  met = {n: 'met' if yes else 'MISSED' for n, yes in figures['aims'].items()}
  rows = []
  if memory := figures.get('memory'):
    rows += [
      [f'peak memory, {each["items"]} items', _gigabytes(each), '', '']
      for each in memory['lists']
    ]
    rows.append(
      [
        'memory, more over fewer',
        f'{memory["ratio"]:.3f}',
        f'< {AIMS["memory_ratio"]}',
        met['memory_ratio'],
      ]
    )
  if batch := figures.get('batch'):
    rows += [
      ['items a minute', f'{batch["items_per_minute"]:.1f}', '', ''],
      ['  in a loop', f'{figures["loop"]["items_per_minute"]:.1f}', '', ''],
      [
        'batch over loop',
        f'{figures["over_loop"]:.2f}',
        f'>= {AIMS["over_loop"]}',
        met['over_loop'],
      ],
      [
        'stages wait',
        f'{batch["wait_share"]:.1%}',
        f'< {AIMS["wait_share"]:.0%}',
        met['wait_share'],
      ],
      [f'peak memory, {batch["items"]} clips', _gigabytes(batch), '', ''],
    ]
  return report.table(['figure', 'measured', 'aim', ''], rows)


def _gigabytes(figures: dict[str, Any]) -> str:
  return f'{figures["peak_bytes"] / 1e9:.2f} GB'


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
  parser = report.parser(
    'benchmarks.batch',
    'Measures a batch: items a minute beside a loop of single clips, share of'
    ' the time in which the stages wait, peak memory.',
    'python -m benchmarks.batch --num 64 --json out.json',
  )
  report.add_system(parser)
  add = parser.add_argument
  add('--num', type=report.positive, default=64, help='items (default 64)')
  add('--parts', nargs='+', choices=PARTS, default=PARTS, help='default: all')
  add('--num_memory', type=report.positive, default=640, help='default 640')
  add('--num_loop', type=report.positive, default=4, help='default 4')
  add('--num_clips', type=report.positive, default=8, help='default 8')
  add('--seconds', type=float, default=10.0, help='of a clip (default 10)')
  add('--seed', type=int, default=7, help='of the pictures (default 7)')
  add('--rows', type=report.positive, default=8, help='default 8')
  add('--workers', type=report.positive, default=2, help='default 2')
  add('--cores', type=report.positive, default=2, help='used (default 2)')
  add('--format', default='mp4', help='of the results (default mp4)')
  return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
  """Runs the benchmark."""
  options = _options(argv)
  report.check_json_path(options.json)
  cores = generate.use_cores(options.cores)
  with tempfile.TemporaryDirectory(prefix='v2meow_benchmark_') as folder:
    figures = measure(pathlib.Path(folder), options)
  print(show(figures))
  report.write_json(
    options.json,
    {
      'benchmark': 'batch',
      **figures,
      'cores': cores,
      'settings': vars(options),
    },
  )


if __name__ == '__main__':
  sys.exit(report.run(main))
