"""What size and rate a film may have, and which formats it may come in."""

import gc

import av
import numpy as np
import pytest

from tests.fakes import media_clips
from v2meow_jax import media
from v2meow_jax.files import probe
from v2meow_jax.files import read
from v2meow_jax.files.films import remux

SILENCE = media.Audio(samples=np.zeros(16_000, np.float32), rate_hz=16_000)


@pytest.mark.parametrize('shape', [(100, 300), (300, 100)])
def test_a_picture_is_as_large_whichever_way_it_is_turned(tmp_path, shape):
  source = media_clips.encode(
    tmp_path / 'in', media_clips.planted([1, 2], *shape)
  )
  limits = probe.Limits(max_pixels=30_000)
  assert read.read_video(source, limits=limits).frames.shape[1:3] == shape
  with pytest.raises(probe.UnsupportedMedia, match=r'ffmpeg -i IN .*scale='):
    read.read_video(source, limits=probe.Limits(max_pixels=29_999))


@pytest.mark.slow
def test_8k_is_read_shrunk(tmp_path):
  source = media_clips.encode(
    tmp_path / 'in', media_clips.gray([90], 7680, 4320)
  )
  frames = read.read_video(source, max_side=64).frames
  assert frames.shape == (1, 64, 36, 3)
  assert frames.mean() == pytest.approx(90, abs=2)


def test_480_frames_a_second_are_read_by_half_and_copied_whole(tmp_path):
  source = media_clips.encode(
    tmp_path / 'in', media_clips.planted(range(96)), rate_hz=480
  )
  video = read.read_video(source)
  np.testing.assert_allclose(video.times, np.arange(48) / 240, atol=1e-4)
  np.testing.assert_array_equal(
    media_clips.ticks_of(video.frames), range(0, 96, 2)
  )
  remux.replace_sound(source, SILENCE, tmp_path / 'out.mp4')
  assert probe.probe_video(tmp_path / 'out.mp4').num_frames == 96


@pytest.mark.parametrize(
  ('container', 'codec', 'pix_fmt', 'is_copied'),
  [
    ('flv', 'libx264', 'yuv420p', True),
    ('flv', 'flv', 'yuv420p', False),
    ('asf', 'wmv2', 'yuv420p', False),
    ('gif', 'gif', 'rgb8', False),
    ('avi', 'mpeg4', 'yuv420p', True),
  ],
)
def test_films_of_other_times_become_films_of_ours(
  tmp_path, container, codec, pix_fmt, is_copied
):
  source = media_clips.encode(
    tmp_path / 'in',
    media_clips.planted(range(25)),
    container=container,
    codec=codec,
    pix_fmt=pix_fmt,
  )
  out = tmp_path / 'out.mp4'
  result = remux.replace_sound(source, SILENCE, out)
  assert result.is_copied == is_copied
  if not is_copied:
    assert result.picture == 'H.264'
    assert f'its {codec} ' in result.reason.replace('flv1', 'flv')
  before, after = read.read_video(source), read.read_video(out)
  np.testing.assert_allclose(after.times, np.arange(25) / 25, atol=1e-3)
  assert after.seconds == pytest.approx(1.0, abs=2e-3)
  # A GIF is dithered: its colours are those of areas.
  colors = [
    v.frames.reshape(25, 6, 8, 8, 8, 3).mean((2, 4)) for v in (before, after)
  ]
  np.testing.assert_allclose(*colors, atol=0 if is_copied else 8)
  with av.open(str(out)) as opened:
    assert sum(f.samples for f in opened.decode(audio=0)) == 16_000


def test_gif_and_webp_that_do_not_move_are_images(tmp_path):
  source = media_clips.encode(
    tmp_path / 'in',
    media_clips.planted([1]),
    container='gif',
    codec='gif',
    pix_fmt='rgb8',
  )
  with pytest.raises(probe.UnsupportedMedia, match='an image'):
    probe.probe(source)
  webp = tmp_path / 'a.webp'
  webp.write_bytes(b'RIFF\0\0\0\0WEBPVP8X\x0a\0\0\0\x02' + bytes(99))
  with pytest.raises(probe.UnsupportedMedia, match='animated WebP.*magick'):
    probe.probe(webp)


def test_frames_are_given_back_as_soon_as_they_are_shrunk(tmp_path):
  source = media_clips.encode(tmp_path / 'in', media_clips.planted(range(60)))
  gc.collect()
  gc.disable()
  try:
    assert len(read.read_video(source).frames) == 60
    # Not isinstance, which asks proxies for what they stand for.
    alive = sum(issubclass(type(o), av.VideoFrame) for o in gc.get_objects())
  finally:
    gc.enable()
  assert alive < 10
