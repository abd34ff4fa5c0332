"""Distances between a waveform and its reconstruction, as losses."""

from collections.abc import Sequence
import dataclasses

import jax.numpy as jnp
from jaxtyping import Array
from jaxtyping import Float

from v2meow_jax.codecs import arrays
from v2meow_jax.codecs import spectral

# Lower bound of the denominators of relative distances: a batch of silence must
# not weigh more than one of music.
_SILENCE = 1e-4
# Keeps the gradient of a root finite where the error is 0.
_TINY = 1e-14


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReconstructionConfig:
  """Spectra to compare, and weights of the terms.

  Attributes:
    window_samples: Windows of the spectra; hops are a quarter of them.
    num_mels: Number of mel bands of each spectrum; one number is that of all.
      Long windows with few bands cannot tell a note from a buzz at its place.
    mel_floor: Mel magnitude below which is silence.
    mel_weight: Weight of the L1 distance of log-mel spectra.
    stft_weight: Weight of the relative L2 distance of magnitudes.
    waveform_weight: Weight of the relative L1 distance of the samples.
  """

  window_samples: Sequence[int] = (128, 256, 512, 1024, 2048)
  num_mels: int | Sequence[int] = 64
  mel_floor: float = 1e-4
  mel_weight: float = 1.0
  stft_weight: float = 1.0
  waveform_weight: float = 0.0

  def __post_init__(self):
    windows = tuple(self.window_samples)
    bands = self.num_mels
    bands = (bands,) * len(windows) if isinstance(bands, int) else tuple(bands)
    if len(bands) != len(windows):
      raise ValueError(
        f'num_mels is {bands} and window_samples {windows}; wanted one number'
        ' of bands, or one for each window.'
      )
    object.__setattr__(self, 'window_samples', windows)
    object.__setattr__(self, 'num_mels', bands)


def reconstruction_losses(
  reconstruction: arrays.Waveform,
  waveform: arrays.Waveform,
  sample_rate_hz: int,
  config: ReconstructionConfig,
) -> dict[str, Float[Array, '']]:
  """Computes unweighted terms, means over scales, time and examples.

  Args:
    reconstruction: Output of the decoder.
    waveform: Original waveform.
    sample_rate_hz: Sample rate of both.
    config: Spectra to compare.

  Returns:
    'mel': L1 distance of log-mel spectra, in nepers (1 is 8.7 dB). 'stft':
    norm of the difference of magnitudes over the norm of the true ones.
    'waveform': L1 distance of samples over the mean |sample|; 1 for silence.
  """
  mel, stft = 0.0, 0.0
  for window, bands in zip(config.window_samples, config.num_mels, strict=True):
    ours, true = (
      spectral.magnitude(x, window, window // 4)
      for x in (reconstruction, waveform)
    )
    ours_mel, true_mel = (
      spectral.log_mel(m, bands, sample_rate_hz, config.mel_floor)
      for m in (ours, true)
    )
    mel += jnp.mean(jnp.abs(ours_mel - true_mel))
    error = jnp.mean((ours - true) ** 2)
    stft += jnp.sqrt((error + _TINY) / (jnp.mean(true**2) + _SILENCE**2))
  scales = len(config.window_samples)
  size = jnp.mean(jnp.abs(waveform)) + _SILENCE
  return {
    'mel': mel / scales,
    'stft': stft / scales,
    'waveform': jnp.mean(jnp.abs(reconstruction - waveform)) / size,
  }


def weighted(
  losses: dict[str, Float[Array, '']], config: ReconstructionConfig
) -> Float[Array, '']:
  """Sums `reconstruction_losses` with the configured weights."""
  return (
    config.mel_weight * losses['mel']
    + config.stft_weight * losses['stft']
    + config.waveform_weight * losses['waveform']
  )
