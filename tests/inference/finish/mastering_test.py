"""A target is reached, and nothing ever peaks above the ceiling."""

import math

from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
import numpy as np
import pytest
import soxr

from tests.fakes import talking
from v2meow_jax import media
from v2meow_jax.inference.finish import levels
from v2meow_jax.inference.finish import mastering

pytestmark = pytest.mark.slow

RATE_HZ = 48_000


def music(seconds=6.0, seed=0, rate_hz=RATE_HZ, crest=0.8):
  """Decaying notes with clicks, softer at the start."""
  rng = np.random.default_rng(seed)
  times = np.arange(round(seconds * rate_hz)) / rate_hz
  out = np.zeros(len(times))
  for start in np.arange(0, seconds, 0.25):
    since = np.maximum(times - start, 0)
    note = np.sin(2 * np.pi * rng.uniform(100, 2000) * since)
    out += (
      (times >= start) * note * np.exp(-8 * since) * (0.2 + start / seconds)
    )
    out[np.argmin(np.abs(times - start))] += crest * rng.choice([-1, 1])
  samples = 0.4 * out / np.abs(out).max()
  return media.Audio(samples=samples.astype(np.float32), rate_hz=rate_hz)


def mastered(audio, target):
  plan = mastering.plan(levels.measured(audio), target)
  sound = mastering.Mastered(audio, plan)
  return plan, np.concatenate(list(sound.pieces()), axis=1)[0]


@pytest.mark.parametrize('target', [-30.0, -23.0, -16.0, -14.0, -11.0])
def test_the_loudness_asked_for_is_reached_by_every_meter(target, tmp_path):
  import pyloudnorm

  plan, samples = mastered(music(), target)
  assert plan.why is None
  for filters in ('K-weighting', 'DeMan'):
    meter = pyloudnorm.Meter(RATE_HZ, filter_class=filters)
    loudness = meter.integrated_loudness(samples.astype(np.float64))
    assert loudness == pytest.approx(target, abs=0.2)
  loudness, peak = talking.ebur128(samples[None], RATE_HZ, tmp_path)
  assert loudness == pytest.approx(target, abs=0.1)
  assert peak < mastering.CEILING_DB


@settings(max_examples=25, deadline=None)
@given(
  seed=st.integers(0, 1000),
  rate_hz=st.sampled_from([8000, 22_050, 44_100, 48_000]),
  target=st.floats(-20, -5),
  kind=st.sampled_from(['notes', 'noise', 'square', 'clicks']),
)
def test_true_peaks_stay_below_the_ceiling(seed, rate_hz, target, kind):
  rng = np.random.default_rng(seed)
  num = rate_hz
  samples = {
    'notes': lambda: music(1.0, seed, rate_hz, 3.0).samples,
    'noise': lambda: rng.normal(size=num) * rng.uniform(0, 1, num) ** 4,
    'square': lambda: np.sign(np.sin(np.arange(num) * rng.uniform(0.01, 1.5))),
    'clicks': lambda: (rng.uniform(size=num) < 1e-3) * rng.normal(size=num) * 5,
  }[kind]()
  audio = media.Audio(samples=samples.astype(np.float32), rate_hz=rate_hz)
  _, out = mastered(audio, target)
  for factor in (1, 4):
    up = soxr.resample(out, rate_hz, factor * rate_hz, quality='VHQ')
    assert 20 * math.log10(np.abs(up).max() + 1e-9) < mastering.CEILING_DB


def test_what_is_below_the_ceiling_stays_as_it_is_to_the_bit():
  audio = music()
  plan, samples = mastered(audio, None)
  assert plan.is_nothing
  np.testing.assert_array_equal(samples, audio.samples)


def test_the_limiter_turns_down_and_up_no_faster_than_it_says():
  audio = music(seed=1, crest=3.0)
  plan, samples = mastered(audio, -16.0)
  num_borders = plan.levels.num_hops + 1
  reductions = plan.reductions_db(0, num_borders)
  some = [plan.reductions_db(n, n + 1)[0] for n in range(num_borders)]
  np.testing.assert_allclose(some, reductions, atol=1e-9)
  borders = levels.edge(np.arange(num_borders), RATE_HZ)
  places = np.arange(len(samples))
  gain_db = plan.gain_db - np.interp(places, borders, reductions)
  np.testing.assert_allclose(
    samples, audio.samples * 10 ** (gain_db / 20), atol=1e-5
  )
  assert reductions.max() > 3
  assert reductions.max() == pytest.approx(plan.limited_db, abs=1e-9)
  steps = np.diff(reductions)
  # A hop is 5 ms: 1 dB a millisecond down, 40 dB a second up.
  assert steps.max() < 5 + 1e-9 and steps.min() > -0.2 - 1e-9


def test_peaks_far_above_the_rest_miss_the_target_and_say_so():
  samples = np.full(RATE_HZ * 2, 1e-3, np.float32)
  samples *= np.random.default_rng(0).choice([-1, 1], len(samples))
  samples[RATE_HZ] = 0.9
  audio = media.Audio(samples=samples, rate_hz=RATE_HZ)
  plan, out = mastered(audio, -14.0)
  assert 'more than 12 dB' in plan.why
  loudness = levels.measured(
    media.Audio(samples=out, rate_hz=RATE_HZ)
  ).loudness()
  assert loudness < -15


@pytest.mark.parametrize(
  ('samples', 'why'),
  [
    (np.zeros(RATE_HZ, np.float32), '-70 LUFS'),
    (np.full(RATE_HZ // 4, 0.1, np.float32), 'shorter than 0.4 s'),
    (np.zeros(0, np.float32), 'shorter than 0.4 s'),
  ],
)
def test_without_loudness_there_is_no_gain_and_a_reason(samples, why):
  audio = media.Audio(samples=samples, rate_hz=RATE_HZ)
  plan = mastering.plan(levels.measured(audio), -14.0)
  assert plan.gain_db == 0 and why in plan.why
  assert plan.is_nothing
