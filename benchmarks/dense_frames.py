"""Counts what the encoder of dense frames costs, in windows and in full.

python -m benchmarks.dense_frames --json out.json

FLOPs of a forward pass by XLA's own analysis, of one clip at 10 Hz without
pooling of pairs, so that every layer has all frames.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
import sys

from benchmarks import report

_POSITIONS, _DIM = 16, 1024  # Cells of CLIP's patches.


def flops(frames: int, window: int | None, emb_dim: int) -> float:
  """FLOPs of a clip; a window of None is attention to all frames."""
  import jax
  import numpy as np

  from v2meow_jax import specs
  from v2meow_jax.models.adaptors import dense_temporal

  sizes = dense_temporal.DenseTemporalSizes(
    emb_dim=emb_dim,
    num_heads=emb_dim // 64,
    head_dim=64,
    mlp_dim=4 * emb_dim,
    num_poolings=0,
    window_frames=window,
  )
  stream = specs.FeatureSpec(
    name='patches', dim=_DIM, rate_hz=10.0, num_positions=_POSITIONS
  )
  module = dense_temporal.DenseTemporal(sizes, stream)
  x = jax.ShapeDtypeStruct((1, frames, _POSITIONS, _DIM), np.float32)
  shapes = jax.eval_shape(module.init, jax.random.key(0), x)
  lowered = jax.jit(lambda p, x: module.apply(p, x)).lower(shapes, x)
  return (lowered.compile().cost_analysis() or {})['flops']


def main(argv: Sequence[str] | None = None) -> None:
  """Prints the table."""
  parser = report.parser(
    'benchmarks.dense_frames',
    'FLOPs of the temporal encoder in windows and with full attention.',
    'python -m benchmarks.dense_frames --json out.json',
  )
  parser.add_argument('--emb_dim', type=report.positive, default=1024)
  parser.add_argument(
    '--frames', type=report.positive, nargs='+', default=[100, 400, 1600]
  )
  options: argparse.Namespace = parser.parse_args(argv)
  report.check_json_path(options.json)
  rows = [
    {
      'frames': n,
      'windows': flops(n, 8, options.emb_dim),
      'full': flops(n, None, options.emb_dim),
    }
    for n in options.frames
  ]
  cells = [
    [
      row['frames'],
      f'{row["windows"] / 1e9:.1f}',
      f'{row["full"] / 1e9:.1f}',
      f'{row["full"] / row["windows"]:.2f}',
    ]
    for row in rows
  ]
  print(
    report.table(['frames', 'windows, GFLOP', 'full, GFLOP', 'ratio'], cells)
  )
  report.write_json(options.json, {'benchmark': 'dense_frames', 'rows': rows})


if __name__ == '__main__':
  sys.exit(report.run(main))
