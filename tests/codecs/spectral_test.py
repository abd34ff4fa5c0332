import numpy as np
import pytest
import scipy.signal

from v2meow_jax.codecs import spectral
from v2meow_jax.evaluation.metrics import numba_cache

librosa = numba_cache.librosa()


def _noise(num=4000, seed=0):
  return np.random.default_rng(seed).normal(size=num).astype(np.float32)


def test_stft_equals_scipy():
  x = _noise()
  wanted = scipy.signal.stft(
    x, window='hann', nperseg=640, noverlap=480, boundary=None, padded=False
  )[2]
  # scipy divides by the sum of the window.
  ours = spectral.stft(x, 640, 160).T / spectral.hann(640).sum()
  np.testing.assert_allclose(ours, wanted, atol=1e-6)


def test_inverse_stft_equals_scipy_on_spectra_of_no_signal():
  rng = np.random.default_rng(0)
  spectra = rng.normal(size=(10, 321)) + 1j * rng.normal(size=(10, 321))
  spectra[[0, -1]] = 0  # So that scipy may cut its ends, too.
  wanted = scipy.signal.istft(
    spectra.T / spectral.hann(640).sum(),
    window='hann',
    nperseg=640,
    noverlap=480,
    boundary=True,
  )[1]
  ours = spectral.inverse_stft(spectra, 160, 320, len(wanted))
  np.testing.assert_allclose(ours, wanted, atol=1e-5)


def test_planted_spectra_give_the_analytic_sinusoid():
  # A tone on bin 20 of 640 at amplitude a has the Hann spectrum a * 160 there
  # and -a * 80 in its two neighbours, turned by its phase at each start.
  frames, hop, window, k = 12, 160, 640, 20
  starts = np.arange(frames) * hop
  turn = np.exp(1j * (2 * np.pi * k * starts / window + 0.3))
  spectra = np.zeros((frames, window // 2 + 1), complex)
  spectra[:, k] = 0.5 * 160 * turn
  spectra[:, k - 1] = spectra[:, k + 1] = -0.5 * 80 * turn
  t = np.arange(240, 240 + 1920)
  wanted = 0.5 * np.cos(2 * np.pi * k * t / window + 0.3)
  ours = spectral.inverse_stft(spectra, hop, 240, 1920)
  np.testing.assert_allclose(ours, wanted, atol=1e-4)


def test_overlap_add_is_the_adjoint_of_frame():
  x, y = _noise(1600), _noise(7 * 640, seed=1).reshape(7, 640)
  forward = np.vdot(spectral.frame(x, 640, 160), y)
  backward = np.vdot(x, spectral.overlap_add(y, 160))
  assert forward == pytest.approx(backward, rel=1e-4)


def test_hop_that_does_not_divide_the_window_is_refused():
  with pytest.raises(ValueError, match='640 samples is not whole hops of 150'):
    spectral.frame(_noise(), 640, 150)


def test_magnitude_of_a_full_scale_tone_is_one():
  t = np.arange(16_000) / 16_000
  tone = np.cos(2 * np.pi * 1000 * t).astype(np.float32)
  peaks = np.asarray(spectral.magnitude(tone, 512, 128)).max(-1)
  np.testing.assert_allclose(peaks, 1, rtol=1e-3)


@pytest.mark.slow  # librosa compiles with numba
def test_mel_triangles_equal_librosa_where_bins_are_dense():
  wanted = librosa.filters.mel(
    sr=16_000, n_fft=2048, n_mels=64, htk=True, norm=None
  )
  ours = spectral.mel_matrix(2048, 64, 16_000)
  np.testing.assert_allclose(ours.T[8:], wanted[8:], atol=1e-5)


def test_every_mel_band_hears_something_even_with_a_short_window():
  assert spectral.mel_matrix(128, 64, 16_000).max(0).min() > 0.2


def test_log_mel_rises_by_the_logarithm_of_a_gain():
  x = _noise()
  quiet, loud = (
    spectral.log_mel(spectral.magnitude(g * x, 512, 128), 64, 16_000, 1e-4)
    for g in (1.0, 10.0)
  )
  np.testing.assert_allclose(loud - quiet, np.log(10), atol=1e-3)
