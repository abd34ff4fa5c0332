import jax
import numpy as np
import pytest

from v2meow_jax.codecs import reconstruction

_CONFIG = reconstruction.ReconstructionConfig(
  window_samples=(256, 512), mel_floor=1e-6
)


def _noise(gain=0.1):
  rng = np.random.default_rng(0)
  return (gain * rng.normal(size=(2, 4096))).astype(np.float32)


@jax.jit
def _compiled(ours, true):
  return reconstruction.reconstruction_losses(ours, true, 16_000, _CONFIG)


def _losses(ours, true):
  out = _compiled(ours, true)
  return {k: float(v) for k, v in out.items()}


def test_a_perfect_reconstruction_costs_nothing():
  assert _losses(_noise(), _noise()) == pytest.approx(
    {'mel': 0, 'stft': 0, 'waveform': 0}, abs=1e-4
  )


def test_silence_costs_one_relative_to_the_music():
  losses = _losses(0 * _noise(), _noise())
  assert losses['stft'] == pytest.approx(1, abs=0.01)
  assert losses['waveform'] == pytest.approx(1, abs=0.01)


def test_a_gain_of_two_costs_its_logarithm_and_once_the_music():
  losses = _losses(2 * _noise(), _noise())
  wanted = {'mel': np.log(2), 'stft': 1, 'waveform': 1}
  assert losses == pytest.approx(wanted, abs=0.01)


def test_the_sign_of_the_waveform_matters_only_to_the_waveform_term():
  losses = _losses(-_noise(), _noise())
  wanted = {'mel': 0, 'stft': 0, 'waveform': 2}
  assert losses == pytest.approx(wanted, abs=0.01)


def test_weights_multiply_their_terms():
  config = reconstruction.ReconstructionConfig(
    mel_weight=2.0, stft_weight=3.0, waveform_weight=5.0
  )
  terms = {'mel': 0.1, 'stft': 0.01, 'waveform': 0.001}
  assert reconstruction.weighted(terms, config) == pytest.approx(0.235)


def test_gradients_on_silence_are_finite():
  silence = np.zeros((1, 2048), np.float32)

  def total(x):
    losses = reconstruction.reconstruction_losses(x, silence, 16_000, _CONFIG)
    return reconstruction.weighted(losses, _CONFIG)

  assert np.isfinite(jax.jit(jax.grad(total))(silence)).all()


def test_a_number_of_bands_is_that_of_every_window_or_one_is_given_for_each():
  config = reconstruction.ReconstructionConfig(window_samples=(64, 256))
  assert config.num_mels == (64, 64)
  with pytest.raises(ValueError, match='one for each window'):
    reconstruction.ReconstructionConfig(
      window_samples=(64, 256), num_mels=(8, 16, 32)
    )


@pytest.mark.slow
def test_narrow_bands_of_long_windows_tell_a_note_from_its_neighbour():
  t = np.arange(16_000) / 16_000
  note, other = (0.3 * np.sin(2 * np.pi * hz * t)[None] for hz in (440, 466))

  def distance(bands):
    config = reconstruction.ReconstructionConfig(
      window_samples=(4096,), num_mels=bands
    )
    return float(
      reconstruction.reconstruction_losses(note, other, 16_000, config)['mel']
    )

  assert distance(320) > 2 * distance(16)
