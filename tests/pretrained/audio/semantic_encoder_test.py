"""Stretches join without seams, and audio keeps its time at any rate."""

import dataclasses

import numpy as np
import pytest

from v2meow_jax import media
from v2meow_jax.pretrained.audio import semantic_encoder

# 10 frames a second of 100 samples.
RATE_HZ = 1000
STRETCHES = semantic_encoder.Stretches(seconds=3.0, context_seconds=0.7)


@dataclasses.dataclass
class Neighbours:
  """Hears `reach` frames to either side, or all, and keeps what it was given."""

  reach: int | None
  sample_rate_hz: int = RATE_HZ
  rate_hz: float = 10.0
  dim: int = 2
  stretches: semantic_encoder.Stretches = STRETCHES
  heard: list = dataclasses.field(default_factory=list)

  def __call__(self, audio):
    return semantic_encoder.in_stretches(self, self.hear, audio, self.stretches)

  def hear(self, samples):
    self.heard.append(samples)
    levels = samples.reshape(-1, 100).mean(1)
    if self.reach is None:
      wide = np.full(len(levels), levels.sum(), np.float32)
    else:
      wide = np.convolve(levels, np.ones(2 * self.reach + 1))
      wide = wide[self.reach : self.reach + len(levels)]
    return np.stack([levels, wide], 1)


def noise(num_samples, rate_hz=RATE_HZ):
  samples = np.random.default_rng(0).standard_normal(num_samples, np.float32)
  return media.Audio(samples=samples, rate_hz=rate_hz)


@pytest.mark.parametrize('seconds', [0.1, 2.9, 3.0, 3.1, 4.4, 6.0, 61.3])
def test_what_hears_no_further_than_the_context_gives_what_it_gives_of_the_whole(
  seconds,
):
  audio = noise(round(seconds * RATE_HZ))
  whole = Neighbours(reach=7).hear(audio.samples)
  cut = Neighbours(reach=7)
  np.testing.assert_allclose(cut(audio), whole, rtol=0, atol=1e-5)
  assert max(len(x) for x in cut.heard) <= 3 * RATE_HZ
  assert len({len(x) for x in cut.heard}) == 1


def test_no_stretch_is_heard_for_nothing():
  for seconds, count in ((3.0, 1), (3.1, 2), (4.6, 2), (4.7, 3)):
    encoder = Neighbours(reach=None)
    encoder(noise(round(seconds * RATE_HZ)))
    assert len(encoder.heard) == count


def test_frames_do_not_depend_on_what_follows_a_stretch_later():
  audio = noise(20 * RATE_HZ)
  frames = Neighbours(reach=None)(audio)
  for seconds in (12.0, 12.3, 15.9):
    shorter = dataclasses.replace(
      audio, samples=audio.samples[: round(seconds * RATE_HZ)]
    )
    kept = round(10 * (seconds - 3.0))
    np.testing.assert_array_equal(
      Neighbours(reach=None)(shorter)[:kept], frames[:kept]
    )


def test_a_frame_depends_on_no_audio_further_than_a_stretch():
  audio = noise(20 * RATE_HZ)
  changed = audio.samples.copy()
  changed[9_000:9_100] += 1
  frames = Neighbours(reach=None)(audio)
  others = Neighbours(reach=None)(dataclasses.replace(audio, samples=changed))
  differ = np.flatnonzero((frames != others).any(1))
  assert 90 in differ
  assert 60 <= differ[0] and differ[-1] <= 120


@pytest.mark.parametrize('rate_hz', [800, 1000, 1600, 44_100])
@pytest.mark.parametrize('seconds', [0.0, 0.01, 0.94, 0.96, 1.0, 7.38])
def test_the_number_of_frames_is_that_of_the_protocol(rate_hz, seconds):
  audio = noise(round(rate_hz * seconds), rate_hz)
  frames = Neighbours(reach=1)(audio)
  assert frames.shape == (max(1, round(10 * audio.seconds)), 2)
  assert frames.dtype == np.float32 and np.isfinite(frames).all()


@pytest.mark.parametrize('rate_hz', [800, 4000, 44_100])
def test_an_event_is_in_the_frame_of_its_time_whatever_the_rate(rate_hz):
  samples = np.zeros(9 * rate_hz, np.float32)
  samples[round(5.31 * rate_hz) : round(5.39 * rate_hz)] = 1.0
  frames = Neighbours(reach=0)(media.Audio(samples=samples, rate_hz=rate_hz))
  assert np.argmax(frames[:, 0]) == 53
  assert frames[53, 0] == pytest.approx(0.8, abs=0.02)
  others = np.delete(frames[:, 0], 53)
  np.testing.assert_allclose(others, 0, atol=0.02)


@pytest.mark.parametrize('seconds, context', [(2.0, 1.0), (0.0, 0.0), (1, -1)])
def test_stretches_without_anything_between_their_contexts_are_refused(
  seconds, context
):
  with pytest.raises(ValueError, match='twice their context'):
    semantic_encoder.Stretches(seconds=seconds, context_seconds=context)
