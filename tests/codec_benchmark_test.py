"""Benchmarks of codecs: what they hear is known in closed form."""

import importlib

import numpy as np
import pytest

from tests.fakes import bit_codec
from v2meow_jax import specs

pytestmark = pytest.mark.slow

aac = importlib.import_module('benchmarks.aac')
codec_benchmark = importlib.import_module('benchmarks.codec')
codec_judge = importlib.import_module('benchmarks.codec_judge')
codec_runs = importlib.import_module('benchmarks.codec_runs')


def test_codec_error_of_finer_steps_falls_with_every_level():
  samples = 0.5 * np.sin(np.arange(32_000) * 0.05).astype(np.float32)
  samples += 0.1 * np.sin(np.arange(32_000) * 0.31).astype(np.float32)
  pieces = codec_benchmark.cut(samples, bit_codec.BitCodec(), 1.0)
  figures = codec_benchmark.measure(bit_codec.BitCodec(), pieces, 'test')
  assert [len(p) for p in pieces] == [16_000, 16_000]
  assert figures['falls_with_every_level']
  # The sign of a sine is a fair coin.
  assert figures['perplexity'][0] == pytest.approx(2.0, abs=0.01)
  assert 'falls with every level' in codec_benchmark.show({'test': figures})


def test_an_autoencoder_is_measured_as_one_level_without_codes():
  class Scaled:
    stream = specs.FeatureSpec(name='latents', dim=40, rate_hz=100.0)
    sample_rate_hz = 4_000

    def encode(self, waveform):
      return waveform.reshape(len(waveform), -1, 40)

    def decode(self, latents):
      return latents.reshape(len(latents), -1) / 2

  noise = np.random.default_rng(0).normal(size=4_000).astype(np.float32)
  figures = codec_benchmark.measure(Scaled(), [noise], 'test')
  (error,), (notes,) = (
    figures['log_mel_error_db'],
    figures['chroma_correlation'],
  )
  assert error == pytest.approx(20 * np.log10(2), abs=1e-3)
  assert notes == pytest.approx(1, abs=1e-4)
  assert figures['perplexity'] == []
  assert 'correlation of chroma' in codec_benchmark.show({'test': figures})


def test_log_mel_error_of_half_the_amplitude_is_six_db():
  noise = 0.3 * np.random.default_rng(0).normal(size=16_000)
  error = codec_benchmark.log_mel_error(noise, noise / 2, 16_000)
  assert error == pytest.approx(20 * np.log10(2), abs=1e-6)
  assert codec_benchmark.log_mel_error(noise, noise, 16_000) == 0


def test_log_mel_of_a_full_scale_sine_peaks_near_zero_db():
  t = np.arange(16_000) / 16_000
  silence = np.zeros(16_000)
  error = codec_benchmark._log_mel(np.sin(2 * np.pi * 2_000 * t), 16_000, 1024)
  assert error.max() == pytest.approx(0.0, abs=3.0)
  assert codec_benchmark._log_mel(silence, 16_000, 1024).max() == -80


def test_chroma_tell_a_note_from_a_buzz_at_its_place():
  t = np.arange(16_000) / 16_000

  def tones(*hertz):
    return sum(0.1 * np.sin(2 * np.pi * hz * t) for hz in hertz)

  chord = tones(262, 330, 392)
  hear = codec_benchmark.chroma_correlation
  assert hear(chord, chord / 2, 16_000) == pytest.approx(1, abs=1e-4)
  assert hear(chord, tones(277, 349, 415), 16_000) < 0
  # All multiples of 25 Hz there.
  assert hear(chord, tones(*range(250, 401, 25)), 16_000) < 0.7
  assert hear(chord, 0 * chord, 16_000) == 0


@pytest.fixture(scope='module')
def chords():
  """Four clips of a second, each of two sines."""
  t = np.arange(16_000) / 16_000
  hz = np.random.default_rng(0).uniform(200, 4_000, size=(2, 4, 1))
  return (0.2 * np.sin(2 * np.pi * hz * t)).sum(0).astype(np.float32)


def test_a_judge_hears_a_lost_treble_and_nothing_where_nothing_is():
  rng = np.random.default_rng(1)
  loudness = rng.uniform(0.1, 0.3, size=(8, 1))
  true = (loudness * rng.normal(size=(8, 16_000))).astype(np.float32)
  spectra = np.fft.rfft(true)
  spectra[:, 6_000:] = 0  # 6 kHz and above.
  dull = np.fft.irfft(spectra).astype(np.float32)
  assert codec_judge.accuracy(true, dull).min() > 0.95
  # Equal clips get equal answers, of which one is right.
  np.testing.assert_array_equal(codec_judge.accuracy(true, true), 0.5)


