"""A batch whose system hums what its videos say, and whose decoder may die.

python -m tests.fakes.small_batch --num 50 --kills 20

kills one at random instants and compares what it makes with one left alone;
with --bucket, its results are in one that a server on this machine keeps.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from collections.abc import Sequence
import contextlib
import dataclasses
import json
import os
import pathlib
import random
import signal
import tempfile
import time
import types
from typing import Any

import numpy as np

from tests.fakes import forks
from v2meow_jax import media
from v2meow_jax.files import paths
from v2meow_jax.jobs import shards

RATE_HZ = 8000
SECONDS = 0.5
POISON = {'crash': 'crash', 'hang': 'time', 'cut short': 'refused'}
LIMIT_SECONDS = 1.0
# From the sound of an item to its record, some 20 ms, and to the next ones.
_MOST_FINISH_SECONDS = 0.05
# The whole of a process.
_RUN = """
import sys
from tests.fakes import small_batch
manifest, out, log = sys.argv[1:]
sys.exit(small_batch.run(manifest, out, log=log))
"""


def write_manifest(
  folder: pathlib.Path, num: int, poison: bool = True
) -> pathlib.Path:
  """A manifest of clips `item_N`; the first three crash, hang and are damaged."""
  folder.mkdir(parents=True, exist_ok=True)
  texts = [f'clip {n}' for n in range(num)]
  if poison:
    texts[: len(POISON)] = POISON
  rows = []
  for number, text in enumerate(texts):
    (folder / f'{number}.mp4').write_text(text)
    rows.append({'id': f'item_{number}', 'path': f'{number}.mp4'})
  manifest = folder / 'manifest.jsonl'
  manifest.write_text(''.join(json.dumps(row) + '\n' for row in rows))
  return manifest


@dataclasses.dataclass(frozen=True)
class Humming:
  """Makes a reader of clips that are texts, some of which end it.

  Attributes:
    log: File that each try to read an item is written to.
  """

  log: str | None = None

  def __call__(self) -> Any:
    return self._read

  def _read(self, item: Any, output: str) -> Any:
    del output
    path = pathlib.Path(item.files['video'])
    text = path.read_text()
    if text == 'crash':
      os.kill(os.getpid(), signal.SIGSEGV)
    if text == 'hang':
      time.sleep(1000)
    if text == 'cut short':
      raise ValueError('the video is cut short')
    state = path.stat()
    file = {
      'version': f'size={state.st_size} mtime={state.st_mtime_ns}',
      'sha256': text,
    }
    number = sum(text.encode()) + item.options['seed']
    clip = {'number': number, 'text': text, 'log': self.log, 'id': item.id}
    return types.SimpleNamespace(clip=clip), {'video': file}


class HummingSystem:
  """A system that hums a tone for each clip, after it slept for each call."""

  num_groups = 1
  stages = ()

  def resolve(self, samplings: Any, rows: int | None) -> tuple[Any, Any]:
    del samplings
    return (), rows

  def follows(self, plan: Any, *prompts: str) -> bool:
    if plan is None:
      raise ValueError('it knows a video by its plan alone')
    return True

  def describe(self, samplings: Any, rows: Any) -> dict[str, Any]:
    del samplings
    return {'rows': rows}

  def sample(self, clips, samplings, rows, on_progress, clock) -> None:
    del samplings, clock
    assert rows is None or len(clips) <= rows * self.num_groups
    for _ in range(2):
      on_progress('stage', 1.0)
      time.sleep(0.01)
    for clip in clips:
      clip['hz'] = 100 + clip['number'] % 400

  def decode(self, read, facts, clock) -> Any:
    del clock
    clip = read.clip
    if clip['log']:
      with open(clip['log'], 'a', encoding='utf-8') as file:
        file.write(clip['id'] + '\n')
    times = np.arange(round(RATE_HZ * SECONDS)) / RATE_HZ
    loudness = 0.0 if clip['text'] == 'silent' else 0.5
    samples = loudness * np.sin(2 * np.pi * clip['hz'] * times)
    return types.SimpleNamespace(
      audio=media.Audio(samples=samples.astype(np.float32), rate_hz=RATE_HZ),
      seconds=SECONDS,
      streams={},
      plan=None,
      settings=facts,
    )


def run(manifest: Any, out: Any, *, log: Any = None, **fields: Any) -> int:
  """Runs `v2meow batch` with them; the exit code."""
  from v2meow_jax.jobs.generate import job

  is_stopped = fields.pop('is_stopped', lambda: False)
  shard = fields.pop('shard', shards.ALL)
  return job.run(
    batch(manifest, out, log=log, **fields), shard, is_stopped=is_stopped
  )


def batch(manifest: Any, out: Any, *, log: Any = None, **fields: Any) -> Any:
  """The `job.Batch` of a manifest, which hums."""
  from v2meow_jax.jobs.generate import job
  from v2meow_jax.jobs.generate import workers

  return job.Batch(
    **{
      'manifest': str(manifest),
      'out': str(out),
      'defaults': {'seed': 0},
      'rows': 2,
      'output_format': 'wav',
      'num_workers': 1,
      'limits': workers.CallLimits(seconds=LIMIT_SECONDS),
      'make_reader': Humming(log and str(log)),
      'load_system': load_humming,
      **fields,
    }
  )


def load_humming(*_: Any) -> HummingSystem:
  """Loads nothing."""
  return HummingSystem()


def digests(out: pathlib.Path) -> dict[str, bytes]:
  """Content of the results in a folder or bucket, by name."""
  names = [name for name in paths.inside(out) if name.endswith('.wav')]
  return {name: (out / name).read_bytes() for name in names}


def committed(out: pathlib.Path) -> set[str]:
  """Names of the items whose results count."""
  from v2meow_jax.jobs import records
  from v2meow_jax.jobs.generate import report

  try:
    options = report.read_job(out)['items']
  except ValueError:
    return set()
  return {r.id for r in report.standing(options, records.Results(out)).done}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Kill:
  """An instant at which a process is killed.

  Attributes:
    num_items: Number of items that it has computed by then.
    seconds: Time since the last one of these, in seconds.
  """

  num_items: int
  seconds: float


def draw_kills(rng: random.Random, num: int, num_items: int) -> list[Kill]:
  """Random instants, from the first item of a batch to its last."""
  return [
    Kill(
      num_items=rng.randint(0, max(1, 2 * num_items // num)),
      seconds=rng.uniform(0, _MOST_FINISH_SECONDS),
    )
    for _ in range(num)
  ]


def run_killed(
  manifest: Any,
  out: pathlib.Path,
  log: pathlib.Path,
  kills: Sequence[Kill],
  environment: Mapping[str, str],
) -> int:
  """Runs a batch that is killed at instants, and in the end is not.

  Args:
    manifest: List of clips.
    out: Folder of the results, here or in a bucket.
    log: File that the name of each item is written to when it is computed.
    kills: Instants at which processes are killed.
    environment: Environment variables of these.

  Returns:
    The exit code of the last process.

  Raises:
    AssertionError: An item was made again after it was committed.
  """
  log.touch()
  before: set[str] = set()
  code = 0
  with forks.Parent(
    'tests.fakes.small_batch',
    'v2meow_jax.jobs.generate.job',
    environment={**os.environ, **environment},
  ) as parent:
    for kill in (*kills, None):
      num_lines = len(log.read_text().split())
      with parent.start(_RUN, manifest, out, log) as process:
        if kill is not None:
          wanted = num_lines + kill.num_items
          while not process.has_ended():
            if len(log.read_text().split()) >= wanted:
              process.has_ended(kill.seconds)
              process.kill()
            time.sleep(0.002)
        code = process.wait()
      again = before.intersection(log.read_text().split()[num_lines:])
      assert not again, f'made again after they were committed: {again}'
      before = committed(out)
  return code


def main() -> None:
  """Compares a batch that is killed with one that is not."""
  parser = argparse.ArgumentParser()
  parser.add_argument('--num', type=int, default=50)
  parser.add_argument('--kills', type=int, default=20)
  parser.add_argument('--seed', type=int, default=0)
  parser.add_argument('--bucket', action='store_true')
  options = parser.parse_args()
  with contextlib.ExitStack() as stack:
    folder = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory()))
    manifest = write_manifest(folder / 'clips', options.num)
    whole, out = folder / 'whole', folder / 'out'
    run(manifest, whole)
    num_good = options.num - len(POISON)
    kills = draw_kills(random.Random(options.seed), options.kills, num_good)
    environment = {}
    if options.bucket:
      from tests.fakes import bucket_server

      environment = stack.enter_context(bucket_server.serving())
      out = paths.path('gs://bucket/out')
    log = folder / 'log'
    code = run_killed(manifest, out, log, kills, environment)
    names = [set(f) - set(_records(f)) for f in map(paths.inside, (whole, out))]
    failed = (out / 'failed.jsonl').read_text().splitlines()
    made = log.read_text().split()
    assert code == 3 and len(failed) == len(POISON)
    assert digests(out) == digests(whole) and names[0] == names[1], names
    print(
      f'{options.kills} kills: {len(digests(out))} results equal an undisturbed'
      f' run, {len(failed)} named failures, {len(made)} items computed, none'
      ' after its commit, no foreign file'
    )


def _records(names: Sequence[str]) -> list[str]:
  return [name for name in names if name.startswith('records/')]


if __name__ == '__main__':
  main()
