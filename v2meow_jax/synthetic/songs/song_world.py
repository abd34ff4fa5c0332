"""Writes songs to disk, with a manifest as that of the drawn world."""

from __future__ import annotations

import functools
import json
import os
import pathlib

from absl import logging

from v2meow_jax import progress as progress_lib
from v2meow_jax.files import atomic
from v2meow_jax.files import paths
from v2meow_jax.synthetic import world
from v2meow_jax.synthetic.bank import banks
from v2meow_jax.synthetic.songs import mixing
from v2meow_jax.synthetic.songs import song as song_lib
from v2meow_jax.synthetic.songs import song_plan
from v2meow_jax.synthetic.songs.words import song_captions

# Increases whenever the same seed gives other songs.
SONGS_VERSION = 1
SUFFIX = '.flac'
RATE_HZ = 16_000


def write(
  out: str | os.PathLike,
  num: int,
  seed: int,
  seconds: float,
  instruments: str | None = None,
  rate_hz: int = RATE_HZ,
  workers: int = 1,
  progress: bool = True,
) -> pathlib.Path:
  """Writes `num` songs and their manifest; equal arguments give equal bytes.

  A second run with the same arguments continues an interrupted one.

  Args:
    out: Folder, here or in a bucket; absent, empty, or begun by a run with the
      same arguments.
    num: Number of songs, at least 1.
    seed: Seed of the world.
    seconds: Duration of each song.
    instruments: Source of the notes; see `banks.source`.
    rate_hz: Sample rate, in Hz.
    workers: Number of processes; it does not affect the songs.
    progress: Whether to show progress on standard error.

  Returns:
    The path of the manifest.

  Raises:
    ValueError: An argument is out of its range, there is no such bank, or `out`
      holds anything but this run.
  """
  if num < 1 or workers < 1:
    raise ValueError(
      f'num is {num} and workers is {workers}; wanted at least 1 each.'
    )
  song_lib.sample(seed, 0, seconds)
  source = banks.source(instruments)
  bank = banks.load(source, rate_hz)
  if source == banks.NUMPY and instruments != banks.NUMPY:
    logging.warning(
      'No bank of sampled instruments: songs sound like oscillators. `apt'
      ' install musescore-general-soundfont` brings one, or set %s.',
      banks.VARIABLE,
    )
  out = paths.path(out)
  run = {
    'world': 'songs',
    'version': SONGS_VERSION,
    'num': num,
    'seed': seed,
    'seconds': float(seconds),
    'rate_hz': rate_hz,
    'instruments': bank.name,
  }
  if source != banks.NUMPY:
    run['instruments_sha256'] = atomic.sha256(pathlib.Path(source))
  world.claim(out, run)
  (out / 'clips').mkdir(exist_ok=True)
  one = functools.partial(
    _write_song, out, seed=seed, seconds=seconds, source=source, rate_hz=rate_hz
  )
  made = progress_lib.bar(
    world.each(one, num, workers), total=num, unit='song', disable=not progress
  )
  manifest = out / 'manifest.jsonl'
  atomic.write_text(manifest, ''.join(json.dumps(line) + '\n' for line in made))
  return manifest


def _write_song(
  out: pathlib.Path,
  index: int,
  *,
  seed: int,
  seconds: float,
  source: str,
  rate_hz: int,
) -> dict:
  """Writes a song unless it is there; returns its line of the manifest."""
  from v2meow_jax.files import write as media_write

  song = song_lib.sample(seed, index, seconds)
  path = out / 'clips' / f'{index:06d}{SUFFIX}'
  if not path.exists():
    bank = banks.load(source, rate_hz)
    media_write.write_audio(path, mixing.render(song, bank))
  return {
    'id': path.stem,
    'path': path.relative_to(out).as_posix(),
    'caption': song_captions.caption(song),
    'plan': song_plan.plan(song),
    'seconds': song.seconds,
    'split': world.split(index),
    'genre': song.style,
    'tempo_bpm': song.tempo_bpm,
    'beat_times': [round(float(t), 6) for t in song.beat_times],
    'key': song.key_name,
    'mode': song.mode,
    'cut_times': [round(float(t), 6) for t in song.section_times[1:]],
    'sha256': atomic.sha256(path),
  }
