"""Loudness that follows a plan, in closed form."""

import numpy as np

from v2meow_jax import media
from v2meow_jax.extractors.planning import plan as plan_lib
from v2meow_jax.inference.expression import dynamics

RATE_HZ = 8_000


def plan_of(energies, end_seconds=None):
  beats = tuple(
    plan_lib.Beat(seconds=float(i), downbeat=i % 4 == 0, energy=energy)
    for i, energy in enumerate(energies)
  )
  return plan_lib.MusicPlan(
    seconds=float(len(energies)),
    tempo_bpm=60.0,
    beats_per_bar=4,
    source='given',
    beats=beats,
    sections=(plan_lib.Section(start_seconds=0.0, mood='', energy=0.5),),
    end_seconds=end_seconds,
  )


def tone(seconds, amplitude=0.3):
  return media.Audio(
    samples=np.full(round(seconds * RATE_HZ), amplitude, np.float32),
    rate_hz=RATE_HZ,
  )


def test_calm_is_four_decibels_softer_and_wild_four_louder():
  made = dynamics.follow(tone(8), plan_of([0.0] * 4 + [1.0] * 4)).samples
  calm, wild = made[RATE_HZ], made[6 * RATE_HZ]
  np.testing.assert_allclose(20 * np.log10(wild / calm), 8.0, atol=1e-3)
  np.testing.assert_allclose(20 * np.log10(calm / 0.3), -4.0, atol=1e-3)


def test_even_energy_leaves_the_music_alone_up_to_its_end():
  made = dynamics.follow(tone(8), plan_of([0.7] * 8)).samples
  np.testing.assert_allclose(made[: round(7.7 * RATE_HZ)], 0.3, rtol=1e-6)
  assert abs(made[-1]) < 1e-3


def test_the_music_rings_out_after_its_last_downbeat():
  made = dynamics.follow(tone(8), plan_of([0.5] * 8, 6.0)).samples
  np.testing.assert_allclose(made[: 6 * RATE_HZ], 0.3, rtol=1e-6)
  ring = made[6 * RATE_HZ :]
  assert (np.diff(ring) <= 0).all() and abs(ring[-1]) < 1e-3


def test_length_and_range_are_kept():
  loud = dynamics.follow(tone(8, 0.95), plan_of([0.0] * 4 + [1.0] * 4))
  assert np.abs(loud.samples).max() <= 1.0
  assert len(loud.samples) == 8 * RATE_HZ
  assert loud.samples.dtype == np.float32
  silence = dynamics.follow(tone(8, 0.0), plan_of([0.0] * 8))
  assert not silence.samples.any()
  nothing = media.Audio(samples=np.zeros(0, np.float32), rate_hz=RATE_HZ)
  assert dynamics.follow(nothing, plan_of([0.5])).seconds == 0


def test_a_long_sound_is_scaled_in_blocks_as_it_would_be_at_once():
  rng = np.random.default_rng(0)
  seconds = 3 * media.PIECE_SAMPLES // RATE_HZ + 1
  plan = plan_of(rng.random(seconds).tolist(), seconds - 3.0)
  samples = rng.normal(0, 0.5, seconds * RATE_HZ).astype(np.float32)
  times = np.arange(len(samples)) / RATE_HZ
  nodes = np.arange(0, seconds + 0.1, 0.1)
  energy = plan.energy_at(nodes)
  decibels = np.clip(12 * (energy - energy.mean()), -4, 4)
  gain = np.interp(times, nodes, 10 ** (decibels / 20))
  wanted = samples * gain * np.clip((seconds - times) / 3, 0, 1) ** 1.5
  wanted /= np.abs(wanted).max()
  made = dynamics.follow(
    media.Audio(samples=samples.copy(), rate_hz=RATE_HZ), plan
  )
  np.testing.assert_array_equal(made.samples, wanted.astype(np.float32))
