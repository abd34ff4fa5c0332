"""Differentiable short-time spectra in JAX, and their inverse."""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array
from jaxtyping import Complex
from jaxtyping import Float
import numpy as np


@functools.cache
def hann(window_samples: int) -> np.ndarray:
  """Returns the periodic Hann window, float32[window_samples]."""
  n = np.arange(window_samples)
  return (0.5 - 0.5 * np.cos(2 * np.pi * n / window_samples)).astype(np.float32)


def frame(
  x: Float[Array, '*b samples'], window_samples: int, hop_samples: int
) -> Float[Array, '*b frames window']:
  """Cuts a waveform into overlapping frames; drops a last partial one.

  Raises:
    ValueError: The hop does not divide the window.
  """
  overlap = _overlap(window_samples, hop_samples)
  num_frames = (x.shape[-1] - window_samples) // hop_samples + 1
  num_blocks = num_frames + overlap - 1
  blocks = x[..., : num_blocks * hop_samples].reshape(
    *x.shape[:-1], num_blocks, hop_samples
  )
  return jnp.concatenate(
    [blocks[..., i : i + num_frames, :] for i in range(overlap)], axis=-1
  )


def overlap_add(
  frames: Float[Array, '*b frames window'], hop_samples: int
) -> Float[Array, '*b samples']:
  """Sums frames that start every `hop_samples`; the adjoint of `frame`."""
  *batch, num_frames, window_samples = frames.shape
  overlap = _overlap(window_samples, hop_samples)
  parts = frames.reshape(*batch, num_frames, overlap, hop_samples)
  no_pad = [(0, 0)] * len(batch)
  blocks = sum(
    jnp.pad(parts[..., i, :], [*no_pad, (i, overlap - 1 - i), (0, 0)])
    for i in range(overlap)
  )
  return blocks.reshape(*batch, -1)


def stft(
  x: Float[Array, '*b samples'], window_samples: int, hop_samples: int
) -> Complex[Array, '*b frames bins']:
  """Computes Hann-windowed spectra of the whole windows in a waveform."""
  return jnp.fft.rfft(
    frame(x, window_samples, hop_samples) * hann(window_samples)
  )


def centred_stft(
  x: Float[Array, 'b samples'], window_samples: int, hop_samples: int
) -> Complex[Array, 'b hops bins']:
  """Computes a Hann-windowed spectrum around the middle of each whole hop."""
  before = (window_samples - hop_samples) // 2
  after = window_samples - hop_samples - before
  padded = jnp.pad(x, ((0, 0), (before, after)))
  starts = np.arange(0, x.shape[-1], hop_samples)
  windows = padded[:, starts[:, None] + np.arange(window_samples)]
  return jnp.fft.rfft(windows * hann(window_samples))


def inverse_stft(
  spectra: Complex[Array, '*b frames bins'],
  hop_samples: int,
  skip_samples: int,
  num_samples: int,
) -> Float[Array, '*b samples']:
  """Finds the waveform with the nearest Hann spectra, as in Griffin-Lim.

  Args:
    spectra: Spectra of windows that start every `hop_samples`.
    hop_samples: Samples between windows, a divisor of the window.
    skip_samples: Samples to cut from the front, where few windows overlap.
    num_samples: Length of the result.

  Returns:
    The windowed overlap-add over the sum of squared windows.
  """
  window_samples = 2 * (spectra.shape[-1] - 1)
  window = hann(window_samples)
  frames = jnp.fft.irfft(spectra, n=window_samples) * window
  squares = np.broadcast_to(window**2, (spectra.shape[-2], window_samples))
  envelope = _overlap_add_numpy(squares, hop_samples)
  keep = slice(skip_samples, skip_samples + num_samples)
  total = overlap_add(frames, hop_samples)[..., keep]
  return total / np.maximum(envelope[keep], 1e-3)


@functools.cache
def mel_matrix(
  window_samples: int, num_mels: int, sample_rate_hz: int
) -> np.ndarray:
  """Returns triangular filters on the HTK mel scale, float32[bins, num_mels].

  Each triangle peaks at 1. At low frequencies, where bins are wider apart than
  triangles, a triangle is widened to reach its nearest bins.
  """
  bins_hz = np.linspace(0, sample_rate_hz / 2, window_samples // 2 + 1)
  top = 2595 * np.log10(1 + sample_rate_hz / 2 / 700)
  edges = 700 * (10 ** (np.linspace(0, top, num_mels + 2) / 2595) - 1)
  centre = edges[1:-1]
  half = np.maximum(
    np.minimum(centre - edges[:-2], edges[2:] - centre), bins_hz[1]
  )
  rising = (bins_hz[:, None] - centre) / np.maximum(centre - edges[:-2], half)
  falling = (bins_hz[:, None] - centre) / np.maximum(edges[2:] - centre, half)
  return np.maximum(0, np.minimum(1 + rising, 1 - falling)).astype(np.float32)


def magnitude(
  x: Float[Array, '*b samples'], window_samples: int, hop_samples: int
) -> Float[Array, '*b frames bins']:
  """Computes |STFT|, scaled so that a full-scale sinusoid on a bin gives 1."""
  spectra = stft(x, window_samples, hop_samples)
  scale = 2 / hann(window_samples).sum()
  # The constant keeps the gradient finite where a bin is silent.
  power = jnp.real(spectra) ** 2 + jnp.imag(spectra) ** 2
  return jnp.sqrt(power * scale**2 + 1e-10)


def log_mel(
  magnitudes: Float[Array, '*b frames bins'],
  num_mels: int,
  sample_rate_hz: int,
  floor: float,
) -> Float[Array, '*b frames mels']:
  """Computes the natural log of mel-weighted magnitudes, at least log(floor)."""
  window_samples = 2 * (magnitudes.shape[-1] - 1)
  weights = mel_matrix(window_samples, num_mels, sample_rate_hz)
  mels = jnp.matmul(magnitudes, weights, precision=jax.lax.Precision.HIGHEST)
  return jnp.log(jnp.maximum(mels, floor))


def _overlap(window_samples: int, hop_samples: int) -> int:
  if window_samples % hop_samples:
    raise ValueError(
      f'a window of {window_samples} samples is not whole hops of'
      f' {hop_samples}; choose a hop that divides the window.'
    )
  return window_samples // hop_samples


def _overlap_add_numpy(frames: np.ndarray, hop_samples: int) -> np.ndarray:
  num_frames, window_samples = frames.shape
  out = np.zeros((num_frames - 1) * hop_samples + window_samples, np.float32)
  for i, f in enumerate(frames):
    out[i * hop_samples : i * hop_samples + window_samples] += f
  return out
