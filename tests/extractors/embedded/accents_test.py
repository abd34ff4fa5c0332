"""Sudden changes come out in their frames; what moves on evenly has none."""

import dataclasses

import numpy as np
import pytest

from v2meow_jax import media
from v2meow_jax import stages
from v2meow_jax.extractors.embedded import accents

EXTRACT = accents.Accents(stages.TINY['accents'])


def video(frames, rate=25.0, seconds=6.0):
  times = np.arange(len(frames)) / rate
  return media.Video(
    frames=np.asarray(frames, np.uint8), times=times, seconds=seconds
  )


def drifting(rate=25.0, seconds=6.0):
  """A texture that moves evenly."""
  x = np.arange(64)[None, :]
  times = np.arange(int(rate * seconds)) / rate
  waves = [128 + 60 * np.sin((x - 12 * t) / 5) for t in times]
  frames = np.stack([np.broadcast_to(wave, (36, 64)) for wave in waves])
  return np.repeat(frames[..., None], 3, -1), times


@pytest.mark.parametrize('rate', [15.0, 25.0, 30.0])
def test_flashes_are_accents_in_their_frames(rate):
  frames, times = drifting(rate)
  planted = [0.83, 1.73, 2.63, 3.95, 5.03]
  for start in planted:
    frames[(times >= start) & (times < start + 0.5)] += 50
  found = EXTRACT(video(frames, rate))[:, 0]
  assert found.shape == (60,)
  peaks = np.flatnonzero(found > 0.8)
  # On and off half a second later, each between two frames of the video.
  wanted = sorted([*planted, *(t + 0.5 for t in planted)])
  assert len(peaks) == len(wanted)
  for peak, time in zip(peaks, wanted, strict=True):
    assert abs((peak + 0.5) / 10 - time) <= 0.05 + 1 / rate


def test_even_motion_and_stillness_have_no_accents():
  frames, _ = drifting()
  assert EXTRACT(video(frames))[1:-1].max() < 0.3
  still = np.repeat(frames[:1], len(frames), 0)
  np.testing.assert_array_equal(EXTRACT(video(still)), 0)


@pytest.mark.parametrize('seconds', [0.05, 1.0, 2.34])
def test_lengths_are_those_of_the_rate(seconds):
  found = EXTRACT(video(np.zeros((2, 8, 8, 3)), seconds=seconds))
  assert found.shape == (max(1, round(seconds * 10)), 1)


def test_a_stream_of_another_width_is_refused():
  with pytest.raises(ValueError, match='dim 2, but its extractor gives 1'):
    accents.Accents(dataclasses.replace(stages.TINY['accents'], dim=2))
