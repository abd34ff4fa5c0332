"""Computes a coarse function of the onsets of music, without a network."""

import dataclasses

import numpy as np

from v2meow_jax import media
from v2meow_jax import specs
from v2meow_jax.extractors import extractor

_RATE_HZ = 16_000
_HOP = 160  # Samples: 10 ms, finer than any frame of the stream.
_WINDOW = 512
_NUM_BANDS = 24
_LOWEST_HZ = 60.0
# Energies far below this share of the loudest do not count as onsets.
_FLOOR = 1e-3
_USUAL_PEAK = 95  # Percentile of the frames that becomes 1.


def onset_strength(samples: np.ndarray) -> np.ndarray:
  """Sum over bands of the rise of the compressed energy, every 10 ms.

  Spectral flux, as Bello et al. 2005 (https://doi.org/10.1109/TSA.2005.851998).

  Args:
    samples: float[n], at 16 kHz.

  Returns:
    float64[ceil(n / 160)]; entry i is of the window around sample 160 i.
  """
  count = -(-len(samples) // _HOP)
  padded = np.pad(samples, (_WINDOW // 2, _WINDOW))
  windows = np.lib.stride_tricks.sliding_window_view(padded, _WINDOW)[::_HOP]
  windows = windows[:count] * np.hanning(_WINDOW)
  power = np.abs(np.fft.rfft(windows)) ** 2
  edges = np.geomspace(_LOWEST_HZ, _RATE_HZ / 2, _NUM_BANDS + 1)
  places = np.searchsorted(np.fft.rfftfreq(_WINDOW, 1 / _RATE_HZ), edges)
  places = np.maximum.accumulate(np.maximum(places[:-1], 1))
  bands = np.add.reduceat(power, places, axis=1)
  bands /= max(bands.max(initial=0.0), 1e-12)
  rise = np.diff(np.log1p(bands / _FLOOR), axis=0, prepend=0)
  return np.maximum(rise, 0).sum(1)


@dataclasses.dataclass(frozen=True)
class Onsets:
  """Emits the strongest onset in each frame, 1 being strong for the clip.

  It has no weights. Training alone reads it, as something to predict.

  Attributes:
    stream: Stream to emit, of one number a frame.
  """

  reads = 'audio'
  sample_rate_hz = _RATE_HZ
  is_standardised = True

  stream: specs.FeatureSpec

  def __post_init__(self):
    extractor.check_dim(self.stream.name, self.stream.dim, 1)

  def __call__(self, item: media.Audio) -> np.ndarray:
    """float32[frames, 1], in [0, 1]; zeros of silence."""
    num_frames = max(1, round(item.seconds * self.stream.rate_hz))
    strength = onset_strength(item.samples.astype(np.float64))
    # What starts at the very beginning is no onset of the music.
    strength[:1] = 0
    times = np.arange(len(strength)) * _HOP / _RATE_HZ
    frames = np.minimum(
      (times * self.stream.rate_hz).astype(int), num_frames - 1
    )
    peaks = np.zeros(num_frames)
    np.maximum.at(peaks, frames, strength)
    usual = np.percentile(peaks, _USUAL_PEAK)
    peaks = np.clip(peaks / usual, 0, 1) if usual > 0 else peaks
    return peaks[:, None].astype(np.float32)
