"""Renders a bank of steady tones from their levels.

Short spectra with free phases cannot hold a tone: each would have to continue
the phase of the one before. Oscillators run on their own clock, so a network
sets only their levels (Engel et al. 2020, DDSP,
https://arxiv.org/abs/2001.04643, with a fixed bank in place of a tracked pitch).
"""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array
from jaxtyping import Float
import numpy as np

SAMPLE_RATE_HZ = 16_000
# Oscillators run at whole hertz, so that the clock repeats every second.
PERIOD_SAMPLES = SAMPLE_RATE_HZ
_LOWEST_HZ = 40.0
_HIGHEST_HZ = 7600.0
_A_HZ = 440.0


@functools.cache
def frequencies_hz(per_octave: int, tuned: bool = False) -> np.ndarray:
  """Returns rising frequencies, int64[oscillators], evenly spaced in pitch.

  Args:
    per_octave: Number of oscillators per octave.
    tuned: Whether one of them is A at 440 Hz, so that of a multiple of twelve
      every note of the usual tuning has its own.
  """
  octaves = np.log2(_HIGHEST_HZ / _LOWEST_HZ)
  steps = np.arange(int(octaves * per_octave) + 1) / per_octave
  if tuned:
    below = int(np.log2(_A_HZ / _LOWEST_HZ) * per_octave)
    hertz = _A_HZ * 2.0 ** (steps - below / per_octave)
    hertz = hertz[hertz <= _HIGHEST_HZ]
  else:
    hertz = _LOWEST_HZ * 2.0**steps
  return np.unique(np.round(hertz).astype(np.int64))


@functools.cache
def _table(per_octave: int, hop_samples: int, tuned: bool) -> np.ndarray:
  """Renders a second of every tone, float32[hops per second, hop, oscillators]."""
  hertz = frequencies_hz(per_octave, tuned)
  # Random phases, so that equal levels do not add up to a click.
  offsets = np.random.default_rng(0).uniform(size=len(hertz))
  # Integers remove whole cycles exactly.
  turns = np.arange(PERIOD_SAMPLES)[:, None] * hertz % SAMPLE_RATE_HZ
  waves = np.cos(2 * np.pi * (turns / SAMPLE_RATE_HZ + offsets))
  return waves.reshape(-1, hop_samples, len(hertz)).astype(np.float32)


def render(
  levels: Float[Array, 'b hops oscillators'],
  per_octave: int,
  hop_samples: int,
  tuned: bool = False,
) -> Float[Array, 'b samples']:
  """Sums all tones, from time 0 of their clock.

  Args:
    levels: Amplitude of each oscillator at the start of each hop, interpolated
      linearly and constant after the last.
    per_octave: Number of oscillators per octave.
    hop_samples: Number of samples per hop, a divisor of a second.
    tuned: Whether one of them is A at 440 Hz, as of `frequencies_hz`.
  """
  table = _table(per_octave, hop_samples, tuned)
  batch_size, num_hops, _ = levels.shape
  hops = len(table)
  missing = -num_hops % hops
  following = jnp.concatenate([levels[:, 1:], levels[:, -1:]], axis=1)
  both = jnp.pad(
    jnp.concatenate([levels, following]), ((0, 0), (0, missing), (0, 0))
  )
  # [2 b, hops, oscillators] -> [2 b * seconds, hops in a second, oscillators]
  seconds = both.reshape(-1, hops, both.shape[-1])
  waves = jax.lax.dot_general(
    seconds, jnp.asarray(table), (((2,), (2,)), ((1,), (0,)))
  )
  # [hops in a second, 2 b * seconds, hop] -> [2, b, samples]
  waves = jnp.moveaxis(waves, 0, 1).reshape(2, batch_size, -1, hop_samples)
  fade = np.arange(hop_samples, dtype=np.float32) / hop_samples
  mixed = waves[0] * (1 - fade) + waves[1] * fade
  return mixed.reshape(batch_size, -1)[:, : num_hops * hop_samples]
