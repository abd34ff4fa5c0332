"""Clips whose beats and cuts are planted, as decoded video."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from v2meow_jax import media
from v2meow_jax.extractors.planning import analysis

RATE_HZ = 25


def video(
  seconds: float,
  *,
  beats: Sequence[float] = (),
  cuts: Sequence[float] = (),
  drift: float = 0.0,
) -> media.Video:
  """Noise of fixed grain that flashes at beats and changes at cuts.

  Args:
    seconds: Length, in seconds.
    beats: Times of flashes of a frame, in seconds.
    cuts: Times from which other grain and colours are seen, in seconds.
    drift: Sideways motion, in pixels a frame.

  Returns:
    The clip, 72 x 96 pixels at `RATE_HZ`.
  """
  times = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
  frames = np.empty((len(times), 72, 96, 3), np.uint8)
  scene = np.searchsorted(cuts, times + 1e-6, 'right')
  # A flash is seen in the frame whose time is nearest.
  flashes = {int(round(beat * RATE_HZ)) for beat in beats}
  for i, number in enumerate(scene):
    rng = np.random.default_rng(int(number))
    grain = rng.uniform(-25, 25, (9, 12, 3)).repeat(8, 0).repeat(8, 1)
    colour = rng.uniform(40, 160, 3)
    picture = np.roll(colour + grain, round(i * drift), axis=1)
    frames[i] = np.clip(picture + 70 * (i in flashes), 0, 255)
  return media.Video(frames=frames, times=times, seconds=seconds)


def analysed(seconds: float, **planted) -> analysis.Analysis:
  """The analysis of `video`."""
  return analysis.analyse(video(seconds, **planted).pieces(10.0))
