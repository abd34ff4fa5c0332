"""Codes tell planted notes and hits apart, whatever the gain."""

import numpy as np
import pytest

from v2meow_jax import media
from v2meow_jax import specs
from v2meow_jax.extractors.embedded import semantic_tokens

STREAM = specs.TokenSpec(name='semantic', codebook_size=64, rate_hz=25.0)
RATE = 16_000


def tune(seed, seconds=6.0):
  """A note of four every second and a click every half: audio, notes, hits."""
  rng = np.random.default_rng(seed)
  notes = rng.integers(0, 4, int(seconds))
  time = np.arange(round(seconds * RATE)) / RATE
  pitch = 220 * 2 ** (np.array([0, 3, 5, 7])[notes] / 12)
  tone = 0.2 * np.sin(2 * np.pi * np.repeat(pitch, RATE) * time)
  since = time % 0.5
  click = 0.5 * rng.normal(size=len(time)) * np.exp(-since / 0.02)
  samples = (tone + click).astype(np.float32)
  return media.Audio(samples=samples, rate_hz=RATE), notes


@pytest.fixture(scope='module')
def tokens():
  audios = [tune(i)[0] for i in range(12)]
  params = semantic_tokens.fit(
    np.concatenate([semantic_tokens.sound_features(a, 25.0) for a in audios]),
    np.concatenate([semantic_tokens.harmony_features(a, 25.0) for a in audios]),
    64,
    seed=0,
  )
  return semantic_tokens.SemanticTokens(STREAM, params)


def test_harmony_half_tells_the_note(tokens):
  votes = np.zeros((16, 4))
  for seed in range(12):
    audio, notes = tune(seed)
    np.add.at(votes, (tokens(audio)[:, 0] // 4, np.repeat(notes, 25)), 1)
  audio, notes = tune(99)
  guess = votes.argmax(1)[tokens(audio)[:, 0] // 4]
  assert (guess == np.repeat(notes, 25)).mean() > 0.85


def test_sound_half_tells_the_click(tokens):
  hits = np.arange(150) % 25
  sound = tokens(tune(99)[0])[:, 0] % 4
  struck = sound[25:][hits[25:] == 0]  # Nothing precedes the first.
  quiet = sound[(hits == 8) | (hits == 20)]
  assert not set(struck) & set(quiet)


def test_gain_does_not_matter(tokens):
  audio = tune(50)[0]
  soft = media.Audio(samples=audio.samples * 0.1, rate_hz=RATE)
  assert (tokens(audio) == tokens(soft)).mean() > 0.9


@pytest.mark.parametrize('num_samples', [10, 16_000, 16_300, 16_400, 47_999])
def test_number_of_frames(tokens, num_samples):
  audio = media.Audio(samples=np.zeros(num_samples, np.float32), rate_hz=RATE)
  codes = tokens(audio)
  assert codes.shape == (max(1, round(num_samples / RATE * 25)), 1)
  assert codes.dtype == np.int32
  assert codes.min() >= 0 and codes.max() < 64


def test_wrong_rates_and_sizes_are_named(tokens):
  audio = media.Audio(samples=np.zeros(100, np.float32), rate_hz=8000)
  with pytest.raises(ValueError, match='8000 Hz'):
    tokens(audio)
  other = specs.TokenSpec(name='semantic', codebook_size=96, rate_hz=25.0)
  with pytest.raises(ValueError, match='96 codes, but 4 sounds and 16'):
    semantic_tokens.SemanticTokens(other, tokens.params)
  with pytest.raises(ValueError, match='multiple of 16'):
    semantic_tokens.fit(np.zeros((9, 21)), np.zeros((9, 24)), 100, seed=0)
