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


def scenes(
  seed: int, num: int, seconds: float, first: int = SCORED_INDEX
) -> list[Any]:
  """`num` held-out `synthetic.scene.Scene`s of `seconds` each."""
  from v2meow_jax.synthetic import scene

  return [scene.sample(seed, first + i, seconds) for i in range(num)]


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
    The path, whose stem is 'real_' or 'blank_' and the scene's index.
  """
  from v2meow_jax import media_io
  from v2meow_jax.synthetic import render

  frames = render.frames(scene)
  if blank:
    frames = (np.full_like(frame, 128) for frame in frames)
  path = folder / f'{"blank" if blank else "real"}_{scene.index}.mp4'
  media_io.write_video(path, frames, rate_hz=scene.rate_hz)
  return path


def music(scene: Any) -> media.Audio:
  """The scene's true music."""
  from v2meow_jax.synthetic import compose

  return compose.music(scene)


def round_trip(codec: Any, clip: media.Audio) -> media.Audio:
  """A clip, at the codec's rate, through all its levels; the length is kept."""
  hop = round(codec.sample_rate_hz / codec.stream.rate_hz)
  n = len(clip.samples)
  padded = np.pad(clip.samples, (0, -n % hop)).astype(np.float32)
  decoded = np.asarray(codec.decode(codec.encode(padded[None])))[0, :n]
  return media.Audio(samples=decoded, rate_hz=clip.rate_hz)
