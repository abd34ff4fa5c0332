"""Measures how many training examples a second are read from records.

python -m benchmarks.records --json out.json

Videos of 163 s with the streams of the paper (CLIP and flow at 1 Hz, a style,
semantic tokens at 25 Hz, 12 levels of a codec at 50 Hz: 788 kB a video) are
written twice: whole, one record each without a table of records, and in pieces,
as `v2meow data prepare` does. Batches of stage 1, crops of 10 s, are read from
both in turn, so that whatever else the machine does hits both. Opening is timed
as well.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from collections.abc import Sequence
import dataclasses
import itertools
import os
import pathlib
import statistics
import sys
import tempfile
import time
from typing import Any

import numpy as np

from benchmarks import report

AIM = 2000
_SHARDS = 4
_BATCH = 64


def streams() -> list[Any]:
  """Returns the streams of the paper's records."""
  from v2meow_jax import stages

  table = stages.paper_streams()
  names = ('clip', 'flow', 'style', 'semantic')
  return [*(table[name] for name in names), stages.acoustic(table)]


def clips(num: int, seconds: float) -> Iterator[tuple[str, dict[str, Any]]]:
  """Draws names and streams of videos."""
  from v2meow_jax import specs
  from v2meow_jax.data import records

  rng = np.random.default_rng(0)
  for i in range(num):
    values = {}
    for s in streams():
      shape = (records.num_frames(s, seconds), *s.frame_shape)
      values[s.name] = (
        rng.integers(s.codebook_size, size=shape)
        if isinstance(s, specs.TokenSpec)
        else rng.normal(size=shape).astype(np.float16)
      )
    yield f'video{i}', values


def write(
  folder: pathlib.Path, num: int, seconds: float, piece_seconds: float
) -> None:
  """Writes a dataset of one split.

  Args:
    folder: Folder to create.
    num: Number of videos.
    seconds: Duration of each.
    piece_seconds: Duration of a record; infinity writes whole recordings
      without tables, as earlier versions did.
  """
  import tensorflow_datasets as tfds

  from v2meow_jax.data import records
  from v2meow_jax.data import shards

  folder.mkdir(parents=True)
  recordings = (
    shards.Recording(
      seconds=seconds,
      pieces=records.serialise(name, seconds, values, streams(), piece_seconds),
    )
    for name, values in clips(num, seconds)
  )
  whole = piece_seconds == float('inf')
  index = {}
  for i in range(_SHARDS):
    name = f'v2meow-train.tfrecord-{i:05d}-of-{_SHARDS:05d}'
    some = itertools.islice(recordings, -(-num // _SHARDS))
    index[name] = shards.write(str(folder / name), some)
    if whole:
      index[name] = dataclasses.replace(index[name], table_sha256=None)
      os.remove(folder / shards.table_name(name))
  shards.write_index(str(folder), index)
  tfds.folder_dataset.write_metadata(
    data_dir=str(folder),
    features=records.tfds_features(streams()),
    split_infos=[
      tfds.core.SplitInfo(
        name='train',
        shard_lengths=[shard.records for shard in index.values()],
        num_bytes=sum(shard.bytes for shard in index.values()),
      )
    ],
    metadata=tfds.core.MetadataDict(
      streams=records.streams_to_json(streams()),
      **({} if whole else {'piece_seconds': piece_seconds}),
    ),
    check_data=False,
  )


def opened(dataset: str) -> tuple[Iterator[Any], float]:
  """Opens batches of a dataset; returns them and the seconds that it took."""
  from v2meow_jax import stages
  from v2meow_jax.data import batches

  source = batches.TaskBatches(
    stages.semantic(), dataset=dataset, batch_size=_BATCH
  )
  start = time.perf_counter()
  iterator = source(0)
  next(iterator)
  return iterator, time.perf_counter() - start


def measure(options: argparse.Namespace) -> list[dict[str, Any]]:
  """Writes both datasets and reads them in turn."""
  from v2meow_jax.data import record_source

  with tempfile.TemporaryDirectory() as folder:
    os.environ[record_source.DATA_DIR_VARIABLE] = folder
    kinds = {'whole': float('inf'), 'pieces': options.piece_seconds}
    readers, figures = {}, {}
    for name, piece_seconds in kinds.items():
      data = pathlib.Path(folder) / name
      write(data, options.videos, options.seconds, piece_seconds)
      readers[name], opening = opened(name)
      size = sum(f.stat().st_size for f in data.iterdir())
      figures[name] = {'kind': name, 'opening': opening, 'bytes': size}
    rates: dict[str, list[float]] = {name: [] for name in kinds}
    for _ in report.progress(range(options.rounds), 'rounds'):
      for name, reader in readers.items():
        start = time.perf_counter()
        for _ in range(options.batches):
          next(reader)
        taken = time.perf_counter() - start
        rates[name].append(options.batches * _BATCH / taken)
  before = rates['whole']
  for name, figure in figures.items():
    pairs = zip(rates[name], before, strict=True)
    figure['examples_per_second'] = statistics.median(rates[name])
    figure['over_whole'] = statistics.median(a / b for a, b in pairs)
  return list(figures.values())


def show(figures: Sequence[dict[str, Any]]) -> str:
  """Prints the figures as a table."""
  rows = [
    [
      f['kind'],
      f'{f["bytes"] / 1e6:.0f} MB',
      f'{f["opening"]:.2f} s',
      f'{f["examples_per_second"]:.0f}',
      f'{f["over_whole"]:.2f}',
    ]
    for f in figures
  ]
  header = ['records', 'size', 'first batch', 'examples/s', 'over whole']
  return report.table(header, [*rows, ['aim', '', '', f'>= {AIM}', '']])


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
  parser = report.parser(
    'benchmarks.records',
    'Times the reading of training examples from whole and from cut records.',
    'python -m benchmarks.records --json out.json',
  )
  for flag, default, text in (
    ('--videos', 128, 'number of videos'),
    ('--batches', 20, f'batches of {_BATCH} in a round'),
    ('--rounds', 5, 'turns'),
  ):
    parser.add_argument(
      flag, type=report.positive, default=default, help=f'{text} ({default})'
    )
  for flag, default, text in (
    ('--seconds', 163.0, 'duration of a video'),
    ('--piece_seconds', 10.0, 'duration of a record'),
  ):
    parser.add_argument(
      flag, type=float, default=default, help=f'{text} ({default:g})'
    )
  return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
  """Runs the benchmark."""
  options = _options(argv)
  report.check_json_path(options.json)
  figures = measure(options)
  print(show(figures))
  report.write_json(
    options.json,
    {'benchmark': 'records', 'kinds': figures, 'settings': vars(options)},
  )


if __name__ == '__main__':
  sys.exit(report.run(main))
