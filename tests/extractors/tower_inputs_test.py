"""What two towers read: planted tones, and bytes that can be read back."""

import numpy as np
import pytest

from v2meow_jax import media
from v2meow_jax.extractors import tower_inputs

RATE = tower_inputs.SAMPLE_RATE_HZ


def tone(pitch_hz, gain=0.3, seconds=10.0):
  time = np.arange(round(seconds * RATE)) / RATE
  noise = np.random.default_rng(0).normal(0, 0.003, len(time))
  samples = gain * (np.sin(2 * np.pi * pitch_hz * time) + noise)
  return samples.astype(np.float32)


def test_a_tone_is_in_its_band_from_when_it_starts():
  waveform = tone(1000.0)
  waveform[: 5 * RATE] = tone(4000.0)[: 5 * RATE]
  bands = tower_inputs.log_mel(waveform)
  assert bands.shape == (tower_inputs.NUM_FRAMES, tower_inputs.NUM_BANDS)
  mel = 2595 * np.log10(1 + np.array([4000.0, 1000.0, 8000.0]) / 700)
  wanted = mel[:2] / mel[2] * (tower_inputs.NUM_BANDS + 1) - 1
  found = bands[:490].mean(0).argmax(), bands[510:].mean(0).argmax()
  np.testing.assert_allclose(found, wanted, atol=1)


def test_gain_does_not_matter_and_silence_is_nothing():
  loud = tower_inputs.log_mel(tone(440.0, 0.5))
  soft = tower_inputs.log_mel(tone(440.0, 0.1))
  np.testing.assert_allclose(loud, soft, atol=0.02)
  assert loud.mean() == pytest.approx(0, abs=1e-4)
  assert loud.std() == pytest.approx(1, abs=1e-2)
  silence = tower_inputs.log_mel(np.zeros(10 * RATE, np.float32))
  np.testing.assert_allclose(silence, 0, atol=1e-2)


@pytest.mark.parametrize('text', ['', 'calm piano', 'Café 音楽', '\0\xff'])
def test_bytes_can_be_read_back(text):
  ids = tower_inputs.text_ids(text, 32)
  assert ids.shape == (32,) and ids.dtype == np.int32
  assert ids[0] == tower_inputs.START_ID
  content = ids[1:][ids[1:] != tower_inputs.PAD_ID]
  read = bytes((content - tower_inputs.FIRST_BYTE_ID).astype(np.uint8))
  assert read.decode() == text
  assert not ids[1 + len(content) :].any()
  assert ids.max() < tower_inputs.NUM_IDS


def test_a_long_text_is_cut():
  ids = tower_inputs.text_ids('x' * 100, 16)
  assert ids.shape == (16,) and (ids[1:] == 2 + ord('x')).all()


def test_a_row_is_of_the_first_ten_seconds_at_any_rate():
  samples = tone(440.0, seconds=25.0)
  row = tower_inputs.rows(media.Audio(samples=samples, rate_hz=RATE), 'hum', 8)
  np.testing.assert_allclose(
    row['log_mel'], tower_inputs.log_mel(samples[: 10 * RATE]), atol=1e-5
  )
  np.testing.assert_array_equal(
    row['text_ids'], tower_inputs.text_ids('hum', 8)
  )
  doubled = media.Audio(samples=np.repeat(samples, 2), rate_hz=2 * RATE)
  found = tower_inputs.rows(doubled, 'hum', 8)['log_mel']
  assert found[:, :100].mean(0).argmax() == row['log_mel'].mean(0).argmax()
