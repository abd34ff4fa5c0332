"""Audio comes to every network by the same rules."""

import dataclasses

import numpy as np
import pytest

from v2meow_jax import media
from v2meow_jax.pretrained import network


def clip(samples, rate_hz=16_000):
  return media.Audio(samples=np.asarray(samples, np.float32), rate_hz=rate_hz)


@pytest.mark.parametrize(
  ('length', 'windows'),
  [
    (1, [1]),
    (4, [4]),
    (10, [10]),
    (14, [10]),
    (15, [10, 5]),
    (20, [10, 10]),
    (24, [10, 10]),
    (25, [10, 10, 5]),
    (35, [10, 10, 10, 5]),
  ],
)
def test_half_a_window_or_more_is_a_window(length, windows):
  samples = np.arange(length)
  found = list(network.windows(samples, 10))
  assert [len(w) for w in found] == windows
  heard = np.concatenate(found)
  np.testing.assert_array_equal(heard, samples[: len(heard)])


def test_the_rate_of_the_network_leaves_samples_as_they_are():
  samples = np.random.default_rng(0).normal(size=100).astype(np.float32)
  np.testing.assert_array_equal(
    network.samples_at(clip(samples), 16_000), samples
  )


@pytest.mark.parametrize('rate_hz', [8_000, 22_050, 44_100, 48_000])
def test_a_tone_keeps_its_pitch_and_level_at_another_rate(rate_hz):
  def tone(rate):
    return 0.5 * np.sin(2 * np.pi * 440 * np.arange(rate) / rate)

  found = network.samples_at(clip(tone(rate_hz), rate_hz), 16_000)
  assert abs(len(found) - 16_000) <= 1
  middle = slice(2_000, 14_000)
  np.testing.assert_allclose(found[middle], tone(16_000)[middle], atol=1e-3)


def test_what_no_network_can_hear_is_refused():
  with pytest.raises(ValueError, match='lasts 0 s; wanted at least'):
    network.samples_at(clip([]), 16_000)
  with pytest.raises(ValueError, match=r'lasts 0\.01 s; wanted .* 0\.02 s'):
    network.samples_at(clip(np.zeros(160)), 16_000, 320)
  with pytest.raises(ValueError, match='not finite'):
    network.samples_at(clip([0.0, np.inf]), 16_000)


@dataclasses.dataclass(frozen=True)
class _Fake:
  name: str = 'fake'
  dim: int = 3


def test_rows_that_are_no_rows_are_refused():
  good = np.ones((2, 3))
  assert network.checked(_Fake(), good).dtype == np.float32
  for bad in (good[0], good[:, :2], good[:0]):
    with pytest.raises(ValueError, match=r'fake gave .* wanted \[rows, 3\]'):
      network.checked(_Fake(), bad)
  with pytest.raises(ValueError, match='fake gave numbers that are not finite'):
    network.checked(_Fake(), good * np.nan)
