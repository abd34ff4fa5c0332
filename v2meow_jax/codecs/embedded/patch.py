"""Encoder and decoder of the tiny codec: spectra in, tones and an ISTFT out.

Nearly all work happens at the code rate, so that two cores can train it. The
decoder writes magnitudes and phases of short spectra, which a small network
learns sooner than samples (Vocos, https://arxiv.org/abs/2306.00814).
"""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from v2meow_jax.codecs import arrays
from v2meow_jax.codecs import spectral
from v2meow_jax.codecs.embedded import tones

# Largest log magnitude of the decoder: exp(8) is far above a full-scale
# sinusoid (half the window's sum, 160) and far below overflow.
_MAX_LOG_MAGNITUDE = 8.0
# About 55 dB below full scale, so that training fades tones in as needed.
_INITIAL_LOG_LEVEL = -6.5


@dataclasses.dataclass(frozen=True, kw_only=True)
class PatchConfig:
  """Sizes of a `PatchEncoder` and a `PatchDecoder`.

  Attributes:
    hop_samples: Number of samples per code frame.
    num_subframes: Number of spectra per code frame, evenly spaced.
    window_samples: Window of a spectrum, a multiple of the spectra's hop.
    pitch_window_samples: Window of one more spectrum centred on each code frame,
      long enough to separate the notes of a bass; a multiple of 8.
    frame_dim: Width at the code rate.
    subframe_dim: Width at the rate of the spectra.
    num_encoder_blocks: Number of blocks of the encoder, at the code rate.
    num_decoder_blocks: Number of blocks of the decoder at the code rate.
    num_subframe_blocks: Number of blocks of the decoder at the spectra's rate.
    kernel_size: Number of frames a block reads: its own and those before it.
    expansion: Ratio of the hidden width of a block to its width.
    oscillators_per_octave: Density of the tone bank; 0 leaves it out.
  """

  hop_samples: int = 640
  num_subframes: int = 4
  window_samples: int = 640
  pitch_window_samples: int = 2048
  frame_dim: int = 320
  subframe_dim: int = 192
  num_encoder_blocks: int = 2
  num_decoder_blocks: int = 3
  num_subframe_blocks: int = 2
  kernel_size: int = 5
  expansion: int = 2
  oscillators_per_octave: int = 36

  @property
  def subframe_samples(self) -> int:
    """Hop of the spectra."""
    return self.hop_samples // self.num_subframes

  @property
  def num_bins(self) -> int:
    """Number of bins of a spectrum."""
    return self.window_samples // 2 + 1

  @property
  def latent_dim(self) -> int:
    """Width at the quantiser."""
    return self.frame_dim

  @property
  def context_frames(self) -> int:
    """Number of code frames before a piece that its samples need."""
    reach = self.kernel_size - 1
    subframes = self.num_subframe_blocks * reach + self._overlap_subframes
    return self.num_decoder_blocks * reach + -(-subframes // self.num_subframes)

  @property
  def lookahead_frames(self) -> int:
    """Number of code frames after a piece that its samples need."""
    return -(-self._overlap_subframes // self.num_subframes)

  @property
  def clock_frames(self) -> int:
    """Period of the tone bank's clock, one second."""
    return tones.PERIOD_SAMPLES // self.hop_samples

  @property
  def _overlap_subframes(self) -> int:
    # Windows are centred on their hop, so neighbours on both sides overlap.
    return -(
      -(self.window_samples - self.subframe_samples)
      // 2
      // self.subframe_samples
    )

  def encoder(self) -> nn.Module:
    """Builds the encoder."""
    return PatchEncoder(self)

  def decoder(self) -> nn.Module:
    """Builds the decoder."""
    return PatchDecoder(self)


class CausalBlock(nn.Module):
  """Depthwise causal convolution and a pointwise MLP, added to the input.

  Attributes:
    kernel_size: Number of frames it reads: its own and those before it.
    expansion: Ratio of the hidden width to the width.
  """

  kernel_size: int
  expansion: int

  @nn.compact
  def __call__(self, x: arrays.Latents) -> arrays.Latents:
    """float[b, frames, dim] -> float[b, frames, dim]."""
    num_frames, dim = x.shape[-2:]
    kernel = self.param(
      'kernel', nn.initializers.lecun_normal(), (self.kernel_size, dim)
    )
    past = jnp.pad(x, ((0, 0), (self.kernel_size - 1, 0), (0, 0)))
    # Shifted sums: depthwise convolutions are slow in XLA on a CPU.
    mixed = sum(
      past[:, k : k + num_frames] * kernel[k] for k in range(self.kernel_size)
    )
    hidden = nn.Dense(dim * self.expansion)(nn.LayerNorm()(mixed))
    return x + nn.Dense(dim)(nn.gelu(hidden))


class PatchEncoder(nn.Module):
  """Waveform to latents, from magnitudes alone.

  No stage could predict codes of phases; the decoder invents its own. Timing
  comes from spectra that end with their frame, pitch from a long one around it.
  """

  config: PatchConfig

  @nn.compact
  def __call__(self, waveform: arrays.Waveform) -> arrays.Latents:
    """Encodes whole frames of `hop_samples`."""
    c = self.config
    past = c.window_samples - c.subframe_samples
    spectra = spectral.stft(
      jnp.pad(waveform, ((0, 0), (past, 0))),
      c.window_samples,
      c.subframe_samples,
    )
    x = nn.Dense(c.subframe_dim)(_log_power(spectra))
    # [b, subframes, dim] -> [b, frames, num_subframes * dim]
    x = x.reshape(x.shape[0], -1, c.num_subframes * c.subframe_dim)
    pitch = nn.Dense(c.subframe_dim)(_log_power(_pitch_spectra(waveform, c)))
    x = nn.Dense(c.frame_dim)(jnp.concatenate([x, pitch], -1))
    for _ in range(c.num_encoder_blocks):
      x = CausalBlock(c.kernel_size, c.expansion)(x)
    return nn.LayerNorm()(x)


class PatchDecoder(nn.Module):
  """Latents to waveform, through magnitudes and phases of short spectra."""

  config: PatchConfig

  @nn.compact
  def __call__(self, latents: arrays.Latents) -> arrays.Waveform:
    """Decodes to `hop_samples` samples per frame; their end needs the next."""
    c = self.config
    x = subframes(c, latents)
    log_magnitude = nn.Dense(c.num_bins)(x)
    direction = nn.Dense(2 * c.num_bins)(x)
    waveform = spectral.inverse_stft(
      _spectra(log_magnitude, direction, c),
      c.subframe_samples,
      skip_samples=(c.window_samples - c.subframe_samples) // 2,
      num_samples=latents.shape[1] * c.hop_samples,
    )
    if not c.oscillators_per_octave:
      return waveform
    hertz = tones.frequencies_hz(c.oscillators_per_octave)
    levels = nn.Dense(
      len(hertz), bias_init=nn.initializers.constant(_INITIAL_LOG_LEVEL)
    )(x)
    return waveform + tones.render(
      jnp.exp(jnp.minimum(levels, 0.0)),
      c.oscillators_per_octave,
      c.subframe_samples,
    )


def subframes(config: PatchConfig, latents: arrays.Latents) -> arrays.Latents:
  """Latents to the rate of the spectra, in a compact method of a decoder.

  Args:
    config: Sizes.
    latents: float[b, frames, dim].

  Returns:
    float[b, frames * num_subframes, subframe_dim].
  """
  c = config
  batch_size, num_frames, _ = latents.shape
  x = nn.Dense(c.frame_dim)(latents)
  for _ in range(c.num_decoder_blocks):
    x = CausalBlock(c.kernel_size, c.expansion)(x)
  x = nn.Dense(c.num_subframes * c.subframe_dim)(nn.LayerNorm()(x))
  # [b, frames, num_subframes * dim] -> [b, subframes, dim]
  x = x.reshape(batch_size, num_frames * c.num_subframes, c.subframe_dim)
  for _ in range(c.num_subframe_blocks):
    x = CausalBlock(c.kernel_size, c.expansion)(x)
  return nn.LayerNorm()(x)


def _log_power(spectra):
  # About unit variance for music, and finite for silence.
  power = jnp.real(spectra) ** 2 + jnp.imag(spectra) ** 2
  return 0.25 * jnp.log(power + 1e-4)


def _pitch_spectra(waveform, config):
  # The lowest quarter of the band: above it, short spectra separate notes.
  size = config.pitch_window_samples
  spectra = spectral.centred_stft(waveform, size, config.hop_samples)
  return spectra[..., : size // 8]


def _spectra(log_magnitude, direction, config):
  # The phase is the direction of a vector, which can follow the waveform
  # linearly; an angle would have to jump where it wraps.
  x, y = jnp.split(direction, 2, axis=-1)
  gain = jnp.exp(jnp.minimum(log_magnitude, _MAX_LOG_MAGNITUDE))
  gain = gain * jax.lax.rsqrt(x**2 + y**2 + 1e-6)
  return jax.lax.complex(gain * x, gain * y) * _clock(x.shape[-2], config)


def _clock(num_spectra, config):
  # A steady tone advances its phase from spectrum to spectrum; relative to a
  # clock that turns with each bin's frequency, its phase is constant. The clock
  # restarts with each code frame, so a piece needs no offset.
  hops = np.arange(num_spectra) % config.num_subframes
  turns = np.outer(hops * config.subframe_samples, np.arange(config.num_bins))
  turns = turns % config.window_samples / config.window_samples
  return np.exp(2j * np.pi * turns).astype(np.complex64)
