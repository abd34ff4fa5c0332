"""Beats against click tracks, whose beats are known to the sample."""

import numpy as np
import pytest

from v2meow_jax import media
from v2meow_jax.evaluation.metrics import beat_scores

pytestmark = pytest.mark.slow

RATE_HZ = 16_000


def clicks(bpm, seconds=10.0, offset=0.21):
  """A click track: decaying noise bursts, the same at every beat."""
  times = np.arange(offset, seconds - 0.05, 60.0 / bpm)
  burst = np.random.default_rng(0).normal(size=480) * np.exp(
    -np.arange(480) / 80
  )
  samples = np.zeros(round(seconds * RATE_HZ), np.float32)
  for t in times:
    start = round(t * RATE_HZ)
    samples[start : start + 480] += 0.2 * burst[: len(samples) - start]
  return media.Audio(samples=samples, rate_hz=RATE_HZ), times


@pytest.mark.parametrize('bpm', [60, 72.5, 90, 100, 117.3, 128, 140, 160, 180])
def test_clicks_give_their_tempo_within_one_percent_and_their_beats(bpm):
  audio, times = clicks(bpm)
  heard = beat_scores.track(audio)
  assert heard.tempo_bpm == pytest.approx(bpm, rel=0.01)
  assert beat_scores.beat_f(heard.times, times) >= 0.95
  error = heard.times[:, None] - times
  nearest = error[np.arange(len(error)), np.abs(error).argmin(axis=1)]
  assert abs(np.median(nearest)) < 0.015


def test_missing_clicks_do_not_lose_the_beat():
  audio, times = clicks(120)
  samples = audio.samples.copy()
  for t in times[5:8]:
    samples[round(t * RATE_HZ) - 100 : round(t * RATE_HZ) + 600] = 0
  heard = beat_scores.track(media.Audio(samples=samples, rate_hz=RATE_HZ))
  assert beat_scores.beat_f(heard.times, times) >= 0.95


@pytest.mark.parametrize('shift, low, high', [(0.05, 1.0, 1.0), (0.1, 0, 0)])
def test_a_shift_counts_only_beyond_70_ms(shift, low, high):
  times = np.arange(0.3, 10.0, 0.5)
  assert low <= beat_scores.beat_f(times + shift, times) <= high


def test_half_the_beats_give_an_f_of_two_thirds():
  times = np.arange(0.0, 10.0, 0.5)
  # Precision 1, recall 1/2.
  assert beat_scores.beat_f(times[::2], times) == pytest.approx(2 / 3)


@pytest.mark.parametrize('seconds', [0.0, 0.5, 10.0])
def test_silence_has_no_beats(seconds):
  silence = np.zeros(round(seconds * RATE_HZ), np.float32)
  heard = beat_scores.track(media.Audio(samples=silence, rate_hz=RATE_HZ))
  assert heard.tempo_bpm is None and len(heard.times) == 0
  assert beat_scores.beat_f(heard.times, np.arange(3.0)) == 0.0
  assert not beat_scores.tempo_agrees(heard.tempo_bpm, 120.0)


@pytest.mark.filterwarnings('error::UserWarning')
@pytest.mark.parametrize('num_samples', [1, 100, 511, 512, 640])
def test_a_sound_shorter_than_a_window_is_heard_without_a_warning(num_samples):
  samples = np.random.default_rng(0).normal(size=num_samples)
  audio = media.Audio(samples=samples.astype(np.float32), rate_hz=16_000)
  assert len(beat_scores.onset_envelope(audio)) == num_samples // 160 + 1


def test_beats_of_a_constant_tone_are_rising_and_inside_the_clip():
  tone = np.sin(np.arange(5 * RATE_HZ) * 0.2).astype(np.float32)
  heard = beat_scores.track(media.Audio(samples=tone, rate_hz=RATE_HZ))
  assert (np.diff(heard.times) > 0).all()
  assert all(0 <= t <= 5.0 for t in heard.times)


@pytest.mark.parametrize('factor', [2, 1 / 2, 3, 1 / 3])
def test_octave_errors_are_counted_apart(factor):
  assert beat_scores.tempo_octave(factor * 120, 120)
  assert not beat_scores.tempo_agrees(factor * 120, 120)


def test_tempo_tolerance_is_four_percent():
  assert beat_scores.tempo_agrees(124.7, 120)
  assert not beat_scores.tempo_agrees(125.0, 120)
