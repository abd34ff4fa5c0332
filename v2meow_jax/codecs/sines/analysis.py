"""What a frame of sound is, without a network: its notes and its noises.

A network that has to find notes by itself, through few numbers a frame, learns
mel bands long before pitch. Here each note of the usual tuning has a number of its
own, and so has each band of hertz in each part of a frame.
"""

import functools
import math

import jax.numpy as jnp
from jaxtyping import Array
from jaxtyping import Float
import numpy as np

from v2meow_jax.codecs import arrays
from v2meow_jax.codecs import spectral

A_HZ, A_NOTE = 440.0, 69
# Power of silence; and what brings its logarithm and that of music around 0.
_SILENCE = 1e-8
_SCALE, _SHIFT = 0.25, 2.0


def hertz(note: float) -> float:
  """Frequency of a note by its number in MIDI; 69 is A at 440 Hz.

  >>> hertz(57)
  220.0
  """
  return A_HZ * 2 ** ((note - A_NOTE) / 12)


@functools.cache
def note_matrix(
  window_samples: int, lowest_note: int, num_notes: int, sample_rate_hz: int
) -> np.ndarray:
  """Triangular filters a semitone to each side, float32[bins, num_notes].

  Where bins are wider apart than semitones, a triangle reaches the nearest bins.
  """
  bins_hz = np.linspace(0, sample_rate_hz / 2, window_samples // 2 + 1)
  centre = np.array([hertz(lowest_note + k) for k in range(num_notes)])
  half = np.maximum(centre * (2 ** (1 / 12) - 1), bins_hz[1])
  distance = np.abs(bins_hz[:, None] - centre) / half
  return np.maximum(0, 1 - distance).astype(np.float32)


def log_power(power: Float[Array, '*b']) -> Float[Array, '*b']:
  """From -2.6, silence, to about 2, a full-scale sine."""
  return _SCALE * jnp.log(power + _SILENCE) + _SHIFT


def decibels(difference: float) -> float:
  """A difference in decibels as one of `log_power`."""
  return _SCALE * math.log(10) * difference / 10


def log_amplitude(latents: Float[Array, '*b']) -> Float[Array, '*b']:
  """The logarithm of the amplitude of a sine, of its `log_power`."""
  return (latents - _SHIFT) / (2 * _SCALE)


def notes(
  waveform: arrays.Waveform,
  *,
  hop_samples: int,
  window_samples: int,
  lowest_note: int,
  num_notes: int,
  sample_rate_hz: int,
) -> Float[Array, 'b frames notes']:
  """Log power of each note around the middle of each frame."""
  filters = note_matrix(window_samples, lowest_note, num_notes, sample_rate_hz)
  return log_power(_power(waveform, window_samples, hop_samples) @ filters)


def bands(
  waveform: arrays.Waveform,
  *,
  hop_samples: int,
  window_samples: int,
  num_parts: int,
  num_bands: int,
  sample_rate_hz: int,
) -> Float[Array, 'b frames parts*bands']:
  """Log power of each mel band in each part of each frame."""
  filters = spectral.mel_matrix(window_samples, num_bands, sample_rate_hz)
  power = _power(waveform, window_samples, hop_samples // num_parts) @ filters
  return log_power(power).reshape(len(waveform), -1, num_parts * num_bands)


def _power(waveform, window_samples, hop_samples):
  # A full-scale sine on a bin has a power of 1 there.
  spectra = spectral.centred_stft(waveform, window_samples, hop_samples)
  scale = 2 / spectral.hann(window_samples).sum()
  return (jnp.real(spectra) ** 2 + jnp.imag(spectra) ** 2) * scale**2
