"""Tempo and phase of accents, against those that were planted."""

import numpy as np

from v2meow_jax.extractors.planning import analysis
from v2meow_jax.extractors.planning import grid


def accents_of(times, seconds, noise=0.0, seed=0):
  """Accents at `times`, and others at random."""
  rng = np.random.default_rng(seed)
  steps = (np.arange(round(seconds * analysis.RATE_HZ)) + 0.5) / 50
  others = rng.uniform(0, seconds, round(noise * len(times)))
  events = np.concatenate([times, others])
  bumps = np.exp(-0.5 * ((steps[:, None] - events) / 0.025) ** 2)
  return bumps.sum(1)


def flat(tempi):
  return np.zeros_like(tempi)


def test_planted_tempo_and_phase_are_found_despite_other_accents():
  for bpm in (62.0, 97.3, 128.0, 171.4):
    beats = 0.31 + 60 / bpm * np.arange(int(11 * bpm / 60))
    accents = accents_of(beats, 12.0, noise=0.3)
    (pulse,) = grid.find(accents, flat)
    assert pulse.is_own
    assert abs(pulse.grid.tempo_bpm / bpm - 1) < 0.005
    off = pulse.grid.beats_at(beats)
    assert np.abs(off - np.round(off)).max() * 60 / bpm < 0.03


def test_a_pulse_that_slows_down_is_followed():
  # 110 to 104 bpm over 40 s.
  steps = 60 / np.linspace(110, 104, 71)
  beats = 0.2 + np.cumsum(steps)
  (pulse,) = grid.find(accents_of(beats, 41.0), flat)
  off = pulse.grid.beats_at(beats)
  assert pulse.is_own
  assert np.abs(off - np.round(off)).max() < 0.12


def test_accents_at_random_are_no_pulse():
  rng = np.random.default_rng(5)
  for _ in range(8):
    accents = accents_of(rng.uniform(0, 12, 30), 12.0)
    assert not any(pulse.is_own for pulse in grid.find(accents, flat))


def test_without_accents_the_prior_decides():
  def log_prior(tempi):
    return -((np.log2(tempi / 93) / 0.1) ** 2)

  (pulse,) = grid.find(np.zeros(500), log_prior)
  assert abs(pulse.grid.tempo_bpm - 93) < 1
  assert pulse.grid.beats_at(np.array([0.0])) == 0
  assert not pulse.is_own


def test_a_given_tempo_is_kept_and_its_phase_fits():
  beats = 0.25 + 0.5 * np.arange(20)
  (pulse,) = grid.find(accents_of(beats, 10.5), flat, 60.0)
  assert pulse.grid.tempo_bpm == 60.0
  (pulse,) = grid.find(accents_of(beats, 10.5), flat, 120.0)
  off = pulse.grid.beats_at(beats)
  assert np.abs(off - np.round(off)).max() < 0.06


def test_times_and_beats_are_inverse():
  made = grid.Grid(
    times=np.array([1.0, 2.0, 4.0]), beats=np.array([2, 4, 7.0]), tempo_bpm=90
  )
  times = np.linspace(-1, 8, 50)
  np.testing.assert_allclose(made.times_at(made.beats_at(times)), times)
  # 90 bpm is one beat and a half a second outside the nodes.
  assert made.beats_at(np.array([0.0, 6.0])).tolist() == [0.5, 10.0]
