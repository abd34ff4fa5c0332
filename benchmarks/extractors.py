"""Measures the networks of others here: size, speed, memory, against torch.

python -m benchmarks.extractors --json out.json
python -m benchmarks.extractors --network clip-vit-l14 --network i3d-flow

Weights are random, of the published shapes. Each network has a process of its
own. Its peak memory is taken before torch is imported; then our calls and those
of the reference take turns on the same inputs, with the same threads, warm. The
ratio is that of the medians: above 1, ours is faster; what torch runs itself
has none. Run it where jax and
torch see a GPU and it measures there, in full float32 on both sides.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from collections.abc import Sequence
import json
import os
import pathlib
import resource
import statistics
import subprocess
import sys
import tempfile
from typing import Any

from benchmarks import generate
from benchmarks import report
from benchmarks import training
from benchmarks.networks import table

AIM = 1.0  # Of the ratio to the torch reference.


def measure(
  name: str, *, rounds: int, cores: int, tiny: bool
) -> dict[str, Any]:
  """Measures one network in this process.

  Args:
    name: Name in `table.NETWORKS`.
    rounds: Turns that are timed, after one that is not.
    cores: Number of cores of the process, and of threads of torch.
    tiny: Sizes of a quick check, not the published ones.

  Returns:
    'parameters', 'unit', 'per_second', 'seconds' of a call, 'peak_bytes',
    'device', 'cores', 'rounds' with the seconds of every call, and 'ratio'
    and 'reference_seconds', or None for both.
  """
  import jax

  sides = table.NETWORKS[name](tiny)
  sides.ours()
  figures = {
    'parameters': sides.num_parameters,
    'unit': sides.unit,
    'device': jax.local_devices()[0].device_kind,
    'cores': cores,
    'peak_bytes': _peak_bytes(),
  }
  runs = {'ours': sides.ours}
  if sides.reference is not None:
    runs['reference'] = sides.reference(_torch_device(cores))
  taken = training.seconds_in_turn(runs, rounds)
  middle = {k: statistics.median(seconds) for k, seconds in taken.items()}
  theirs = middle.get('reference')
  return figures | {
    'seconds': middle['ours'],
    'per_second': sides.amount / middle['ours'],
    'reference_seconds': theirs,
    'ratio': theirs / middle['ours'] if theirs else None,
    'rounds': taken,
  }


def _peak_bytes() -> int:
  """Reads peak memory of the accelerator, or else of this process."""
  import jax

  stats = jax.local_devices()[0].memory_stats()
  if stats and 'peak_bytes_in_use' in stats:
    return stats['peak_bytes_in_use']
  # ru_maxrss is in kilobytes on Linux and in bytes on macOS.
  unit = 1 if sys.platform == 'darwin' else 1024
  return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _torch_device(cores: int) -> str:
  """Sets torch up like jax: device, precision, number of threads.

  Raises:
    ValueError: jax has a GPU that torch does not see.
  """
  import jax
  import torch

  torch.set_num_threads(cores)
  torch.backends.cudnn.allow_tf32 = False
  if jax.default_backend() == 'cpu':
    return 'cpu'
  if not torch.cuda.is_available():
    raise ValueError(
      f'jax runs on {jax.default_backend()} but torch sees no GPU: install'
      ' torch with CUDA, or set JAX_PLATFORMS=cpu.'
    )
  return 'cuda'


def measure_apart(name: str, options: argparse.Namespace) -> dict[str, Any]:
  """Measures in a process of its own.

  Raises:
    ValueError: The process failed; the message ends with its last line.
  """
  with tempfile.TemporaryDirectory(prefix='v2meow_benchmark_') as folder:
    path = pathlib.Path(folder, 'figures.json')
    command = [sys.executable, '-m', 'benchmarks.extractors', '--apart']
    command += ['--network', name, '--json', str(path)]
    command += ['--rounds', str(options.rounds), '--cores', str(options.cores)]
    done = subprocess.run(
      command + ['--tiny'] * options.tiny,
      # Else jax would leave torch no memory of a GPU.
      env={**os.environ, 'XLA_PYTHON_CLIENT_PREALLOCATE': 'false'},
      stdout=subprocess.PIPE,
      stderr=subprocess.STDOUT,
      text=True,
    )
    if done.returncode:
      lines = done.stdout.strip().splitlines()
      raise ValueError(
        f'{name}: exit code {done.returncode}:'
        f' {lines[-1] if lines else "no output"}'
      )
    return json.loads(path.read_text())['networks'][name]


def show(figures: Mapping[str, Mapping[str, Any]]) -> str:
  """Prints the figures as a table."""
  rows = []
  for name, f in figures.items():
    ratio = f['ratio']
    verdict = '' if ratio is None else 'met' if ratio >= AIM else 'MISSED'
    rows.append(
      [
        name,
        f'{f["parameters"] / 1e6:.1f} M' if f['parameters'] else '-',
        f'{f["per_second"]:.2f} {f["unit"]}/s',
        f'{f["peak_bytes"] / 1e9:.2f} GB',
        '-' if ratio is None else f'{ratio:.2f}',
        verdict,
      ]
    )
  header = ['network', 'parameters', 'media', 'peak memory', 'over torch', '']
  return report.table(header, rows)


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
  parser = report.parser(
    'benchmarks.extractors',
    'Measures the networks of others: parameters, media per second, peak'
    f' memory, speed over that of torch (aim {AIM}).',
    'python -m benchmarks.extractors --network clip-vit-l14 --json out.json',
  )
  add = parser.add_argument
  add(
    '--network',
    action='append',
    choices=list(table.NETWORKS),
    help='one to measure, may be repeated (default all)',
  )
  add('--rounds', type=report.positive, default=5, help='turns (default 5)')
  add('--cores', type=report.positive, default=2, help='used (default 2)')
  add('--tiny', action='store_true', help='tiny sizes: does everything run?')
  add('--apart', action='store_true', help=argparse.SUPPRESS)
  return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
  """Runs the benchmark."""
  options = _options(argv)
  report.check_json_path(options.json)
  names = options.network or list(table.NETWORKS)
  if options.apart:
    cores = generate.use_cores(options.cores)
    figures = {
      name: measure(name, rounds=options.rounds, cores=cores, tiny=options.tiny)
      for name in names
    }
  else:
    figures = {
      name: measure_apart(name, options)
      for name in report.progress(names, 'networks')
    }
    print(show(figures))
  report.write_json(
    options.json,
    {
      'benchmark': 'extractors',
      'networks': figures,
      'settings': vars(options),
    },
  )


if __name__ == '__main__':
  sys.exit(report.run(main))
