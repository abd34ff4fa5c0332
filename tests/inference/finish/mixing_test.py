"""Fades, places, mixes and goes down as closed forms say."""

import numpy as np
import pytest

from v2meow_jax import media
from v2meow_jax.inference.finish import ducking
from v2meow_jax.inference.finish import mixing

RATE_HZ = 8000


def ones(seconds, value=1.0):
  samples = np.full(round(seconds * RATE_HZ), value, np.float32)
  return media.Audio(samples=samples, rate_hz=RATE_HZ)


def joined(sound):
  samples = np.concatenate(list(sound.pieces()), axis=1)
  assert samples.shape == (sound.num_channels, sound.num_samples)
  return samples


def test_fades_are_squared_sines_and_end_in_silence():
  (samples,) = joined(mixing.Faded(ones(20.0), 2.0, 5.0))
  times = np.arange(len(samples)) / RATE_HZ
  expected = np.sin(np.pi / 2 * np.clip(times / 2, 0, 1)) ** 2
  left = (20.0 - 1 / RATE_HZ - times) / 5
  expected *= np.sin(np.pi / 2 * np.clip(left, 0, 1)) ** 2
  np.testing.assert_allclose(samples, expected, atol=1e-6)
  assert samples[0] == samples[-1] == 0


def test_fades_longer_than_the_sound_take_all_of_it():
  (samples,) = joined(mixing.Faded(ones(1.0), 0.0, 60.0))
  assert samples[0] == pytest.approx(1.0, abs=1e-3) and samples[-1] == 0
  assert (np.diff(samples) <= 0).all()


def test_no_fade_changes_nothing():
  audio = ones(1.0, 0.3)
  np.testing.assert_array_equal(
    joined(mixing.Faded(audio, 0.0, 0.0))[0], audio.samples
  )


@pytest.mark.parametrize('first', [0, 1, 70_000, 200_000])
def test_a_sound_has_its_place_in_silence(first):
  (samples,) = joined(mixing.Placed(ones(10.0), first, 200_100))
  expected = np.zeros(200_100)
  expected[first : first + 80_000] = 1
  np.testing.assert_array_equal(samples, expected)


def test_music_is_down_by_all_of_it_while_somebody_speaks():
  curve = ducking.Ducking([(2.0, 4.0), (4.5, 6.0)], 12.0)
  times = np.arange(2000) / 100
  down = curve.decibels(times)
  pieces = [curve.decibels(piece) for piece in np.split(times, 25)]
  np.testing.assert_array_equal(np.concatenate(pieces), down)
  speaks = ((times >= 2.0) & (times <= 4.0)) | ((times >= 4.5) & (times <= 6.0))
  np.testing.assert_allclose(down[speaks], 12.0)
  far = (times < 1.39) | (times > 6.81)
  assert not down[far].any()
  # No pump in the pause, and no step that is heard as a switch.
  assert down[(times > 4.0) & (times < 4.5)].min() > 4
  assert np.abs(np.diff(down)).max() < 0.5


def test_a_mix_is_the_sum_with_the_curve_on_the_music_alone():
  seconds = 20.0
  down = ducking.Ducking([(5.0, 9.0)], 20.0)
  mix = mixing.Mix(
    music=ones(seconds, 0.5),
    sound=ones(seconds, 0.25),
    own_gain=2.0,
    ducking=down,
  )
  (samples,) = joined(mix)
  times = np.arange(len(samples)) / RATE_HZ
  expected = 0.5 * 10 ** (-down.decibels(times) / 20) + 0.5
  np.testing.assert_allclose(samples, expected, atol=1e-6)
  assert samples[7 * RATE_HZ] == pytest.approx(0.55, abs=1e-6)
