"""Spectra against librosa and against tones whose answer is known."""

import numpy as np
import pytest

from v2meow_jax.evaluation.metrics import numba_cache
from v2meow_jax.pretrained.audio import mel


@pytest.fixture(scope='module')
def noise():
  return np.random.default_rng(0).normal(0, 0.1, 16_000).astype(np.float32)


@pytest.mark.slow  # librosa compiles with numba
def test_log_mel_equals_librosa(noise):
  librosa = numba_cache.librosa()
  power = librosa.feature.melspectrogram(
    y=np.pad(noise, (512 - 160, 1024)),
    sr=16_000,
    n_fft=1024,
    hop_length=320,
    n_mels=40,
    htk=True,
    norm=None,
    center=False,
    window='hann',
  )
  expected = np.log(power.T[:50] / 1024 + 1e-8)
  ours = mel.log_mel(noise, 16_000, 320, 1024, 40)
  np.testing.assert_allclose(ours, expected, atol=1e-3)


def test_frame_i_is_centred_on_its_hop():
  samples = np.zeros(3200, np.float32)
  samples[320 * 4 + 160] = 1.0
  power = mel.power_spectrum(samples, 320, 640).sum(1)
  assert power.shape == (10,)
  assert np.argmax(power) == 4
  assert power[3] == pytest.approx(power[5], abs=1e-6)


@pytest.mark.parametrize('num_samples', [0, 1, 100, 16_000, 16_159, 16_161])
def test_number_of_frames(num_samples):
  power = mel.power_spectrum(np.zeros(num_samples, np.float32), 320, 640)
  assert len(power) == max(1, round(num_samples / 320))


@pytest.mark.parametrize('midi', range(57, 69))
def test_chroma_of_a_tone_is_its_pitch_class(midi):
  frequency = 440 * 2 ** ((midi - 69) / 12)
  tone = np.sin(2 * np.pi * frequency * np.arange(16_000) / 16_000)
  power = mel.power_spectrum(tone.astype(np.float32), 640, 4096)
  chroma = mel.chroma(power, 16_000, 130.0, 2000.0)
  assert (chroma[3:-3].argmax(1) == midi % 12).all()


def test_silence_has_no_chroma():
  power = mel.power_spectrum(np.zeros(16_000, np.float32), 640, 4096)
  np.testing.assert_array_equal(mel.chroma(power, 16_000, 40.0, 260.0), 0)


def test_onset_flux_peaks_in_the_band_and_frame_of_a_click():
  bands = np.full((20, 8), -5.0)
  bands[10:, 6] = 1.0
  flux = mel.onset_flux(bands, (0, 4, 8))
  expected = np.zeros((20, 2))
  expected[10:12, 1] = 6 / 4
  np.testing.assert_allclose(flux, expected)
