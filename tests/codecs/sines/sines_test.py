"""Notes and noises: what is heard of sounds that are known, and played."""

import dataclasses

import jax
import numpy as np
import pytest

from v2meow_jax.codecs.embedded import patch
from v2meow_jax.codecs.sines import analysis
from v2meow_jax.codecs.sines import sines
from v2meow_jax.codecs.soundstream import soundstream

RATE_HZ = 16_000
SMALL = sines.SinesConfig(
  ends=patch.PatchConfig(
    pitch_window_samples=4096,
    frame_dim=12,
    subframe_dim=8,
    num_decoder_blocks=1,
    num_subframe_blocks=1,
    kernel_size=3,
  ),
)


def tone(note, amplitude=0.5, seconds=1):
  t = np.arange(seconds * RATE_HZ) / RATE_HZ
  wave = amplitude * np.sin(2 * np.pi * analysis.hertz(note) * t)
  return wave.astype(np.float32)


def heard(waveform, config=SMALL):
  """Latents of a waveform, [frames, dim]."""
  encode = config.module().encode_latents
  return np.asarray(jax.jit(encode)(waveform[None]))[0]


@pytest.fixture(scope='module')
def autoencoder():
  """One whose network says nothing: its sines are what the latents say."""
  module = SMALL.module()
  silence = np.zeros((1, RATE_HZ), np.float32)
  params = jax.jit(module.init)(jax.random.key(0), silence)['params']
  params['decoder']['Dense_2'] = {
    'kernel': np.zeros_like(params['decoder']['Dense_2']['kernel']),
    'bias': np.full_like(params['decoder']['Dense_2']['bias'], -20.0),
  }
  params['decoder']['Dense_3'] = jax.tree.map(
    np.zeros_like, params['decoder']['Dense_3']
  )
  return soundstream.TrainedLatents(SMALL, {'params': params})


@pytest.mark.parametrize('note', [45, 57, 60, 69, 81, 95])
def test_a_note_is_heard_in_its_own_number(note):
  found = heard(tone(note))[5:-5, : SMALL.num_notes]
  assert (found.argmax(1) == note - SMALL.lowest_note).all()
  other = np.delete(found, note - SMALL.lowest_note, 1)
  # More than a factor of four in power, which is 0.25 log 4.
  assert found.max() - np.sort(other.max(0))[-3] > 0.35


def test_half_the_amplitude_is_a_quarter_of_the_power():
  loud, soft = heard(tone(69)), heard(tone(69, 0.25))
  note = 69 - SMALL.lowest_note
  difference = loud[10, note] - soft[10, note]
  assert difference == pytest.approx(0.25 * np.log(4), abs=1e-3)
  assert analysis.log_amplitude(difference + 2.0) == pytest.approx(
    np.log(2), abs=1e-3
  )


def test_a_click_is_heard_in_the_part_of_the_frame_that_holds_it():
  x = np.zeros(RATE_HZ, np.float32)
  x[640 * 12 + 480] = 1.0  # Second half of the frame.
  bands = heard(x)[:, SMALL.num_notes :].reshape(-1, SMALL.num_parts, 20)
  frame, part = np.unravel_index(bands.mean(2).argmax(), bands.shape[:2])
  assert (frame, part) == (12, 1)


@pytest.mark.slow
def test_a_chord_is_played_as_it_was_heard_without_a_network(autoencoder):
  chord = sum(tone(note, 0.2) for note in (57, 61, 64))
  played = np.asarray(autoencoder.decode(autoencoder.encode(chord[None])))[0]
  power = np.abs(np.fft.rfft(played * np.hanning(len(played)))) ** 2
  hertz = np.fft.rfftfreq(len(played), 1 / RATE_HZ)
  near = sum(
    power[np.abs(hertz - analysis.hertz(n)) < 3].sum() for n in (57, 61, 64)
  )
  assert near / power.sum() > 0.8
  # The chord repeats with no frame of 40 ms.
  late = played[2 * 640 :]
  assert abs(np.corrcoef(late[640:], late[:-640])[0, 1]) < 0.9


@pytest.mark.slow
def test_decoding_in_pieces_equals_decoding_at_once():
  module = SMALL.module()
  silence = np.zeros((1, RATE_HZ), np.float32)
  params = jax.jit(module.init)(jax.random.key(1), silence)['params']
  codec = soundstream.TrainedLatents(SMALL, {'params': params})
  rng = np.random.default_rng(0)
  latents = rng.normal(size=(1, 120, SMALL.latents.dim)).astype(np.float32)
  whole = codec.decode(latents)
  pieces = np.concatenate(list(codec.decode_in_pieces(latents, 40)), 1)
  np.testing.assert_allclose(pieces, whole, atol=1e-4)


def test_a_config_survives_json_and_refuses_what_cannot_be():
  assert sines.SinesConfig.from_dict(SMALL.to_dict()) == SMALL
  with pytest.raises(ValueError, match='reach'):
    dataclasses.replace(SMALL, num_notes=120)
  ends = dataclasses.replace(SMALL.ends, oscillators_per_octave=0)
  with pytest.raises(ValueError, match='nothing else is tonal'):
    dataclasses.replace(SMALL, ends=ends)
