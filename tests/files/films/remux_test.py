"""Films with new sound: each container keeps what the film had."""

import fractions

import av
import numpy as np
import pytest

from tests.fakes import media_clips
from v2meow_jax import media
from v2meow_jax.files import probe
from v2meow_jax.files import read
from v2meow_jax.files.films import containers
from v2meow_jax.files.films import remux

NTSC = fractions.Fraction(30_000, 1001)


def tone(seconds: float = 3.0) -> media.Audio:
  """A rising tone, so that a shift is seen."""
  t = np.arange(round(seconds * 16_000)) / 16_000
  samples = 0.4 * np.sin(2 * np.pi * (200 + 150 * t) * t)
  return media.Audio(samples=samples.astype(np.float32), rate_hz=16_000)


def film(path, codec: str = 'libx264', container: str = 'mp4', **options):
  """Forty frames at 29.97 Hz that say their time."""
  frames = media_clips.planted(range(40))
  return media_clips.encode(
    path, frames, rate_hz=NTSC, codec=codec, container=container, **options
  )


def packets(path) -> list[tuple[int, int]]:
  """Size and presentation time, in milliseconds, of each picture."""
  with av.open(str(path)) as container:
    stream = container.streams.video[0]
    return [
      (p.size, round(p.pts * p.time_base * 1000))
      for p in container.demux(stream)
      if p.size
    ]


@pytest.mark.parametrize(
  ('suffix', 'codec', 'container', 'error'),
  [
    ('.mov', 'libx264', 'mp4', 0.01),
    ('.mov', 'prores_ks', 'mov', 0.01),
    ('.mkv', 'libx264', 'mp4', 1e-4),
    ('.mkv', 'libx265', 'mp4', 1e-4),
    ('.mkv', 'ffv1', 'matroska', 1e-4),
    ('.mkv', 'mpeg2video', 'mpegts', 1e-4),
    ('.webm', 'libvpx', 'webm', 0.02),
    ('.webm', 'libvpx-vp9', 'mp4', 0.02),
  ],
)
def test_each_container_keeps_pictures_and_holds_sound_to_the_sample(
  tmp_path, suffix, codec, container, error
):
  options = {'x265-params': 'log-level=none'} if codec == 'libx265' else {}
  pix_fmt = 'yuv422p10le' if codec == 'prores_ks' else 'yuv420p'
  source = film(
    tmp_path / 'in', codec, container, options=options, pix_fmt=pix_fmt
  )
  out = tmp_path / f'out{suffix}'
  result = remux.replace_sound(source, tone(), out)
  assert result == remux.Remuxed(picture='copied', reason=None, left_out=())
  start = packets(source)[0][1]
  moved = [(size, time - start) for size, time in packets(source)]
  sizes, times = zip(*packets(out), strict=True)
  assert sizes == tuple(size for size, _ in moved)
  np.testing.assert_allclose(times, [time for _, time in moved], atol=1)
  seconds = probe.probe_video(source).seconds
  with av.open(str(out)) as opened:
    rate_hz = opened.streams.audio[0].rate
    frames = [f.samples for f in opened.decode(audio=0)]
  assert sum(frames) == round(seconds * rate_hz)
  samples = read.read_audio(out).samples
  wanted = tone().fitted(len(samples)).samples
  assert np.abs(samples - wanted).mean() < error
  np.testing.assert_array_equal(
    read.read_video(out).frames, read.read_video(source).frames
  )


def test_equal_input_gives_equal_films(tmp_path):
  source = film(tmp_path / 'in')
  for container in containers.ALL[:3]:
    paths = [tmp_path / f'{n}{container.suffix}' for n in 'ab']
    for path in paths:
      remux.replace_sound(source, tone(), path)
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_what_a_container_cannot_hold_names_those_that_can(tmp_path):
  source = film(tmp_path / 'in')
  with pytest.raises(probe.UnsupportedMedia, match='.mp4 or .mov or .mkv'):
    remux.check(source, tmp_path / 'out.webm')
  with pytest.raises(ValueError, match='.mp4, .mov, .mkv, .webm'):
    remux.check(source, tmp_path / 'out.avi')
