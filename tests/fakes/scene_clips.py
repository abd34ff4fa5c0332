"""Silent videos of synthetic scenes, of any length."""

from __future__ import annotations

import fractions
import itertools
import pathlib

from v2meow_jax.files import write as files_write
from v2meow_jax.synthetic import held_out
from v2meow_jax.synthetic import render


def write(path: pathlib.Path, seconds: float, seed: int) -> None:
  """Writes a silent mp4 of `seconds`: a synthetic scene, looped.

  Args:
    path: Target, .mp4.
    seconds: Length of the video; rounded to whole frames.
    seed: Seed of the scene.
  """
  scene = held_out.scenes(seed, 1, min(seconds, 10.0))[0]
  rate_hz = fractions.Fraction(scene.rate_hz)
  pictures = list(render.frames(scene))
  count = round(seconds * rate_hz)
  files_write.write_video(
    path,
    itertools.islice(itertools.cycle(pictures), count),
    rate_hz=rate_hz,
  )
