"""Text and music as vectors: what must and must not change them."""

import numpy as np
import pytest

from v2meow_jax import media
from v2meow_jax.extractors.embedded import style_features

RATE = 16_000


def clicks(bpm, gain=0.5, seconds=10):
  time = np.arange(seconds * RATE) / RATE
  since = time % (60 / bpm)
  noise = np.random.default_rng(0).normal(size=len(time))
  samples = gain * noise * np.exp(-since / 0.02)
  return media.Audio(samples=samples.astype(np.float32), rate_hz=RATE)


def cosine(a, b):
  return a @ b / np.linalg.norm(a) / np.linalg.norm(b)


def test_text_sums_to_one_and_ignores_case_and_commas():
  one = style_features.text_features('Calm, slow piano')
  np.testing.assert_array_equal(
    one, style_features.text_features('calm slow PIANO!')
  )
  assert one.sum() == pytest.approx(1)
  assert not style_features.text_features(' ... ').any()


def test_an_unknown_word_is_near_its_relative():
  known = style_features.text_features('guitar')
  relative = cosine(known, style_features.text_features('guitars'))
  others = [
    cosine(known, style_features.text_features(w))
    for w in ('drums', 'bass', 'techno')
  ]
  assert relative > 0.05 > 2 * max(others)


def test_order_of_words_matters_a_little():
  one = style_features.text_features('drum and bass')
  two = style_features.text_features('bass and drum')
  assert 0.5 < cosine(one, two) < 0.99


def test_a_huge_prompt_is_cut():
  words = 'calm piano ' * 10_000
  np.testing.assert_allclose(
    style_features.text_features(words),
    style_features.text_features('calm piano ' * 128),
  )


@pytest.mark.parametrize('bpm', [75, 100, 125, 150])
def test_autocorrelation_peaks_at_the_beat(bpm):
  features = style_features.music_features(clicks(bpm))
  assert features.shape == (style_features.MUSIC_DIM,)
  rhythm = features[128 : 128 + 75].reshape(25, 3).mean(1)
  lags = np.unique(np.round(np.geomspace(13, 55, 26)).astype(int)) / 50
  # The beat, or twice it where that is within reach.
  error = abs(lags[rhythm.argmax()] / (60 / bpm) - [1, 2]).min()
  assert error < 0.06


def test_gain_does_not_matter():
  loud = style_features.music_features(clicks(100, 0.5))
  soft = style_features.music_features(clicks(100, 0.1))
  np.testing.assert_allclose(loud, soft, atol=0.6)


def test_wrong_rate_is_named():
  audio = media.Audio(samples=np.zeros(100, np.float32), rate_hz=44_100)
  with pytest.raises(ValueError, match='44100 Hz; wanted 16000'):
    style_features.music_features(audio)
