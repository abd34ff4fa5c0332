"""Small studies for tests: films of one second under tones of each system."""

from __future__ import annotations

from collections.abc import Sequence
import dataclasses
import json
import pathlib

import numpy as np

from v2meow_jax import media
from v2meow_jax.files import write
from v2meow_jax.study import answers
from v2meow_jax.study import assignment
from v2meow_jax.study import building
from v2meow_jax.study import protocol

RATE_HZ = 16_000
SYSTEMS = ('alpha', 'beta', 'gamma')


def tone(
  pitch_hz: float = 440.0, *, seconds: float = 1.0, level: float = 0.2
) -> media.Audio:
  """A sine."""
  times = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
  samples = level * np.sin(2 * np.pi * pitch_hz * times)
  return media.Audio(samples=samples.astype(np.float32), rate_hz=RATE_HZ)


def write_clip(
  path: pathlib.Path,
  *,
  scene: int,
  pitch_hz: float,
  seconds: float = 1.0,
  level: float = 0.2,
) -> pathlib.Path:
  """A square that moves over a ground, both of the scene, under a tone."""
  path.parent.mkdir(parents=True, exist_ok=True)
  rng = np.random.default_rng(scene)
  ground, square = rng.integers(40, 216, (2, 3), dtype=np.uint8)
  frames = np.empty((round(10 * seconds), 90, 160, 3), np.uint8)
  frames[:] = ground
  for index, frame in enumerate(frames):
    left = 10 + 110 * index // len(frames)
    frame[30:60, left : left + 30] = square
  audio = tone(pitch_hz, seconds=seconds, level=level)
  write.write_video(path, frames, rate_hz=10, audio=audio)
  return path


def write_folders(
  root: pathlib.Path,
  *,
  systems: Sequence[str] = SYSTEMS,
  num_clips: int = 2,
  seconds: float = 1.0,
) -> list[str]:
  """A folder for each system; the pitch tells the system."""
  for number, system in enumerate(systems):
    for scene in range(num_clips):
      write_clip(
        root / system / f'clip_{scene}.mp4',
        scene=scene,
        pitch_hz=220.0 * (number + 1),
        seconds=seconds,
      )
  return [str(root / system) for system in systems]


def build(
  root: pathlib.Path, *, seconds: float = 1.0, num_clips: int = 2, **settings
) -> tuple[pathlib.Path, protocol.Study]:
  """Builds a study into root/site."""
  folders = write_folders(root / 'in', seconds=seconds, num_clips=num_clips)
  study = building.build(folders, root / 'site', **settings)
  return root / 'site', study


def bare(
  *,
  systems: Sequence[str] = SYSTEMS,
  num_clips: int = 6,
  num_comparisons: int = 8,
  num_checks: int = 2,
  genres: Sequence[str | None] = (None,),
  num_silent: int = 2,
) -> protocol.Study:
  """A study without files, for what needs none."""
  clips = {
    f'clip_{i:02d}': protocol.StudyClip(
      name=f'clip_{i:02d}',
      genre=genres[i % len(genres)],
      seconds=10.0,
      files={s: f'{s}_{i}' for s in systems},
      silent=f'silent_{i}' if i < num_silent else None,
    )
    for i in range(num_clips)
  }
  pairs = tuple(
    protocol.StudyPair(clip=clip, first=first, second=second)
    for clip in clips
    for i, first in enumerate(systems)
    for second in systems[i + 1 :]
  )
  return protocol.Study(
    id='0123456789abcdef',
    title='Music for films',
    seed=0,
    systems=tuple(systems),
    clips=clips,
    pairs=pairs,
    num_comparisons=num_comparisons,
    num_checks=num_checks,
    min_played=0.9,
    files={},
    left_out=(),
    notes=(),
    version='0',
  )


def answer(relevance: int = 0, preference: int = 0, *, seconds: float = 60.0):
  """An answer of someone who heard clips of ten seconds."""
  return answers.Answer(
    relevance=relevance,
    preference=preference,
    played=(10.0, 10.0),
    seconds=seconds,
  )


def fields(relevance: int = 0, preference: int = 0, played=(10.0, 10.0)):
  """The same as a page sends it."""
  return {
    'relevance': relevance,
    'preference': preference,
    'played': list(played),
  }


def simulate(
  study: protocol.Study,
  logits: Sequence[float],
  *,
  num_raters: int,
  tie_rate: float = 0.0,
  seed: int = 0,
) -> list[answers.Rater]:
  """Raters who prefer systems as Bradley and Terry have it, and pass checks.

  Args:
    study: The study.
    logits: Planted score of each system, for both questions.
    num_raters: How many.
    tie_rate: Share of 'no preference', whatever the systems.
    seed: Of their answers.
  """
  rng = np.random.default_rng(seed)
  score = dict(zip(study.systems, logits, strict=True))

  def choose(trial: protocol.Trial) -> int:
    if trial.kind == protocol.INSTRUCTED:
      assert trial.wanted is not None
      return trial.wanted
    pair = study.pairs[trial.pair]
    gap = score[pair.second] - score[pair.first]
    if trial.kind == protocol.SILENCE:
      value = -2
    elif rng.random() < tie_rate:
      value = 0
    else:
      wins = rng.random() < 1 / (1 + np.exp(-gap))
      value = int(rng.integers(1, 3)) * (1 if wins else -1)
    return trial.towards_second(value)

  return [
    answers.Rater(
      code=f'R{number}',
      trials=trials,
      answers=[answer(choose(t), choose(t)) for t in trials],
    )
    for number, trials in enumerate(assignment.booklets(study, num_raters))
  ]


def save(
  site: pathlib.Path,
  study: protocol.Study,
  raters: Sequence[answers.Rater],
  *,
  first: int = 0,
) -> None:
  """Booklets, and files as participants of a copy send them.

  Args:
    site: Folder of the study.
    study: The study.
    raters: One a booklet.
    first: Rater from which on files came back.
  """
  booklets = [[dataclasses.asdict(t) for t in r.trials] for r in raters]
  (site / 'booklets.json').write_text(json.dumps({'booklets': booklets}))
  (site / 'answers').mkdir()
  for number, rater in enumerate(raters[first:], first):
    content = {
      'format': protocol.FORMAT,
      'study': study.id,
      'booklet': number,
      'code': rater.code,
      'consent': '',
      'answers': [dataclasses.asdict(a) for a in rater.answers],
    }
    path = site / 'answers' / f'answers_{rater.code}.json'
    path.write_text(json.dumps(content))
