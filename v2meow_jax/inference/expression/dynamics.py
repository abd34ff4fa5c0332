"""Lets the loudness of a soundtrack follow the energy of its plan."""

from collections.abc import Callable

import numpy as np

from v2meow_jax import media
from v2meow_jax.extractors.planning import plan as plan_lib

# The music of a calm moment is this much softer than its mean, that of a wild
# one as much louder. Wider is heard as a hand on the fader.
_MOST_DB = 4.0
# Decibels for all of the range of energy.
_SLOPE_DB = 12.0
_NODE_SECONDS = 0.1
# The sound ends in a fade: of the whole time it rings out, or of this long.
_FADE_SECONDS = 0.25
_RING_POWER = 1.5
_QUIETEST = 1e-6


def follow(audio: media.Audio, plan: plan_lib.MusicPlan) -> media.Audio:
  """Scales a sound by the energy of its plan, and fades its end.

  Args:
    audio: Sound of the clip; its samples are overwritten.
    plan: Plan of the clip.

  Returns:
    The sound, within [-1, 1].
  """
  scale = scaling(audio, plan)
  most = divisor(audio, plan)
  for first, block in audio.blocks():
    block[:] = scale(first, block) / most
  return audio


def divisor(audio: media.Audio, plan: plan_lib.MusicPlan) -> float:
  """What `follow` divides by, so that no sample is beyond 1."""
  scale = scaling(audio, plan)
  peaks = [np.abs(scale(*block)).max() for block in audio.blocks()]
  return max(float(np.max(peaks, initial=0.0)), 1.0)


def scaling(
  audio: media.Audio, plan: plan_lib.MusicPlan
) -> Callable[[int, np.ndarray], np.ndarray]:
  """A function that scales samples as the plan says.

  Args:
    audio: Sound of the clip, for its rate and length.
    plan: Plan of the clip.

  Returns:
    Function of the number of a sample and those from it on, float64.
  """
  seconds = audio.seconds
  nodes = np.arange(0, seconds + _NODE_SECONDS, _NODE_SECONDS)
  energy = plan.energy_at(nodes)
  decibels = np.clip(_SLOPE_DB * (energy - energy.mean()), -_MOST_DB, _MOST_DB)
  levels = 10 ** (decibels / 20)
  start = plan.end_seconds
  if start is None or start >= seconds:
    start = max(0.0, seconds - _FADE_SECONDS)

  def scaled(first: int, block: np.ndarray) -> np.ndarray:
    times = np.arange(first, first + len(block)) / audio.rate_hz
    left = np.clip((seconds - times) / max(seconds - start, _QUIETEST), 0, 1)
    return block * np.interp(times, nodes, levels) * left**_RING_POWER

  return scaled
