"""Silence and clipping are found where they were planted, and nowhere else."""

import json

import numpy as np
import pytest
import soundfile
import soxr

from tests.fakes import planted_records
from v2meow_jax import media
from v2meow_jax.files import read
from v2meow_jax.jobs.prepare import sound_checks

RATE_HZ = 44_100


def _music(seconds=20.0, gain=0.3):
  """Chords under noise; the peak is near `gain`."""
  rng = np.random.default_rng(0)
  times = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
  chord = sum(np.sin(2 * np.pi * f * times) for f in (220, 277.2, 329.6)) / 3
  return (gain * (0.9 * chord + 0.02 * rng.normal(size=len(times)))).astype(
    'f4'
  )


def _found(samples, rate_hz=RATE_HZ):
  if rate_hz != RATE_HZ:
    samples = soxr.resample(samples, RATE_HZ, rate_hz)
  samples = np.clip(samples, -1, 1).astype(np.float32)
  return sound_checks.troubles(media.Audio(samples=samples, rate_hz=rate_hz))


@pytest.mark.slow
def test_music_loud_or_soft_is_left_alone():
  for gain in (0.003, 0.3, 0.95):
    for rate_hz in (RATE_HZ, 24_000, 16_000):
      assert _found(_music(gain=gain), rate_hz) == {}
  # A rest, and a peak that touches full scale.
  rest = _music()
  rest[: 8 * RATE_HZ] = 0
  rest[-5:] = 1
  assert _found(rest) == {}


def test_silence_is_found_with_its_share_even_under_dither():
  rng = np.random.default_rng(1)
  for share in (0.55, 0.75, 1.0):
    samples = _music()
    num = round(share * len(samples))
    samples[:num] = rng.integers(-1, 2, num) / 32768
    for rate_hz in (RATE_HZ, 16_000):
      assert _found(samples, rate_hz) == {
        'silent': pytest.approx(share, abs=0.01)
      }


def test_what_is_silent_is_so_for_every_verb():
  for gain in (1e-5, 5e-4, 2e-3, 0.3):
    audio = media.Audio(samples=_music(1.0, gain=gain), rate_hz=RATE_HZ)
    assert ('silent' in sound_checks.troubles(audio)) == audio.is_silent, gain


@pytest.mark.slow
@pytest.mark.parametrize('suffix', ['.wav', '.flac'])
def test_clipping_of_one_channel_alone_is_found(tmp_path, suffix):
  loud, soft = np.clip(_music(4.0, gain=1.5), -1, 1), _music(4.0, gain=0.1)
  share = float(np.mean(np.abs(loud) == 1))
  for channels in ([loud, soft], [soft, loud], [soft, soft, loud]):
    path = tmp_path / f'clip{suffix}'
    soundfile.write(path, np.stack(channels, 1), RATE_HZ, 'PCM_16')
    for rate_hz in (RATE_HZ, 16_000):
      audio = read.read_audio(path, rate_hz=rate_hz).fitted(4 * rate_hz)
      assert sound_checks.troubles(audio) == {
        'clipped': pytest.approx(share, rel=0.1)
      }
  soundfile.write(path, np.stack([soft, -soft], 1), RATE_HZ, 'PCM_16')
  assert sound_checks.troubles(read.read_audio(path)) == {'silent': 1.0}


def test_clipping_is_found_after_resampling():
  cut = np.clip(_music(gain=1.5), -1, 1)
  planted = np.mean(np.abs(cut) == 1)
  assert planted > 0.02
  for rate_hz in (RATE_HZ, 24_000, 16_000):
    (name, share), *others = _found(cut, rate_hz).items()
    assert name == 'clipped' and not others
    assert 0.4 * planted < share < 1.2 * planted


@pytest.mark.data
def test_preparing_lists_what_is_wrong_and_leaves_out_what_it_should(
  planted_prepare, tmp_path
):
  clips = {
    'good': ('train', {'seconds': 12.0, 'loud': 12.0}),
    'half': ('validation', {'seconds': 12.0, 'loud': 5.0}),
    'mute': ('train', {'seconds': 12.0}),
    'torn': ('train', {'seconds': 12.0, 'loud': 3.0, 'level': 1.0}),
  }
  manifest = planted_records.write_manifest(tmp_path / 'media', clips)
  both = planted_prepare(tmp_path / 'out', manifest)
  assert both.num_sound == {'silent': 3, 'clipped': 1}
  rows = (tmp_path / 'out' / 'sound.jsonl').read_text().splitlines()
  assert list(map(json.loads, rows)) == [
    {
      'id': 'half',
      'split': 'validation',
      'silent': pytest.approx(7 / 12, 0.02),
    },
    {'id': 'mute', 'split': 'train', 'silent': 1.0},
    {'id': 'torn', 'split': 'train', 'silent': 0.75, 'clipped': 0.25},
  ]
  kept = planted_prepare(tmp_path / 'kept', manifest, leave_out=('clipped',))
  assert kept.num_sound == {'silent': 2, 'clipped': 0}
  assert (kept.num_examples, kept.num_rejected) == (
    {'train': 2, 'validation': 1},
    1,
  )
  (row,) = map(json.loads, open(tmp_path / 'kept' / 'rejected.jsonl'))
  assert (row['id'], row['stage']) == ('torn', 'listen')
  assert row['message'] == '25.00% of its samples are at full scale'
