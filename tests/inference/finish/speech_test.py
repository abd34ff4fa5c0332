"""Planted talk is found, and nothing else is taken for it."""

import functools
import tracemalloc

import numpy as np
import pytest

from tests.fakes import talking
from v2meow_jax import media
from v2meow_jax.inference.finish import speech
from v2meow_jax.synthetic.bank import banks
from v2meow_jax.synthetic.songs import mixing
from v2meow_jax.synthetic.songs import song as song_lib

pytestmark = pytest.mark.slow

RATE_HZ = speech.RATE_HZ
SECONDS = 20.0
STRETCHES = [(1.5, 5.0), (8.0, 10.5), (13.0, 18.0)]


def audio(samples):
  return media.Audio(samples=samples.astype(np.float32), rate_hz=RATE_HZ)


def leveled(samples):
  return samples / np.sqrt(np.mean(np.square(samples)))


@functools.cache
def song(index):
  bank = banks.load(banks.NUMPY, RATE_HZ)
  sampled = song_lib.sample(7, index, SECONDS)
  return leveled(mixing.render(sampled, bank).samples)


def noises():
  """What is heard outdoors, none of it speech."""
  rng = np.random.default_rng(0)
  num = round(SECONDS * RATE_HZ)
  times = np.arange(num) / RATE_HZ
  white = rng.normal(size=num)
  spectrum = np.fft.rfft(white)
  pink = np.fft.irfft(spectrum / np.sqrt(np.arange(len(spectrum)) + 10), num)
  gusts = np.interp(times, np.arange(0, 21, 0.05), rng.uniform(0, 1, 420))
  phase = 2 * np.pi * np.cumsum(90 * (1 + 0.05 * np.sin(2 * times))) / RATE_HZ
  claps = np.zeros(num)
  for place in rng.integers(0, num - 800, 1500):
    claps[place : place + 800] += rng.normal(size=800) * np.exp(
      -np.arange(800) / 120
    )
  return {
    'white': white,
    'pink': pink,
    # As loud as speech in its band, and as uneven: level alone is not enough.
    'five beats a second': pink * (1 + 0.8 * np.sin(10 * np.pi * times)),
    'wind': pink * gusts**2,
    'applause': claps,
    'engine': sum(np.sin(k * phase) / k for k in range(1, 20)),
    'beeps': (times * 4 % 1 < 0.5) * np.sin(1760 * np.pi * times) + pink / 99,
  }


def precision_and_recall(samples, stretches):
  steps = np.arange(round(SECONDS * 100)) / 100
  talks, found = np.zeros((2, len(steps)), bool)
  for spans, row in (
    (stretches, talks),
    (speech.segments(audio(samples)), found),
  ):
    for start, end in spans:
      row[(steps >= start) & (steps < end)] = True
  hits = (talks & found).sum()
  return hits / max(1, found.sum()), hits / max(1, talks.sum())


@pytest.mark.parametrize('background', ['none', 'pink', 'song', 'applause'])
@pytest.mark.parametrize('over_db', [20, 10])
def test_planted_talk_is_found(background, over_db):
  scores = []
  for seed in range(2):
    talk = talking.dialogue(SECONDS, STRETCHES, 10 * seed)
    talk = talk / np.sqrt(np.mean(talk[talk != 0] ** 2))
    under = {'none': lambda: 0.0, 'song': lambda: song(0)}.get(
      background, lambda: leveled(noises()[background])
    )()
    mixed = 0.1 * (talk + under * 10 ** (-over_db / 20))
    scores.append(precision_and_recall(mixed, STRETCHES))
  precision, recall = np.mean(scores, axis=0)
  assert precision > 0.8 and recall > 0.9


@pytest.mark.parametrize('name', noises())
def test_noises_as_loud_as_talk_are_not_taken_for_it(name):
  found = speech.segments(audio(0.1 * leveled(noises()[name])))
  assert not found


def test_songs_are_not_taken_for_talk():
  found = [speech.segments(audio(0.1 * song(index))) for index in range(3)]
  share = sum(end - start for spans in found for start, end in spans)
  assert share / (3 * SECONDS) < 0.1


def test_silence_and_whispers_below_the_floor_are_none():
  assert speech.segments(audio(np.zeros(RATE_HZ))) == []
  assert speech.segments(audio(np.zeros(0))) == []
  talk = talking.dialogue(SECONDS, STRETCHES, 0)
  assert speech.segments(audio(1e-4 * talk)) == []


def test_pieces_of_any_size_give_the_same():
  samples = talking.dialogue(6.0, [(1.0, 4.0)], 3)

  class Small:
    rate_hz, num_channels, num_samples = RATE_HZ, 1, len(samples)
    has_equal_channels = True

    def pieces(self):
      for start in range(0, len(samples), 333):
        yield samples[None, start : start + 333]

  np.testing.assert_array_equal(
    speech.probabilities(Small()), speech.probabilities(audio(samples))
  )


def test_memory_does_not_grow_with_the_length_of_the_sound():
  class Hiss:
    rate_hz, num_channels, has_equal_channels = RATE_HZ, 1, True

    def __init__(self, seconds):
      self.num_samples = seconds * RATE_HZ

    def pieces(self):
      for _ in range(0, self.num_samples, RATE_HZ):
        yield np.full((1, RATE_HZ), 0.1, np.float32)

  peaks = []
  for seconds in (20, 100):
    tracemalloc.start()
    assert not speech.segments(Hiss(seconds))
    peaks.append(tracemalloc.get_traced_memory()[1])
    tracemalloc.stop()
  # Four figures for each of 8,000 frames are 0.3 MB.
  assert peaks[1] - peaks[0] < 5e4


def test_another_rate_is_refused():
  with pytest.raises(ValueError, match='wanted one at 16000'):
    speech.segments(
      media.Audio(samples=np.zeros(9, np.float32), rate_hz=48_000)
    )
