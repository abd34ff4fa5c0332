"""Sounds in pieces are the sounds that whole arrays would be."""

import av
import numpy as np
import pytest
import soxr

from tests.fakes import channels
from tests.fakes import media_clips
from v2meow_jax.files import read
from v2meow_jax.files import write
from v2meow_jax.files.films import remux
from v2meow_jax.files.films import sounds

RATE_HZ = 16_000
NOISE = np.random.default_rng(0).normal(size=(2, 150_000)).astype(np.float32)


def joined(sound):
  samples = np.concatenate(list(sound.pieces()), axis=1)
  assert samples.shape == (sound.num_channels, sound.num_samples)
  return samples


@pytest.mark.parametrize('size', [1, 100, 777, 1000, 1 << 16])
def test_pieces_of_another_size_hold_the_same(size):
  samples = NOISE[:, :5000]
  pieces = list(sounds.rebuffered(channels.Channels(samples).pieces(), size))
  assert {p.shape[1] for p in pieces[:-1]} <= {size}
  np.testing.assert_array_equal(np.concatenate(pieces, axis=1), samples)


@pytest.mark.parametrize('num_samples', [0, 1, 777, 150_000, 300_001])
def test_a_sound_is_cut_or_goes_on_in_silence(num_samples):
  fitted = joined(sounds.Fitted(channels.Channels(NOISE), num_samples))
  num = min(num_samples, NOISE.shape[1])
  np.testing.assert_array_equal(fitted[:, :num], NOISE[:, :num])
  assert not fitted[:, num:].any()


@pytest.mark.parametrize('rate_hz', [8000, 16_000, 44_100, 48_000])
def test_pieces_are_resampled_as_a_whole_is(rate_hz):
  resampled = joined(sounds.Resampled(channels.Channels(NOISE), rate_hz))
  assert resampled.shape[1] == round(150_000 * rate_hz / RATE_HZ)
  whole = soxr.resample(NOISE.T, RATE_HZ, rate_hz).T
  num = min(whole.shape[1], resampled.shape[1])
  np.testing.assert_allclose(resampled[:, :num], whole[:, :num], atol=1e-6)


@pytest.mark.parametrize('suffix', ['.mp4', '.mov', '.mkv', '.webm'])
def test_a_film_gets_both_sides_as_long_as_it_is(suffix, tmp_path):
  film, out = tmp_path / 'film.mkv', tmp_path / f'out{suffix}'
  options = {'codec': 'libvpx', 'container': 'matroska'}
  if suffix != '.webm':
    options = {'container': 'matroska'}
  media_clips.encode(film, media_clips.planted(range(25)), **options)
  times = np.arange(48_000) / 48_000
  tones = 0.5 * np.sin(2 * np.pi * np.outer([300, 700], times))
  sound = channels.Channels(tones.astype(np.float32), rate_hz=48_000)
  remux.replace_sound(film, sound, out)
  with av.open(str(out)) as container:
    (track,) = container.streams.audio
    assert (track.rate, track.layout.name) == (48_000, 'stereo')
    frames = [f.to_ndarray() for f in container.decode(track)]
    is_packed = track.format.is_packed
  if is_packed:
    frames = [f.reshape(-1, 2).T for f in frames]
  sides = np.concatenate(frames, axis=1).astype(float)[:, :48_000]
  spectra = np.abs(np.fft.rfft(sides[:, 4800:43_200]))
  hz = spectra.argmax(axis=1) * 48_000 / 38_400
  np.testing.assert_allclose(hz, [300, 700], atol=1.5)
  assert len(read.read_audio(out, rate_hz=48_000).samples) == 48_000


@pytest.mark.parametrize('suffix', ['.wav', '.flac'])
def test_files_of_sound_hold_both_sides(suffix, tmp_path):
  import soundfile

  path = tmp_path / f'out{suffix}'
  samples = np.clip(NOISE[:, :5000], -1, 1)
  write.write_audio(path, channels.Channels(samples))
  stored, rate_hz = soundfile.read(path)
  assert rate_hz == RATE_HZ
  np.testing.assert_allclose(stored.T, samples, atol=2**-15)
