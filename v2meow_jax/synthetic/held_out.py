"""Synthetic scenes that no training has seen, as videos and as music.

A scene is a function of (seed, index). Data sets number their scenes from 0,
so indices from a thousand million up are never trained on, whatever the seed:
one range for the scenes that are scored, another for those that fit the genre
probe.
"""

from __future__ import annotations

import itertools
import pathlib
from typing import Any

import numpy as np

from v2meow_jax import media

SCORED_INDEX = 1_000_000_000
PROBE_INDEX = 2_000_000_000

# What a user might write; the wordings of training are in `captions`.
PROMPTS = {
  'ambient': 'calm ambient music with soft synth pads',
  'hiphop': 'a laid-back hip hop beat',
  'waltz': 'an elegant waltz for solo piano',
  'house': 'energetic house music for the dance floor',
  'rock': 'loud rock with electric guitar',
  'drum_and_bass': 'fast drum and bass',
}


def scenes(
  seed: int, num: int, seconds: float, first: int = SCORED_INDEX
) -> list[Any]:
  """`num` held-out `synthetic.scene.Scene`s of `seconds` each."""
  from v2meow_jax.synthetic import scene

  return [scene.sample(seed, first + i, seconds) for i in range(num)]


def other_genre(index: int, genre: str) -> str:
  """Another genre than this, each as often as the others over the indices."""
  names = list(PROMPTS)
  step = 1 + index % (len(names) - 1)
  return names[(names.index(genre) + step) % len(names)]


def probe_scenes(seed: int, per_genre: int, seconds: float) -> list[Any]:
  """The first `per_genre` scenes of every genre from the probe's range.

  Half of them have the tempo of another genre, as music has that follows a
  prompt and the picture both: tempo must not stand for genre.
  """
  from v2meow_jax.synthetic import genres
  from v2meow_jax.synthetic import scene

  wanted = dict.fromkeys(genres.GENRES, per_genre)
  chosen = []
  indices = itertools.count(PROBE_INDEX)
  while any(wanted.values()):
    candidate = scene.sample(seed, next(indices), seconds, surprise=0.5)
    if wanted[candidate.genre]:
      wanted[candidate.genre] -= 1
      chosen.append(candidate)
  return chosen


def write_video(
  scene: Any, folder: pathlib.Path, *, blank: bool
) -> pathlib.Path:
  """The scene's picture as a user would have it: a silent mp4.

  Args:
    scene: A `synthetic.scene.Scene`.
    folder: Where to write.
    blank: The same grey throughout, at the same times.

  Returns:
    The path, whose stem is 'real_' or 'blank_' and the scene's index; a file
    that is there is kept.
  """
  from v2meow_jax.files import write
  from v2meow_jax.synthetic import render

  path = folder / f'{"blank" if blank else "real"}_{scene.index}.mp4'
  if path.exists():
    return path
  frames = render.frames(scene)
  if blank:
    frames = (np.full_like(frame, 128) for frame in frames)
  write.write_video(path, frames, rate_hz=scene.rate_hz)
  return path


def music(scene: Any) -> media.Audio:
  """The scene's true music."""
  from v2meow_jax.synthetic import compose

  return compose.music(scene)
