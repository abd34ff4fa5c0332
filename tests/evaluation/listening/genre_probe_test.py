"""The probe on three kinds of sound that anyone can tell apart."""

import numpy as np
import pytest

from v2meow_jax import media
from v2meow_jax.evaluation.listening import genre_probe

pytestmark = pytest.mark.slow

RATE_HZ = 16_000
SECONDS = 3


def sound(kind, seed):
  """'hiss', 'hum' or 'clicks', each a little different by seed."""
  rng = np.random.default_rng(seed)
  t = np.arange(SECONDS * RATE_HZ) / RATE_HZ
  noise = rng.normal(size=len(t))
  samples = {
    'hiss': noise,
    'hum': np.sin(2 * np.pi * rng.uniform(80, 160) * t) + 0.01 * noise,
    'clicks': noise * (t % rng.uniform(0.3, 0.5) < 0.01) + 0.001 * noise,
  }[kind]
  samples = samples * rng.uniform(0.05, 0.3)
  return media.Audio(samples=samples.astype(np.float32), rate_hz=RATE_HZ)


KINDS = ['clicks', 'hiss', 'hum']
TRAIN = [(sound(kind, s), kind) for s in range(6) for kind in KINDS]


def low_passed(audio):
  smooth = np.convolve(audio.samples, np.ones(4) / 4, mode='same')
  return media.Audio(samples=smooth.astype(np.float32), rate_hz=audio.rate_hz)


def fit(clips, kinds, colour=None, **options):
  rows = genre_probe.rows(clips, colour=colour)
  return genre_probe.fit(rows, kinds, **options)


def predict(probe, clips):
  return probe.predict(np.stack([genre_probe.features(c) for c in clips]))


@pytest.fixture(scope='module')
def probe():
  return fit(*zip(*TRAIN, strict=True), colour=low_passed)


def test_new_sounds_get_their_kind(probe):
  fresh = [(sound(kind, s), kind) for s in range(100, 104) for kind in KINDS]
  clips, kinds = zip(*fresh, strict=True)
  assert predict(probe, clips) == list(kinds)
  assert probe.accuracy == 1.0
  assert probe.genres == tuple(KINDS)


def test_the_colour_of_a_codec_does_not_change_the_kind(probe):
  clips = [low_passed(sound(kind, 200)) for kind in KINDS]
  assert predict(probe, clips) == KINDS


def test_loudness_does_not_change_the_kind(probe):
  for kind in KINDS:
    clip = sound(kind, 300)
    quiet = media.Audio(samples=clip.samples * 0.1, rate_hz=RATE_HZ)
    assert predict(probe, [quiet]) == [kind]


def test_accuracy_is_chance_when_names_mean_nothing():
  rng = np.random.default_rng(0)
  clips = [sound('hiss', s) for s in range(40)]
  names = rng.permutation(['a', 'b'] * 20)
  assert fit(clips, names, held_out=0.5).accuracy < 0.8


def test_silence_gets_a_kind(probe):
  silence = media.Audio(samples=np.zeros(RATE_HZ, np.float32), rate_hz=RATE_HZ)
  assert predict(probe, [silence])[0] in KINDS


def test_a_short_clip_and_a_lone_genre_are_refused():
  short = media.Audio(samples=np.zeros(100, np.float32), rate_hz=RATE_HZ)
  with pytest.raises(ValueError, match='too short'):
    genre_probe.features(short)
  with pytest.raises(ValueError, match='at least two genres'):
    fit([sound('hum', 0)] * 2, ['hum'] * 2)