def test_noise_is_masked_by_louder_sound_near_it_alone():
  rng = np.random.default_rng(2)
  bins = np.fft.rfft(rng.normal(size=aac.RATE_HZ))
  hertz = np.fft.rfftfreq(aac.RATE_HZ, 1 / aac.RATE_HZ)

  def band(low, high, level):
    inside = (hertz >= low) & (hertz < high)
    return level * np.fft.irfft(np.where(inside, bins, 0))

  def worst_db(true, noise):
    ratios = aac.noise_to_mask(true, true + noise)
    return 10 * np.log10(np.median(ratios.max(axis=1)))

  loud = band(900, 1100, 0.5)
  soft = band(900, 1100, 0.5 * 10 ** (-10 / 20))
  # 10 dB softer, and offsets of 3 dB; bands of the mask spread into another.
  assert worst_db(loud, soft) == pytest.approx(-7, abs=5)
  assert worst_db(loud, soft / 10) < -20
  assert worst_db(loud, band(4000, 4200, 0.05)) > 10
  assert worst_db(loud, band(4000, 4200, 1e-7)) < -10
  assert aac.spectral_distance(loud, loud) == 0
  # Of a tenth of the band, in decibels: the rest stays as it is.
  assert aac.spectral_distance(
    band(20, 16_000, 0.1), band(20, 16_000, 0.2)
  ) == (pytest.approx(6.02, abs=0.05))


def test_sound_of_films_is_coded_no_worse_than_by_the_default_coder():
  rng = np.random.default_rng(3)
  times = np.arange(2 * aac.RATE_HZ) / aac.RATE_HZ
  decay = np.exp(-6 * (times % 0.25))
  both = np.sin(2 * np.pi * 220 * times) + rng.normal(size=len(times)) / 5
  sides = 0.2 * decay * (both + 0.1 * rng.normal(size=(2, len(times))))
  wide = aac.TwoSided(sides.astype(np.float32))
  ours, slow, intensity = (
    aac.compare(wide, aac.CODERS[name])
    for name in ('as in films', 'twoloop', 'fast')
  )
  assert ours['nmr_db'] < slow['nmr_db'] + 1
  assert ours['disturbed_share'] <= slow['disturbed_share'] + 0.01
  # Noise above 20 kHz is cut off, whatever the coder.
  assert abs(ours['level_db']) < 0.2 and abs(slow['level_db']) < 0.2
  assert intensity['nmr_db'] > ours['nmr_db'] + 3
  narrow = aac.TwoSided(wide.samples[[0, 0]])
  made, _, num_bytes = aac.coded(narrow, None)
  np.testing.assert_array_equal(*made)
  assert made.shape == narrow.samples.shape
  once = aac.compare(narrow, None)
  assert once['nmr_db'] < slow['nmr_db'] + 1
  assert num_bytes < 0.7 * aac.coded(wide, None)[2]


def test_codecs_are_compared_by_pairs_of_clips(chords):
  class Scaled(bit_codec.BitCodec):
    def __init__(self, factor):
      self.factor = factor

    def encode(self, waveform):
      return waveform[..., None]

    def decode(self, codes):
      return self.factor * codes[..., 0]

  def loudness(audio):
    half = len(audio.samples) // 2
    parts = audio.samples[: 2 * half].reshape(2, half)
    return np.log10(parts.std(axis=1, keepdims=True))

  true = codec_runs.embed(chords, loudness, 16_000)
  full, half = (
    codec_runs.measure(Scaled(f), chords, loudness, seed=0, what='test')
    for f in (1.0, 0.5)
  )
  same = codec_runs.intervals(full, true)
  assert [str(same[f])[:5] for f in codec_runs.FIGURES] == [
    '0.000',
    '0.000',
    '0.500',
    '0.000',
  ]
  above = codec_runs.differences(half, full, true)
  assert above['log_mel_error_db'].low > 0
  assert above['stft_distance'].mean == pytest.approx(0.5, rel=0.01)
  # All embeddings move by log10(2), and their spread is as it was.
  assert above['frechet'].mean == pytest.approx(np.log10(2) ** 2, rel=0.05)
