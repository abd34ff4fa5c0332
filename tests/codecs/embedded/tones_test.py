"""The tone bank plays what it is told, in tune and without seams."""

import numpy as np
import pytest

from v2meow_jax.codecs.embedded import tones

HERTZ = tones.frequencies_hz(36)


def levels(num_hops, **amplitudes):
  x = np.zeros((1, num_hops, len(HERTZ)), np.float32)
  for name, amplitude in amplitudes.items():
    x[..., np.argmin(np.abs(HERTZ - int(name[2:])))] = amplitude
  return x


def test_a_level_is_heard_as_a_sinusoid_of_its_frequency_and_amplitude():
  out = np.asarray(tones.render(levels(300, hz440=0.5), 36, 160))[0]
  hertz = HERTZ[np.argmin(np.abs(HERTZ - 440))]
  n = np.arange(len(out))
  # An independent least-squares fit of the one sinusoid it should be.
  basis = np.exp(2j * np.pi * hertz * n / 16_000)
  amplitude = 2 * np.mean(out * basis.conj())
  assert abs(amplitude) == pytest.approx(0.5, rel=1e-4)
  np.testing.assert_allclose(out, (amplitude * basis).real, atol=1e-4)


def test_tones_add_up():
  both = tones.render(levels(150, hz220=0.2, hz660=0.1), 36, 160)
  one = tones.render(levels(150, hz220=0.2), 36, 160)
  other = tones.render(levels(150, hz660=0.1), 36, 160)
  np.testing.assert_allclose(both, one + other, atol=1e-5)


def test_levels_move_along_straight_lines():
  x = levels(10, hz1000=1.0)
  x *= np.linspace(0, 0.9, 10, dtype=np.float32)[:, None]
  out = np.asarray(tones.render(x, 36, 160))[0]
  steady = np.asarray(tones.render(levels(10, hz1000=1.0), 36, 160))[0]
  ramp = np.minimum(np.arange(1600) / 1600, 0.9)
  np.testing.assert_allclose(out, ramp * steady, atol=1e-5)


def test_music_that_begins_a_second_later_sounds_the_same():
  x = np.random.default_rng(0).uniform(size=(1, 250, len(HERTZ)))
  whole = np.asarray(tones.render(x.astype(np.float32), 36, 160))
  later = np.asarray(tones.render(x[:, 100:].astype(np.float32), 36, 160))
  np.testing.assert_allclose(later, whole[:, 16_000:], atol=1e-3)


def test_the_bank_is_dense_and_rising():
  assert (np.diff(HERTZ) > 0).all()
  audible = HERTZ[HERTZ > 100]
  assert (audible[1:] / audible[:-1]).max() < 2 ** (1.6 / 36)


def test_every_note_of_a_tuned_bank_has_its_oscillator():
  hertz = tones.frequencies_hz(36, tuned=True)
  notes = 440 * 2.0 ** (np.arange(-12, 36) / 12)
  cents = np.abs(1200 * np.log2(hertz / notes[:, None])).min(1)
  assert cents.max() < 4  # Of whole hertz at 220 Hz.
  untuned = np.abs(1200 * np.log2(HERTZ / notes[:, None])).min(1)
  assert untuned.min() > 8
