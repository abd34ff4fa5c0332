"""Notes of a bank have the pitch, the length and the loudness that they should."""

import numpy as np
import pytest

from tests.fakes import tiny_soundfont
from v2meow_jax.synthetic.bank import banks
from v2meow_jax.synthetic.bank import orchestra
from v2meow_jax.synthetic.bank import sampled_bank
from v2meow_jax.synthetic.bank import soundfont

RATE_HZ = 16_000


@pytest.fixture(scope='module')
def path(tmp_path_factory):
  return tiny_soundfont.write(tmp_path_factory.mktemp('bank') / 'tiny.sf2')


def pitch_hz(wave):
  spectrum = np.abs(np.fft.rfft(wave * np.hanning(len(wave)), 16 * RATE_HZ))
  return float(np.argmax(spectrum)) / 16


def rms(wave):
  return float(np.sqrt(np.mean(np.square(wave, dtype=np.float64))))


def test_a_key_sounds_at_its_pitch_and_as_long_as_it_is_held(path):
  bank = sampled_bank.SampledBank(path, RATE_HZ)
  for key in (40, 57, 69, 71, 84):
    wave, _ = bank.note('grand piano', key, 0.9, 2.5)
    assert len(wave) >= 2.5 * RATE_HZ  # Ten times the sample: it loops.
    expected = 440.0 * 2 ** ((key - 69) / 12)
    assert pitch_hz(wave) == pytest.approx(expected, rel=1e-3)
    # No seam: the sound is a sine and nothing else.
    inside = wave[400:-400]
    peak = abs(inside).max()
    assert rms(inside) == pytest.approx(peak / np.sqrt(2), rel=0.02)


def test_a_loop_that_is_too_high_to_be_heard_is_not_folded_down(path):
  bank = sampled_bank.SampledBank(path, RATE_HZ)
  wave, _ = bank.note('grand piano', 71 + 52, 0.9, 1.0)  # 10 kHz
  assert rms(wave) < 1e-3


def test_the_strength_chooses_the_zone(path):
  bank = sampled_bank.SampledBank(path, RATE_HZ)
  soft, loud = (bank.note('grand piano', 71, s, 0.2)[0] for s in (0.3, 0.95))
  assert rms(soft) / rms(loud) == pytest.approx(0.5, rel=0.01)


def test_envelopes_follow_their_closed_form(tmp_path):
  # A second for 100 dB, down to 20 dB; a tenth of a second of attack.
  decay, sustain, attack = 0, 200, round(1200 * np.log2(0.1))
  path = tiny_soundfont.write(
    tmp_path / 'envelope.sf2',
    tone_generators={36: decay, 37: sustain, 34: attack},
  )
  wave, _ = sampled_bank.SampledBank(path, RATE_HZ).note(
    'grand piano', 71, 1.0, 0.8
  )
  level = [rms(wave[round(t * RATE_HZ) :][:320]) for t in (0.04, 0.2, 0.5, 0.7)]
  full = (
    0.5 / np.sqrt(2) / np.sqrt(2)
  )  # A centred zone is as loud on each side.
  assert level[0] == pytest.approx(0.5 * full, rel=0.05)
  # 0.11 s into the decay, in the middle of the window.
  assert 20 * np.log10(level[1] / full) == pytest.approx(-11, abs=0.5)
  for late in level[2:]:
    assert 20 * np.log10(late / full) == pytest.approx(-20, abs=0.2)


def test_a_filter_takes_what_is_above_it(tmp_path):
  def tone(cents):
    path = tiny_soundfont.write(
      tmp_path / f'{cents}.sf2', tone_generators={8: cents}
    )
    bank = sampled_bank.SampledBank(path, RATE_HZ)
    return rms(bank.note('grand piano', 71, 1.0, 1.0)[0])

  # Two octaves below the tone: two poles take 24 dB.
  two_octaves_below = round(1200 * np.log2(tiny_soundfont.TONE_HZ / 4 / 8.176))
  ratio = tone(two_octaves_below) / tone(13_500)
  assert 20 * np.log10(ratio) == pytest.approx(-24, abs=1)


def test_compressed_samples_sound_like_the_others(tmp_path, path):
  other = tiny_soundfont.write(tmp_path / 'tiny.sf3', compressed=True)
  waves = [
    sampled_bank.SampledBank(p, RATE_HZ).note('grand piano', 71, 0.9, 1.0)[0]
    for p in (path, other)
  ]
  assert np.corrcoef(*waves)[0, 1] > 0.99


def test_notes_do_not_depend_on_what_was_played_before(path):
  first = sampled_bank.SampledBank(path, RATE_HZ)
  second = sampled_bank.SampledBank(path, RATE_HZ)
  for key in range(50, 60):
    second.note('grand piano', key, 0.9, 1.0)
  np.testing.assert_array_equal(
    first.note('grand piano', 60, 0.9, 0.5)[0],
    second.note('grand piano', 60, 0.9, 0.5)[0],
  )


def test_a_drum_outside_of_its_keys_is_silent(path):
  bank = sampled_bank.SampledBank(path, RATE_HZ)
  assert rms(bank.drum('drums', orchestra.KICK, 0.9)) > 0.01
  assert not len(bank.drum('drums', 90, 0.9))


def test_damaged_files_are_refused(path, tmp_path):
  whole = path.read_bytes()
  rng = np.random.default_rng(1)
  wrong = [b'', b'RIFF', whole[:3000], whole.replace(b'sfbk', b'WAVE', 1)]
  head = len(whole) - 900  # The tables are at the end.
  for _ in range(150):
    changed = bytearray(whole)
    for at in rng.integers(head, len(whole), 3):
      changed[at] = rng.integers(256)
    wrong.append(bytes(changed))
  refused = 0
  for content in wrong:
    target = tmp_path / 'damaged.sf2'
    target.write_bytes(content)
    try:
      bank = sampled_bank.SampledBank(target, RATE_HZ)
      bank.note('grand piano', 60, 0.9, 0.1)
      bank.drum('drums', 40, 0.9)
    except ValueError as e:
      assert 'no SoundFont that can be played' in str(e)
      refused += 1
  assert refused > 20


def test_an_unknown_preset_is_named(path):
  with pytest.raises(ValueError, match=r'no preset 7 in bank 3.*\(0, 0\)'):
    soundfont.SoundFont(path).zones(3, 7, 60, 100)


def test_the_bank_is_the_one_asked_for_else_one_that_is_there(
  path, monkeypatch, tmp_path
):
  monkeypatch.delenv(banks.VARIABLE, raising=False)
  monkeypatch.setattr(banks, 'PLACES', (str(tmp_path / 'no.sf2'), str(path)))
  assert banks.source() == str(path)
  assert banks.source('numpy') == 'numpy'
  monkeypatch.setattr(banks, 'PLACES', ())
  assert banks.source() == 'numpy'
  monkeypatch.setenv(banks.VARIABLE, str(path))
  assert banks.source() == str(path)
  with pytest.raises(ValueError, match='no bank of instruments .*no.sf2'):
    banks.source(str(tmp_path / 'no.sf2'))
  with pytest.raises(ValueError, match='sound at 16000 Hz, not 24000'):
    banks.load('numpy', 24_000)


def test_every_instrument_and_drum_has_a_stand_in():
  bank = banks.NumpyBank()
  for name, instrument in orchestra.INSTRUMENTS.items():
    assert instrument.lowest < instrument.highest
    wave, release = bank.note(name, instrument.lowest + 12, 0.5, 1.0)
    assert len(wave) and release > 0
  for key in orchestra.DRUM_STAND_INS:
    assert len(bank.drum('drums', key, 0.5))
