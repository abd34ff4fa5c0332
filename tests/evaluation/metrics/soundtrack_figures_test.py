"""Figures without a true music, on signals that were planted."""

import numpy as np
import pytest

from v2meow_jax import media
from v2meow_jax.evaluation.metrics import soundtrack_figures as figures

RATE_HZ = 16_000


def sound(samples):
  return media.Audio(samples=np.asarray(samples, np.float32), rate_hz=RATE_HZ)


def clicks(times, seconds):
  samples = np.zeros(round(seconds * RATE_HZ))
  burst = np.random.default_rng(0).uniform(-0.5, 0.5, 800)
  for time in times:
    start = round(time * RATE_HZ)
    room = min(len(burst), len(samples) - start)
    samples[start : start + room] += burst[:room]
  return sound(samples)


def tones(frequencies, seconds=2.0):
  times = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
  waves = [np.sin(2 * np.pi * f * times) for f in frequencies]
  return sound(0.2 * np.sum(waves, 0))


def noise(seconds, seed=0, level=0.1):
  rng = np.random.default_rng(seed)
  return sound(level * rng.standard_normal(round(seconds * RATE_HZ)))


@pytest.mark.slow  # librosa compiles with numba
def test_a_pulse_is_clear_and_noise_is_not():
  assert figures.pulse_clarity(clicks(np.arange(0.1, 9.9, 0.5), 10.0)) > 0.85
  assert figures.pulse_clarity(noise(10.0)) < 0.25
  at_random = np.random.default_rng(1).uniform(0, 9.8, 20)
  assert figures.pulse_clarity(clicks(at_random, 10.0)) < 0.4
  assert figures.pulse_clarity(sound(np.zeros(RATE_HZ))) == 0


@pytest.mark.slow  # librosa compiles with numba
def test_a_scale_is_clearer_than_all_twelve_notes():
  major = [261.6 * 2 ** (s / 12) for s in (0, 0, 2, 4, 4, 5, 7, 7, 9, 11)]
  chromatic = [261.6 * 2 ** (s / 12) for s in range(12)]
  assert figures.key_clarity(tones(major)) > 0.8
  assert figures.key_clarity(tones(chromatic)) < 0.6
  assert figures.key_clarity(sound(np.zeros(RATE_HZ))) == 0


@pytest.mark.slow  # librosa compiles with numba
def test_a_scale_is_in_its_key_and_in_the_relative_one():
  major = [261.6 * 2 ** (s / 12) for s in (3, 3, 5, 7, 7, 8, 10, 10, 12, 14)]
  assert figures.estimated_key(tones(major)) == (3, 'major')
  assert figures.plays_key(tones(major), 3, 'major')
  assert figures.plays_key(tones(major), 0, 'minor')
  assert not figures.plays_key(tones(major), 3, 'minor')
  assert not figures.plays_key(tones(major), 10, 'major')
  assert figures.estimated_key(sound(np.zeros(RATE_HZ))) is None


def test_pairs_with_one_opening_are_counted():
  a, b, c = noise(3.0, 1), noise(3.0, 2), noise(3.0, 3)
  louder = sound(1.5 * a.samples + 0.01 * b.samples)
  assert figures.same_openings([a, b, c]) == 0
  assert figures.same_openings([a, louder, c]) == pytest.approx(1 / 3)
  assert figures.same_openings([a, a, a]) == 1
  with pytest.raises(ValueError, match='wanted two at least'):
    figures.same_openings([a])


def test_loudness_of_planted_levels():
  parts = [level * np.ones(RATE_HZ // 2) for level in (1.0, 0.1, 0.0)]
  np.testing.assert_allclose(
    figures.loudness(sound(np.concatenate(parts))), [0, -20, -100], atol=0.1
  )
  assert figures.silence(sound(np.concatenate(parts))) == pytest.approx(1 / 3)


def test_curves_are_averaged_over_the_same_half_seconds():
  curve = np.repeat([1.0, 3.0], 25)
  assert figures.steps_of(curve, 50.0, 3).tolist() == [1, 3, 3]
  rising = np.arange(10.0)
  assert figures.rank_correlation(rising, rising**3) == 1
  assert figures.rank_correlation(rising, -rising) == -1
  assert figures.rank_correlation(rising, np.ones(10)) == 0


def test_cuts_that_are_met_are_told_from_chance():
  cuts = np.array([1.0, 2.5, 7.2, 8.8])
  met, chance = figures.cut_hits(cuts + 0.05, cuts, 10.0)
  assert met == 1 and chance < 0.3
  missed, _ = figures.cut_hits(cuts + 0.1, cuts, 10.0)
  assert missed == 0
  # An event every 0.14 s is near any time.
  dense, by_chance = figures.cut_hits(np.arange(0, 10, 0.14), cuts, 10.0)
  assert dense == 1 and by_chance > 0.97
  assert figures.cut_hits(np.zeros(0), cuts, 10.0) == (0, 0)


def test_octaves_of_a_tempo_count_and_others_do_not():
  for bpm in (60.0, 119.0, 243.0):
    assert figures.plays_tempo(bpm, 120.0)
  for bpm in (90.0, 126.0, 180.0, None):
    assert not figures.plays_tempo(bpm, 120.0)
