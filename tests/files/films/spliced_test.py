"""Stretches of sounds are put into others to the sample."""

import dataclasses

import numpy as np
import pytest

from tests.fakes import channels
from v2meow_jax import media
from v2meow_jax.files.films import spliced

NUM = 2 * media.PIECE_SAMPLES + 99


def sound(seed):
  samples = np.random.default_rng(seed).normal(0, 0.2, NUM)
  return media.Audio(samples=samples.astype(np.float32), rate_hz=8_000)


def whole(of):
  return np.concatenate(list(of.pieces()), axis=1)


@pytest.mark.parametrize('first', [0, 5, media.PIECE_SAMPLES - 3, NUM - 50])
@pytest.mark.parametrize('num', [1, 50])
def test_some_samples_are_replaced(first, num):
  music = sound(0)
  before = music.samples.copy()
  patch = np.arange(num, dtype=np.float32)
  patched = spliced.Patched(music, first, patch)
  wanted = before.copy()
  wanted[first : first + num] = patch
  np.testing.assert_array_equal(whole(patched)[0], wanted)
  np.testing.assert_array_equal(music.samples, before)
  twice = spliced.Patched(patched, 2, np.ones(9, np.float32))
  wanted[2:11] = 1
  np.testing.assert_array_equal(whole(twice)[0], wanted)


@pytest.mark.parametrize('num_channels', [1, 2])
@pytest.mark.parametrize(
  ('first', 'stop'), [(10, 500), (0, NUM), (60_000, 70_000), (NUM - 99, NUM)]
)
def test_a_stretch_of_another_fades_in_and_out_inside_it(
  first, stop, num_channels
):
  noise = np.random.default_rng(0).normal(0, 0.2, (2, num_channels, NUM))
  one, other = (channels.Channels(n.astype(np.float32), 40_000) for n in noise)
  fade = 20
  both = spliced.Spliced(one, other, first, stop, fade)
  made, a, b = whole(both), whole(one), whole(other)
  assert made.shape == (num_channels, NUM)
  np.testing.assert_array_equal(made[:, :first], a[:, :first])
  np.testing.assert_array_equal(made[:, stop:], a[:, stop:])
  inner = slice(first + fade, stop - fade)
  np.testing.assert_array_equal(made[:, inner], b[:, inner])
  share = (np.arange(fade) + 1) / (fade + 1)
  begin, end = slice(first, first + fade), slice(stop - fade, stop)
  for place, shares in ((begin, share), (end, share[::-1])):
    wanted = (1 - shares) * a[:, place] + shares * b[:, place]
    np.testing.assert_allclose(made[:, place], wanted, atol=1e-6)


def test_sounds_of_other_lengths_are_no_pair():
  one, other = sound(0), sound(1)
  longer = dataclasses.replace(other, samples=np.zeros(3 * NUM, np.float32))
  with pytest.raises(ValueError):
    whole(spliced.Spliced(one, longer, 0, 10, 2))
