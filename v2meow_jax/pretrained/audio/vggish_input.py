"""Cuts audio into VGGish's log-mel examples of 0.96 s, as its authors do.

Constants and formulas of vggish_params.py, mel_features.py and vggish_input.py
in https://github.com/tensorflow/models/tree/master/research/audioset/vggish.
"""

import functools

from jaxtyping import Float
import numpy as np

SAMPLE_RATE_HZ = 16_000
NUM_FRAMES = 96
NUM_BANDS = 64
_WINDOW_SAMPLES = 400  # 25 ms
_HOP_SAMPLES = 160  # 10 ms
_FFT_SAMPLES = 512
_LOW_HZ, _HIGH_HZ = 125.0, 7500.0
_LOG_OFFSET = 0.01
# Samples from example to example, and of one example.
EXAMPLE_HOP_SAMPLES = NUM_FRAMES * _HOP_SAMPLES
EXAMPLE_SAMPLES = (NUM_FRAMES - 1) * _HOP_SAMPLES + _WINDOW_SAMPLES


def log_mel(
  samples: Float[np.ndarray, '*batch samples'],
) -> Float[np.ndarray, '*batch frames bands']:
  """ln(mel magnitudes + 0.01) of frames of 25 ms every 10 ms.

  Magnitudes, not powers; a periodic Hann window; no padding, so that the first
  frame begins with the first sample and an incomplete last one is left out.

  Args:
    samples: At least 25 ms at 16 kHz.

  Returns:
    float64[..., 1 + (samples - 400) // 160, 64].
  """
  frames = np.lib.stride_tricks.sliding_window_view(
    np.asarray(samples, np.float64), _WINDOW_SAMPLES, axis=-1
  )[..., ::_HOP_SAMPLES, :]
  phase = 2 * np.pi * np.arange(_WINDOW_SAMPLES) / _WINDOW_SAMPLES
  window = 0.5 - 0.5 * np.cos(phase)
  magnitudes = np.abs(np.fft.rfft(frames * window, _FFT_SAMPLES))
  return np.log(magnitudes @ mel_weights() + _LOG_OFFSET)


@functools.cache
def mel_weights() -> Float[np.ndarray, 'bins bands']:
  """Triangles on mel(f) = 1127 ln(1 + f / 700), 125 to 7500 Hz.

  Their sides are straight in mel, as in HTK; those of `mel` are straight in
  Hz.
  """
  edges = np.linspace(_mel(_LOW_HZ), _mel(_HIGH_HZ), NUM_BANDS + 2)
  frequencies = np.linspace(0, SAMPLE_RATE_HZ / 2, _FFT_SAMPLES // 2 + 1)
  bins = _mel(frequencies)[:, None]
  low, center, high = edges[:-2], edges[1:-1], edges[2:]
  rising = (bins - low) / (center - low)
  falling = (high - bins) / (high - center)
  return np.maximum(0, np.minimum(rising, falling))


def _mel(hertz):
  return 1127.0 * np.log(1 + np.asarray(hertz) / 700.0)


def cut(samples: np.ndarray) -> Float[np.ndarray, 'examples samples']:
  """Views the samples of each example: 0.975 s, every 0.96 s.

  Frames of examples do not overlap; an incomplete last one is left out.

  Args:
    samples: float[samples], at least `EXAMPLE_SAMPLES`.

  Returns:
    float[examples, 15600], whose `log_mel` are the examples.
  """
  view = np.lib.stride_tricks.sliding_window_view(samples, EXAMPLE_SAMPLES)
  return view[::EXAMPLE_HOP_SAMPLES]
