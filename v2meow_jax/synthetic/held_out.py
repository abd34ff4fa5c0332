"""Held-out synthetic scenes, as videos and as music.

A scene is a function of (seed, index). Datasets number their scenes from 0, so
no training uses indices from a thousand million up: one range is for scoring,
another for fitting the genre probe.
"""

import itertools
import pathlib

import numpy as np

from v2meow_jax import media
from v2meow_jax.synthetic import compose
from v2meow_jax.synthetic import genres
from v2meow_jax.synthetic import render
from v2meow_jax.synthetic import scene as scene_lib

SCORED_INDEX = 1_000_000_000
PROBE_INDEX = 2_000_000_000

# Prompts of a user; the captions of training are in `captions`.
PROMPTS = {
  'ambient': 'calm ambient music with soft synth pads',
  'hiphop': 'a laid-back hip hop beat',
  'waltz': 'an elegant waltz for solo piano',
  'house': 'energetic house music for the dance floor',
  'rock': 'loud rock with electric guitar',
  'drum_and_bass': 'fast drum and bass',
}

# Others, which a system may know by words that no caption has.
EVERYDAY_PROMPTS = (
  ('ambient', 'dreamy synth pads without a beat'),
  ('ambient', 'relaxing background drone'),
  ('ambient', 'peaceful atmospheric pads'),
  ('rock', 'distorted electric guitars and big drums'),
  ('rock', 'a driving rock anthem'),
  ('rock', 'punk band'),
  ('hiphop', 'chill lo-fi hip hop beats'),
  ('hiphop', 'a trap beat with 808'),
  ('house', 'club music with a four on the floor beat'),
  ('house', 'uplifting dance track'),
  ('waltz', 'a romantic waltz'),
  ('waltz', 'ballroom dance in three four time'),
  ('drum_and_bass', 'liquid dnb'),
  ('drum_and_bass', 'breakbeat jungle'),
)


def scenes(
  seed: int, num: int, seconds: float, first: int = SCORED_INDEX
) -> list[scene_lib.Scene]:
  """Draws `num` held-out scenes of `seconds` each."""
  return [scene_lib.sample(seed, first + i, seconds) for i in range(num)]


def other_genre(index: int, genre: str) -> str:
  """Chooses another genre; all are equally frequent over the indices."""
  names = list(PROMPTS)
  step = 1 + index % (len(names) - 1)
  return names[(names.index(genre) + step) % len(names)]


def probe_scenes(
  seed: int, per_genre: int, seconds: float
) -> list[scene_lib.Scene]:
  """Draws the first `per_genre` scenes of every genre in the probe's range.

  Half of them have the tempo of another genre, like music that follows both a
  prompt and a picture, so that tempo does not determine genre.
  """
  missing = dict.fromkeys(genres.GENRES, per_genre)
  scenes = []
  indices = itertools.count(PROBE_INDEX)
  while any(missing.values()):
    candidate = scene_lib.sample(seed, next(indices), seconds, surprise=0.5)
    if missing[candidate.genre]:
      missing[candidate.genre] -= 1
      scenes.append(candidate)
  return scenes


def write_video(
  scene: scene_lib.Scene, folder: pathlib.Path, *, blank: bool
) -> pathlib.Path:
  """Writes the picture of a scene as a silent mp4, unless the file exists.

  Args:
    scene: Scene to draw.
    folder: Folder of the file.
    blank: Whether to replace all frames by grey ones.

  Returns:
    The path, whose stem is 'real_' or 'blank_' and the scene's index.
  """
  from v2meow_jax.files import write

  path = folder / f'{"blank" if blank else "real"}_{scene.index}.mp4'
  if path.exists():
    return path
  frames = render.frames(scene)
  if blank:
    frames = (np.full_like(frame, 128) for frame in frames)
  write.write_video(path, frames, rate_hz=scene.rate_hz)
  return path


def music(scene: scene_lib.Scene) -> media.Audio:
  """Plays the music of a scene."""
  return compose.music(scene)
