"""Writes a synthetic world: clips of video with music, and a manifest."""

from collections.abc import Callable
import concurrent.futures
import functools
import json
import multiprocessing
import pathlib

from absl import logging

from v2meow_jax import media
from v2meow_jax import progress as progress_lib
from v2meow_jax.files import atomic
from v2meow_jax.files import paths
from v2meow_jax.synthetic import captions
from v2meow_jax.synthetic import compose
from v2meow_jax.synthetic import render
from v2meow_jax.synthetic import scene as scene_lib
from v2meow_jax.synthetic import score

# Increases whenever the same seed gives another world.
WORLD_VERSION = 2
# Every tenth scene is held out.
_VALIDATION_EVERY = 10


def write(
  out: str | pathlib.Path,
  num: int,
  seed: int,
  seconds: float = 10.0,
  surprise: float = 0.0,
  freedom: float = 0.0,
  sound_only: bool = False,
  workers: int = 1,
  progress: bool = True,
) -> pathlib.Path:
  """Writes `num` clips and their manifest; equal arguments give equal bytes.

  OUT/world.json names the run, OUT/clips/000000.mp4 and so on are the clips,
  and OUT/manifest.jsonl, written last, has a line for each. A second run with
  the same arguments continues an interrupted one.

  Args:
    out: Folder, here or in a bucket; absent, empty, or begun by a run with the same arguments.
    num: Number of clips, at least 1.
    seed: Seed of the world.
    seconds: Duration of each clip.
    surprise: Probability that a picture looks like another genre than its music.
    freedom: Probability of a tempo that is not that of a genre; see `scene`.
    sound_only: Whether clips are .wav files without a picture.
    workers: Number of processes; it does not affect the clips.
    progress: Whether to show progress on standard error.

  Returns:
    The path of the manifest.

  Raises:
    ValueError: `num` or `workers` is below 1, an argument of the scenes is
      out of range, or `out` holds anything but this run.
  """
  if num < 1 or workers < 1:
    raise ValueError(
      f'num is {num} and workers is {workers}; wanted at least 1 each.'
    )
  sample = functools.partial(
    scene_lib.sample,
    seed,
    seconds=seconds,
    surprise=surprise,
    freedom=freedom,
  )
  sample(0)
  out = paths.path(out)
  run = {
    'version': WORLD_VERSION,
    'num': num,
    'seed': seed,
    'seconds': float(seconds),
    'surprise': float(surprise),
  }
  # Worlds of earlier versions had neither.
  options = {'freedom': float(freedom), 'sound_only': sound_only}
  claim(out, {**run, **{k: v for k, v in options.items() if v}})
  clips = out / 'clips'
  clips.mkdir(exist_ok=True)
  suffix = '.wav' if sound_only else media.WRITTEN_VIDEO_SUFFIX
  num_done = sum((clips / f'{n:06d}{suffix}').exists() for n in range(num))
  logging.info('World %s: %d of %d clips exist already.', out, num_done, num)
  one = functools.partial(_write_clip, out, suffix=suffix, sample=sample)
  made = progress_lib.bar(
    each(one, num, workers), total=num, unit='clip', disable=not progress
  )
  lines = [json.dumps(line) + '\n' for line in made]
  manifest = out / 'manifest.jsonl'
  atomic.write_text(manifest, ''.join(lines))
  return manifest


def each(one, num: int, workers: int):
  """Yields one(0), one(1), ... in order, computed by `workers` processes."""
  if workers == 1:
    yield from map(one, range(num))
    return
  # Forking a process that runs JAX's threads may deadlock.
  context = multiprocessing.get_context('spawn')
  pool = concurrent.futures.ProcessPoolExecutor(workers, context)
  try:
    yield from pool.map(
      one, range(num), chunksize=max(1, min(8, num // workers))
    )
  except BaseException:
    # Ctrl-C may come while its thread starts, for which nobody can wait then.
    pool.shutdown(wait=False, cancel_futures=True)
    raise
  pool.shutdown()


def claim(out: pathlib.Path, run: dict) -> None:
  """Claims `out` for this run; raises ValueError if it holds anything else."""
  marker = out / 'world.json'
  if marker.exists():
    other = json.loads(marker.read_text(encoding='utf-8'))
    if other != run:
      raise ValueError(
        f'{out} holds the world {other}, not {run}; give the arguments of'
        ' that world to continue it, or another folder.'
      )
    return
  if out.exists() and any(out.iterdir()):
    raise ValueError(
      f'{out} is not empty and holds no world.json, so it is not a world'
      ' that could be continued; give an empty or a new folder.'
    )
  out.mkdir(parents=True, exist_ok=True)
  marker.write_text(json.dumps(run) + '\n', encoding='utf-8')


def _write_clip(
  out: pathlib.Path,
  index: int,
  *,
  suffix: str,
  sample: Callable[[int], scene_lib.Scene],
) -> dict:
  """Writes a clip unless it is there; returns its line of the manifest."""
  from v2meow_jax.files import write as media_write

  scene = sample(index)
  path = out / 'clips' / f'{index:06d}{suffix}'
  # Whole or absent, so that a clip which is there need not be made again.
  if not path.exists() and suffix == media.WRITTEN_VIDEO_SUFFIX:
    media_write.write_video(
      path,
      render.frames(scene),
      rate_hz=scene.rate_hz,
      audio=compose.music(scene),
    )
  elif not path.exists():
    media_write.write_audio(path, compose.music(scene))
  return {
    'id': path.stem,
    'path': path.relative_to(out).as_posix(),
    'caption': captions.caption(scene),
    'plan': score.plan(scene),
    'seconds': scene.seconds,
    'split': split(index),
    'genre': scene.genre,
    'look_genre': scene.look_genre,
    'tempo_bpm': scene.tempo_bpm,
    'beat_times': scene.beat_times,
    'key': scene.key,
    'mode': scene.mode,
    'cut_times': scene.cut_times,
    'sha256': atomic.sha256(path),
  }


def split(index: int) -> str:
  """Returns 'validation' for every tenth scene, else 'train'."""
  last = _VALIDATION_EVERY - 1
  return 'validation' if index % _VALIDATION_EVERY == last else 'train'
