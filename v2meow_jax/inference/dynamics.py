"""Lets the loudness of a soundtrack follow the energy of its plan."""

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
    audio: Sound of the clip.
    plan: Plan of the clip.

  Returns:
    Sound of the same length, within [-1, 1].
  """
  num = len(audio.samples)
  if not num:
    return audio
  seconds = audio.seconds
  nodes = np.arange(0, seconds + _NODE_SECONDS, _NODE_SECONDS)
  energy = plan.energy_at(nodes)
  decibels = np.clip(_SLOPE_DB * (energy - energy.mean()), -_MOST_DB, _MOST_DB)
  times = np.arange(num) / audio.rate_hz
  gain = np.interp(times, nodes, 10 ** (decibels / 20))
  start = plan.end_seconds
  if start is None or start >= seconds:
    start = max(0.0, seconds - _FADE_SECONDS)
  left = np.clip((seconds - times) / max(seconds - start, _QUIETEST), 0, 1)
  samples = audio.samples * gain * left**_RING_POWER
  peak = float(np.abs(samples).max())
  return media.Audio(
    samples=(samples / max(peak, 1.0)).astype(np.float32),
    rate_hz=audio.rate_hz,
  )
