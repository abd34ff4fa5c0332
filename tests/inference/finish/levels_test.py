"""Loudness and true peak are those of two other meters."""

import math

import numpy as np
import pyloudnorm
import pytest
import soxr

from tests.fakes import talking
from v2meow_jax import media
from v2meow_jax.files.films import sounds
from v2meow_jax.inference.finish import levels


def noise(seconds, rate_hz, seed=0):
  """Noise whose level moves, so that gates have something to shut out."""
  rng = np.random.default_rng(seed)
  num = round(seconds * rate_hz)
  nodes = rng.uniform(-70, -10, max(2, round(seconds)))
  level = np.interp(np.arange(num), np.linspace(0, num, len(nodes)), nodes)
  samples = rng.normal(size=num) * 10 ** (level / 20)
  return media.Audio(samples=samples.astype(np.float32), rate_hz=rate_hz)


class Both:
  """A sound on two channels."""

  num_channels, has_equal_channels = 2, True

  def __init__(self, audio):
    self.audio, self.rate_hz = audio, audio.rate_hz
    self.num_samples = audio.num_samples

  def pieces(self):
    for piece in self.audio.pieces():
      yield np.concatenate([piece, piece])


@pytest.mark.parametrize('rate_hz', [16_000, 22_050, 44_100, 48_000])
@pytest.mark.parametrize('seconds', [0.4, 1.234, 20.0])
def test_loudness_is_that_of_pyloudnorm_and_of_ffmpeg(
  rate_hz, seconds, tmp_path
):
  audio = noise(seconds, rate_hz)
  loudness = levels.measured(audio).loudness()
  meter = pyloudnorm.Meter(rate_hz, filter_class='DeMan')
  samples = audio.samples.astype(np.float64)
  assert loudness == pytest.approx(meter.integrated_loudness(samples), abs=1e-6)
  other = pyloudnorm.Meter(rate_hz).integrated_loudness(samples)
  assert loudness == pytest.approx(other, abs=0.15)
  if seconds > 1:
    heard, _ = talking.ebur128(audio.samples[None], rate_hz, tmp_path)
    assert loudness == pytest.approx(heard, abs=0.1)


def test_both_sides_are_twice_as_loud_as_one():
  audio = noise(3.0, 48_000)
  one, copied = (levels.measured(audio, copies=n) for n in (1, 2))
  two = levels.measured(Both(audio))
  assert copied.loudness() == pytest.approx(two.loudness(), abs=1e-9)
  # The gate is relative, so all blocks above -70 LUFS count as before.
  assert two.loudness() - one.loudness() == pytest.approx(
    10 * math.log10(2), abs=0.02
  )
  pair = np.stack([audio.samples] * 2, axis=1).astype(np.float64)
  meter = pyloudnorm.Meter(48_000, filter_class='DeMan')
  assert two.loudness() == pytest.approx(
    meter.integrated_loudness(pair), abs=1e-6
  )


@pytest.mark.parametrize('rate_hz', [8000, 44_100, 48_000])
def test_a_peak_between_samples_is_seen(rate_hz):
  # A quarter of the rate, samples at 45 degrees: all are at 0.707 of the peak.
  samples = 0.5 * np.sin(np.pi / 2 * np.arange(rate_hz) + np.pi / 4)
  ramp = np.minimum(
    1, np.minimum(np.arange(rate_hz), rate_hz - 1 - np.arange(rate_hz)) / 1000
  )
  audio = media.Audio(
    samples=(ramp * samples).astype(np.float32), rate_hz=rate_hz
  )
  assert np.abs(audio.samples).max() == pytest.approx(0.3536, abs=1e-4)
  assert levels.measured(audio).true_peak_db == pytest.approx(-6.02, abs=0.02)


def test_peaks_are_found_in_the_hop_where_they_are():
  samples = np.zeros(48_000, np.float32)
  samples[12_345] = 0.8
  measured = levels.measured(media.Audio(samples=samples, rate_hz=44_100))
  loudest = int(measured.peaks.argmax())
  assert (
    levels.edge(loudest, 44_100) <= 12_345 < levels.edge(loudest + 1, 44_100)
  )
  assert levels.num_hops(48_000, 44_100) == len(measured.peaks)


def test_pieces_of_any_size_have_the_same_levels():
  audio = noise(2.0, 44_100, seed=3)
  whole = levels.measured(audio)
  meter = levels.Meter(audio)
  for piece in sounds.rebuffered(audio.pieces(), 1021):
    meter.add(piece)
  parts = meter.levels()
  np.testing.assert_allclose(parts.energies, whole.energies, rtol=1e-9)
  np.testing.assert_allclose(parts.peaks, whole.peaks, rtol=1e-5)
  up = soxr.resample(audio.samples, 44_100, 8 * 44_100, quality='VHQ')
  finer = 20 * math.log10(np.abs(up).max())
  # BS.1770-5, annex 2: four times oversampled reads low by less than 0.6 dB.
  assert finer - 0.6 < whole.true_peak_db < finer + 0.05


@pytest.mark.parametrize(
  'audio',
  [
    media.Audio(samples=np.zeros(48_000, np.float32), rate_hz=48_000),
    media.Audio(samples=np.ones(48_00, np.float32), rate_hz=48_000),
    media.Audio(samples=np.zeros(0, np.float32), rate_hz=48_000),
    media.Audio(samples=np.full(48_000, 1e-6, np.float32), rate_hz=48_000),
  ],
  ids=['silent', 'shorter than a block', 'empty', 'below the gate'],
)
def test_what_has_no_loudness_has_none(audio):
  assert levels.measured(audio).loudness() is None
