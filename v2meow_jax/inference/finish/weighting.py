"""Weighs a sound as an ear does, by the two filters of ITU-R BS.1770-5.

The filters are recursive ones of second order. What they answer to a click is
shorter than a quarter of a second, to the last bit of a float64; so they are that
answer here, which NumPy convolves with pieces of a sound by its Fourier transform,
and a command does not wait for SciPy.
"""

import functools
import math

import numpy as np

# Gain in dB, Q and frequency in Hz by which both can be had at any rate (De Man,
# Evaluation of implementations of the EBU R128 loudness measurement, 2018).
_SHELF = (3.99984385397, 0.7071752369554193, 1681.9744509555319)
_HIGH_PASS = (0.5003270373253953, 38.13547087613982)
# The gain of the shelf at its frequency: its whole gain to this power.
_MIDDLE = 0.499666774155
_SECONDS = 0.25


class Weighting:
  """Both filters, for a sound of which one piece comes after the other."""

  def __init__(self, rate_hz: int, num_channels: int):
    """Starts in silence."""
    self._rate_hz = rate_hz
    self._before = np.zeros((num_channels, _num_taps(rate_hz) - 1))

  def __call__(self, piece: np.ndarray) -> np.ndarray:
    """The next samples, float32[channels, n], as an ear weighs them.

    Returns:
      float64[channels, n].
    """
    known = self._before.shape[1]
    samples = np.concatenate([self._before, piece], axis=1)
    self._before = samples[:, samples.shape[1] - known :]
    size = 1 << (samples.shape[1] - 1).bit_length()
    spectrum = np.fft.rfft(samples, size) * _response(self._rate_hz, size)
    # The transform goes around: what that adds falls on the samples before.
    return np.fft.irfft(spectrum, size)[:, known : samples.shape[1]]


def _num_taps(rate_hz: int) -> int:
  return round(_SECONDS * rate_hz)


@functools.lru_cache(maxsize=8)
def _response(rate_hz: int, size: int) -> np.ndarray:
  """Transform of both answers, complex128[size / 2 + 1]."""
  return np.fft.rfft(_taps(rate_hz), size)


@functools.lru_cache(maxsize=8)
def _taps(rate_hz: int) -> np.ndarray:
  """What both filters answer to a click: float64[n]."""
  size = 1 << (rate_hz - 1).bit_length()  # A second and more: all of it.
  delay = np.exp(-2j * np.pi * np.arange(size // 2 + 1) / size)
  delays = np.stack([np.ones_like(delay), delay, delay * delay])
  response = np.ones_like(delay)
  for numerator, denominator in (_shelf(rate_hz), _high_pass(rate_hz)):
    response *= np.dot(numerator, delays) / np.dot(denominator, delays)
  return np.fft.irfft(response, size)[: _num_taps(rate_hz)]


def _poles(
  quality: float, hertz: float, rate_hz: int
) -> tuple[float, np.ndarray]:
  """Frequency on the warped axis, and a denominator that begins above 1."""
  k = math.tan(math.pi * hertz / rate_hz)
  side = k / quality
  return k, np.array([1 + side + k * k, 2 * (k * k - 1), 1 - side + k * k])


def _shelf(rate_hz: int) -> tuple[np.ndarray, np.ndarray]:
  """Numerator and denominator of the filter that a head is."""
  gain_db, quality, hertz = _SHELF
  k, denominator = _poles(quality, hertz, rate_hz)
  high = 10 ** (gain_db / 20)
  side = high**_MIDDLE * k / quality
  return np.array(
    [high + side + k * k, 2 * (k * k - high), high - side + k * k]
  ), denominator


def _high_pass(rate_hz: int) -> tuple[np.ndarray, np.ndarray]:
  """Numerator and denominator of the filter without what an ear hardly hears."""
  _, denominator = _poles(*_HIGH_PASS, rate_hz)
  return np.array([1.0, -2.0, 1.0]), denominator / denominator[0]
