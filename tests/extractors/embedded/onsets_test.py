"""Notes that are planted come out in their frames, whatever their loudness."""

import dataclasses

import numpy as np
import pytest

from v2meow_jax import media
from v2meow_jax import stages
from v2meow_jax.extractors.embedded import onsets

EXTRACT = onsets.Onsets(stages.TINY['onsets'])
RATE_HZ = 16_000


def notes(times, seconds=6.0, loudness=0.5, noise=0.0):
  """Notes that sound for 0.3 s, of several pitches."""
  samples = np.random.default_rng(0).normal(size=int(seconds * RATE_HZ)) * noise
  for i, start in enumerate(times):
    first = round(start * RATE_HZ)
    t = np.arange(min(int(0.3 * RATE_HZ), len(samples) - first)) / RATE_HZ
    tone = np.sin(2 * np.pi * 220 * 2 ** (i % 5 / 12) * t) * np.exp(-8 * t)
    samples[first : first + len(t)] += loudness * tone
  return media.Audio(samples=samples.astype(np.float32), rate_hz=RATE_HZ)


@pytest.mark.parametrize('loudness, noise', [(0.5, 0), (0.02, 0), (0.5, 0.005)])
def test_notes_are_onsets_in_their_frames(loudness, noise):
  times = [0.55, 1.25, 1.75, 2.95, 4.05, 5.35]
  found = EXTRACT(notes(times, loudness=loudness, noise=noise))
  assert found.shape == (60, 1)
  assert found.min() >= 0 and found.max() == 1
  frames = [int(t * 10) for t in times]
  assert found[frames].min() > 0.6
  # The frame after may have the end of a window.
  others = np.delete(found, [f + i for f in frames for i in (0, 1)])
  assert others.max() < 0.4


def test_what_goes_on_is_no_onset():
  t = np.arange(3 * RATE_HZ) / RATE_HZ
  steady = np.sin(2 * np.pi * 330 * t) * 0.5
  steady[RATE_HZ : RATE_HZ + 4_000] += 0.5 * np.sin(2 * np.pi * 990 * t[:4_000])
  found = EXTRACT(
    media.Audio(samples=steady.astype(np.float32), rate_hz=RATE_HZ)
  )
  assert found.argmax() == 10


def test_silence_has_none_and_lengths_are_those_of_the_rate():
  for seconds in (0.05, 1.0, 2.34):
    silence = np.zeros(round(seconds * RATE_HZ), np.float32)
    found = EXTRACT(media.Audio(samples=silence, rate_hz=RATE_HZ))
    assert found.shape == (max(1, round(seconds * 10)), 1)
    np.testing.assert_array_equal(found, 0)


def test_a_stream_of_another_width_is_refused():
  with pytest.raises(ValueError, match='dim 2, but its extractor gives 1'):
    onsets.Onsets(dataclasses.replace(stages.TINY['onsets'], dim=2))
