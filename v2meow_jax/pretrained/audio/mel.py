"""Computes spectra in numpy: log mel bands, chroma, onsets."""

import functools

import numpy as np

FLOOR = 1e-8  # Added to band energies before the logarithm.


def power_spectrum(
  samples: np.ndarray, hop_samples: int, window_samples: int
) -> np.ndarray:
  """|FFT|^2 of Hann-windowed frames.

  Frame i is centred on the middle of its hop, sample (i + 0.5) * hop; beyond
  the ends are zeros.

  Args:
    samples: float[num_samples].
    hop_samples: Samples from frame to frame.
    window_samples: Even; also the length of the FFT.

  Returns:
    float32[round(num_samples / hop_samples), window_samples // 2 + 1]; at
    least one frame.
  """
  num_frames = max(1, round(len(samples) / hop_samples))
  left = window_samples // 2 - hop_samples // 2
  length = (num_frames - 1) * hop_samples + window_samples
  padded = np.zeros(max(length, left + len(samples)), np.float32)
  padded[left : left + len(samples)] = samples
  frames = np.lib.stride_tricks.sliding_window_view(padded, window_samples)
  frames = frames[: num_frames * hop_samples : hop_samples]
  spectrum = np.fft.rfft(frames * _hann(window_samples), axis=-1)
  return (spectrum.real**2 + spectrum.imag**2).astype(np.float32)


@functools.lru_cache(maxsize=8)
def _hann(length: int) -> np.ndarray:
  phase = 2 * np.pi * np.arange(length) / length
  return (0.5 - 0.5 * np.cos(phase)).astype(np.float32)


@functools.lru_cache(maxsize=8)
def mel_weights(
  rate_hz: int,
  window_samples: int,
  num_bands: int,
  low_hz: float = 0.0,
  high_hz: float | None = None,
) -> np.ndarray:
  """Triangular filters, evenly spaced on mel(f) = 2595 log10(1 + f / 700).

  Each triangle has height 1 and ends at its neighbours' centres.

  Args:
    rate_hz: Sample rate of the audio, in Hz.
    window_samples: Length of the FFT, in samples.
    num_bands: Number of filters.
    low_hz: Lower end of the first triangle, in Hz.
    high_hz: Upper end of the last triangle, in Hz; None: half the rate.

  Returns:
    float32[window_samples // 2 + 1, num_bands].
  """
  high_hz = rate_hz / 2 if high_hz is None else high_hz
  low_mel, high_mel = 2595 * np.log10(1 + np.array([low_hz, high_hz]) / 700)
  corners = np.linspace(low_mel, high_mel, num_bands + 2)
  corners = 700 * (10 ** (corners / 2595) - 1)
  bins = np.arange(window_samples // 2 + 1)[:, None] * rate_hz / window_samples
  rising = (bins - corners[:-2]) / (corners[1:-1] - corners[:-2])
  falling = (corners[2:] - bins) / (corners[2:] - corners[1:-1])
  return np.maximum(0, np.minimum(rising, falling)).astype(np.float32)


def log_mel(
  samples: np.ndarray,
  rate_hz: int,
  hop_samples: int,
  window_samples: int,
  num_bands: int,
) -> np.ndarray:
  """ln(band energy + 1e-8) of `power_spectrum` / window_samples.

  Args:
    samples: float[num_samples].
    rate_hz: Sample rate, in Hz.
    hop_samples: Samples from frame to frame.
    window_samples: Length of the FFT, in samples.
    num_bands: Mel bands from 0 to half the rate.

  Returns:
    float32[frames, num_bands].
  """
  power = power_spectrum(samples, hop_samples, window_samples) / window_samples
  weights = mel_weights(rate_hz, window_samples, num_bands)
  return np.log(power @ weights + FLOOR)


def chroma(
  power: np.ndarray, rate_hz: int, low_hz: float, high_hz: float
) -> np.ndarray:
  """Strength of each of the 12 pitch classes, C first.

  Args:
    power: float[frames, bins] of `power_spectrum`.
    rate_hz: Sample rate of the audio, in Hz.
    low_hz: Lowest pitch that counts, in Hz.
    high_hz: Highest pitch that counts, in Hz.

  Returns:
    float32[frames, 12]; rows have length 1, or less near silence.
  """
  # Only what rises above its neighbourhood is a tone; drums are not.
  magnitude = np.sqrt(power)
  weights = _pitch_classes(power.shape[1], rate_hz, low_hz, high_hz)
  used = np.flatnonzero(weights.any(1))
  first, last = max(used[0] - 8, 0), min(used[-1] + 9, power.shape[1])
  band = magnitude[:, first:last]
  sums = np.cumsum(np.pad(band, ((0, 0), (9, 8)), mode='edge'), 1)
  tones = np.maximum(band - (sums[:, 17:] - sums[:, :-17]) / 17, 0)
  folded = tones @ weights[first:last]
  norm = np.linalg.norm(folded, axis=1, keepdims=True)
  return (folded / (norm + 1e-2)).astype(np.float32)


@functools.lru_cache(maxsize=8)
def _pitch_classes(
  num_bins: int, rate_hz: int, low_hz: float, high_hz: float
) -> np.ndarray:
  """float32[num_bins, 12]: a Gaussian of 0.5 semitones around each class."""
  frequency = np.arange(num_bins) * rate_hz / (2 * (num_bins - 1))
  pitch = 69 + 12 * np.log2(np.maximum(frequency, 1.0) / 440)
  distance = (pitch[:, None] - np.arange(12) + 6) % 12 - 6
  weights = np.exp(-0.5 * (distance / 0.5) ** 2)
  inside = (frequency >= low_hz) & (frequency <= high_hz)
  return (weights * inside[:, None]).astype(np.float32)


def onset_flux(log_bands: np.ndarray, edges: tuple[int, ...]) -> np.ndarray:
  """Mean rise of log energy in groups of bands since the frame before last.

  Args:
    log_bands: float[frames, bands].
    edges: Groups are bands [edges[i], edges[i + 1]).

  Returns:
    float32[frames, len(edges) - 1], >= 0; 0 in the first two frames.
  """
  rise = np.zeros_like(log_bands)
  rise[2:] = np.maximum(log_bands[2:] - log_bands[:-2], 0)
  groups = [
    rise[:, a:b].mean(1) for a, b in zip(edges, edges[1:], strict=False)
  ]
  return np.stack(groups, 1).astype(np.float32)
