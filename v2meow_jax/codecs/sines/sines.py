"""An autoencoder that hears notes and noises, and plays sines and noise.

Spectral modelling synthesis (Serra & Smith 1990, https://doi.org/10.2307/3680788)
with a network for the mix: what is tonal are oscillators at the notes of the usual
tuning and between them, all else is noise of a spectrum. A spectrum with phases of
its own would repeat with each frame wherever sound is steady, for no latent tells
phases: a buzz at the frame rate, which mel bands hardly show.
"""

from __future__ import annotations

from collections.abc import Mapping
import dataclasses
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from v2meow_jax import specs
from v2meow_jax.codecs import arrays
from v2meow_jax.codecs import spectral
from v2meow_jax.codecs.embedded import patch
from v2meow_jax.codecs.embedded import tones
from v2meow_jax.codecs.sines import analysis
from v2meow_jax.codecs.soundstream import soundstream

KIND = 'sines'
# Log magnitudes and levels that nothing needs.
_MAX_LOG_MAGNITUDE, _FAINT = 8.0, -7.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class SinesConfig:
  """Sizes of an autoencoder.

  Attributes:
    ends: Rates and sizes of the decoder; `pitch_window_samples` is the window that
      tells notes apart, the encoder has no network.
    sample_rate_hz: Sample rate of the waveforms.
    lowest_note: Number in MIDI of the lowest note that has a number.
    num_notes: Number of notes from there on, in semitones.
    num_parts: Number of parts of a frame whose bands have numbers of their own.
    num_bands: Number of mel bands of a part.
  """

  ends: patch.PatchConfig = patch.PatchConfig(pitch_window_samples=4096)
  sample_rate_hz: int = tones.SAMPLE_RATE_HZ
  lowest_note: int = 28  # E1, 41 Hz
  num_notes: int = 72
  num_parts: int = 2
  num_bands: int = 20

  def __post_init__(self):
    soundstream.check_rate(self.ends, self.sample_rate_hz)
    if not self.ends.oscillators_per_octave:
      raise ValueError(
        'oscillators_per_octave is 0; wanted some, for nothing else is tonal.'
      )
    highest_hz = analysis.hertz(self.lowest_note + self.num_notes - 1)
    if self.num_notes < 1 or highest_hz > self.sample_rate_hz / 2:
      raise ValueError(
        f'{self.num_notes} notes from {self.lowest_note} on reach'
        f' {highest_hz:.0f} Hz; wanted one or more below'
        f' {self.sample_rate_hz / 2:.0f} Hz.'
      )

  @property
  def latents(self) -> specs.FeatureSpec:
    """Stream of the latents: notes, then bands."""
    return specs.FeatureSpec(
      name='latents',
      dim=self.num_notes + self.num_parts * self.num_bands,
      rate_hz=self.sample_rate_hz / self.ends.hop_samples,
    )

  @property
  def stream(self) -> specs.FeatureSpec:
    """Stream that is encoded to: the latents, for there are no codes."""
    return self.latents

  def module(self) -> Sines:
    """Builds the network."""
    return Sines(self)

  def to_dict(self) -> dict[str, Any]:
    """Returns JSON data for `from_dict`."""
    return {**dataclasses.asdict(self), 'kind': KIND}

  @classmethod
  def from_dict(cls, data: Mapping[str, Any]) -> SinesConfig:
    """Inverts `to_dict`."""
    data = {k: v for k, v in data.items() if k != 'kind'}
    return cls(**{**data, 'ends': patch.PatchConfig(**data['ends'])})


class Sines(nn.Module):
  """A fixed encoder, and a decoder that is trained."""

  config: SinesConfig

  def setup(self):
    """Builds the decoder."""
    self.decoder = SinesDecoder(self.config)

  def __call__(
    self, waveform: arrays.Waveform, rng: Any = None
  ) -> tuple[arrays.Waveform, None]:
    """Returns the reconstruction, and no Gaussians: nothing is drawn."""
    del rng
    return self.decode_latents(self.encode_latents(waveform)), None

  def encode_latents(self, waveform: arrays.Waveform) -> arrays.Latents:
    """Encodes whole frames."""
    c = self.config
    rates = {
      'hop_samples': c.ends.hop_samples,
      'sample_rate_hz': c.sample_rate_hz,
    }
    found = analysis.notes(
      waveform,
      window_samples=c.ends.pitch_window_samples,
      lowest_note=c.lowest_note,
      num_notes=c.num_notes,
      **rates,
    )
    rest = analysis.bands(
      waveform,
      window_samples=c.ends.window_samples,
      num_parts=c.num_parts,
      num_bands=c.num_bands,
      **rates,
    )
    return jnp.concatenate([found, rest], -1)

  def decode_latents(self, latents: arrays.Latents) -> arrays.Waveform:
    """Decodes latents of any source."""
    return self.decoder(latents)


class SinesDecoder(nn.Module):
  """Latents to waveform, through levels of oscillators and spectra of noise.

  The oscillator of each note begins at the level that its latent says; what is
  learnt is the rest: overtones, attacks, and what of it all is noise.
  """

  config: SinesConfig

  @nn.compact
  def __call__(self, latents: arrays.Latents) -> arrays.Waveform:
    """Decodes to `hop_samples` samples per frame; their end needs the next."""
    c, ends = self.config, self.config.ends
    x = patch.subframes(ends, latents)
    noise = spectral.inverse_stft(
      _noise(nn.Dense(ends.num_bins)(x), ends),
      ends.subframe_samples,
      skip_samples=(ends.window_samples - ends.subframe_samples) // 2,
      num_samples=latents.shape[1] * ends.hop_samples,
    )
    filters, is_note = _oscillators_of_notes(c)
    said = analysis.log_amplitude(latents[..., : c.num_notes]) @ filters
    said = jnp.where(is_note, said, _FAINT)
    learnt = nn.Dense(len(is_note), kernel_init=nn.initializers.normal(0.01))
    levels = learnt(x) + jnp.repeat(said, ends.num_subframes, 1)
    sines = tones.render(
      jnp.exp(jnp.minimum(levels, 0.0)),
      ends.oscillators_per_octave,
      ends.subframe_samples,
      tuned=True,
    )
    return noise + sines


def _oscillators_of_notes(config):
  """float32[notes, oscillators], 1 at its own; and bool[oscillators]."""
  hertz = tones.frequencies_hz(config.ends.oscillators_per_octave, tuned=True)
  filters = np.zeros((config.num_notes, len(hertz)), np.float32)
  for k in range(config.num_notes):
    note_hz = analysis.hertz(config.lowest_note + k)
    filters[k, np.argmin(np.abs(hertz - note_hz))] = 1
  return filters, filters.any(0)


def _noise(log_magnitude, config):
  # The phases come again after a second, as those of the tone bank do.
  hops = tones.PERIOD_SAMPLES // config.subframe_samples
  turns = np.random.default_rng(1).uniform(size=(hops, config.num_bins))
  phases = np.exp(2j * np.pi * turns).astype(np.complex64)
  gain = jnp.exp(jnp.minimum(log_magnitude, _MAX_LOG_MAGNITUDE))
  return gain * phases[np.arange(log_magnitude.shape[-2]) % hops]
