"""A stretch of a film is read as a film that was cut there would be."""

import fractions

import numpy as np
import pytest

from tests.fakes import media_clips
from v2meow_jax import media
from v2meow_jax.files import probe
from v2meow_jax.files import read
from v2meow_jax.files.films import film_part


@pytest.fixture(scope='module')
def film(tmp_path_factory):
  """Four seconds at 10 frames a second, which say their time in tenths."""
  path = tmp_path_factory.mktemp('film') / 'film.mp4'
  media_clips.encode(path, media_clips.planted(range(40)), rate_hz=10)
  return probe.probe_video(path)


@pytest.mark.parametrize(
  ('start', 'end', 'ticks', 'times'),
  [
    (1.0, 1.5, range(10, 15), [0, 0.1, 0.2, 0.3, 0.4]),
    # Between frames: the one on screen leads.
    (1.05, 1.5, range(10, 15), [0, 0.05, 0.15, 0.25, 0.35]),
    (None, 0.3, range(3), [0, 0.1, 0.2]),
    (3.75, None, [37, 38, 39], [0, 0.05, 0.15]),
    (1.02, 1.13, [10, 11], [0, 0.08]),
    (3.85, 4.0, [38, 39], [0, 0.05]),
  ],
)
def test_frames_of_a_stretch_are_those_on_screen_at_their_times(
  film, start, end, ticks, times
):
  part = film_part.cut(film, start, end)
  video = read.read_video(part)
  assert video.seconds == pytest.approx((end or 4.0) - (start or 0.0))
  np.testing.assert_array_equal(media_clips.ticks_of(video.frames), list(ticks))
  np.testing.assert_allclose(video.times, times, atol=1e-6)
  arrays = film_part.cut(read.read_video(film), start, end)
  np.testing.assert_array_equal(arrays.frames, video.frames)
  np.testing.assert_allclose(arrays.times, video.times, atol=1e-6)


def test_sound_of_a_stretch_begins_with_it(tmp_path):
  samples = np.arange(32_000, dtype=np.float32)[None] / 40_000
  path = media_clips.encode_sound(
    tmp_path / 'ramp.wav',
    samples,
    rate_hz=8000,
    layout='mono',
    container='wav',
    codec='pcm_f32le',
    sample_format='flt',
  )
  whole = probe.probe(path)
  assert not whole.has_video
  with pytest.raises(probe.UnsupportedMedia, match='no video'):
    film_part.cut(path, 1.0, 2.0)


def test_pieces_of_a_stretch_are_those_of_a_film(film):
  part = film_part.cut(film, 0.5, 3.5)
  pieces = list(read.iter_video(part, piece_seconds=1.0))
  assert [p.seconds for p in pieces] == pytest.approx([1, 1, 1])
  np.testing.assert_array_equal(
    media_clips.ticks_of(pieces[1].at(np.array([1.01, 1.55]))), [15, 20]
  )


def test_no_stretch_is_the_film_itself(film):
  assert film_part.cut(film, None, None) is film


@pytest.mark.parametrize(
  ('start', 'end'),
  [(-1.0, 2.0), (2.0, 1.0), (1.0, 1.05), (1.0, 4.2), (4.0, None), (9.0, 10.0)],
)
def test_a_stretch_outside_of_the_film_is_refused(film, start, end):
  video = media.Video(
    frames=media_clips.planted(range(4)),
    times=np.arange(4.0),
    seconds=4.0,
  )
  for of in (film, video):
    with pytest.raises(ValueError, match=r'within the 4\.000 s of the film'):
      film_part.cut(of, start, end)


def test_a_stretch_is_described(film):
  part = film_part.cut(film, 1.1, 2.2)
  assert isinstance(part, film_part.FilmPart) and part.whole is film
  assert part.start_seconds - film.start_seconds == fractions.Fraction(11, 10)
  assert part.num_frames == 11 and part.rate_hz == pytest.approx(10.0)


# Key pictures every second or so, with pictures behind them that need the one
# before, or, refreshed column by column, none that is whole at once.
_CODED = {
  'b_frames.mp4': ('libx264', 'yuv420p', {'g': '12', 'bf': '3'}),
  'open.mp4': ('libx264', 'yuv420p', {'x264-params': 'open-gop=1:keyint=12'}),
  'refreshed.mkv': (
    *('libx264', 'yuv420p'),
    {'x264-params': 'intra-refresh=1:keyint=12'},
  ),
  'open.mkv': ('libx265', 'yuv420p', {'x265-params': 'keyint=12:log-level=0'}),
  'sent.ts': ('libx264', 'yuv420p', {'g': '12', 'bf': '2'}),
  'hidden.webm': ('libvpx-vp9', 'yuv420p', {'g': '12', 'lag-in-frames': '8'}),
  'disc.mkv': ('mpeg2video', 'yuv420p', {'g': '12', 'bf': '2'}),
  'each.mov': ('prores_ks', 'yuv422p10le', {}),
}
_CONTAINERS = {'ts': 'mpegts', 'mkv': 'matroska'}


@pytest.fixture(scope='module', params=list(_CODED))
def coded(request, tmp_path_factory):
  """Eight seconds of moving noise, each picture unlike the others."""
  codec, pix_fmt, options = _CODED[request.param]
  noise = np.random.default_rng(0).integers(0, 256, (12, 16, 3), np.uint8)
  large = np.kron(noise, np.ones((8, 8, 1), np.uint8))
  frames = np.stack([np.roll(large, 3 * k, axis=1) for k in range(96)])
  path = tmp_path_factory.mktemp('coded') / request.param
  suffix = path.suffix[1:]
  media_clips.encode(
    path,
    frames,
    rate_hz=12,
    codec=codec,
    pix_fmt=pix_fmt,
    container=_CONTAINERS.get(suffix, suffix),
    options={'preset': 'medium', **options} if 'x26' in codec else options,
  )
  return probe.probe_video(path)


def test_a_part_is_the_same_where_what_is_before_it_is_not_decoded(
  coded, monkeypatch
):
  decoded = []
  since_start = read._since_start

  def counted(presented, stream, info):
    def count():
      for ticks, frame in presented:
        decoded[-1] += 1
        yield ticks, frame

    decoded.append(0)
    return since_start(count(), stream, info)

  monkeypatch.setattr(read, '_since_start', counted)
  starts = [0.0, 0.5, 1.0, 1.04, 2.9, 4.0, 5.5, 6.99, 7.8]
  parts = [film_part.cut(coded, s, min(s + 0.6, coded.seconds)) for s in starts]
  found = [read.read_video(part) for part in parts]
  fewer = decoded[:]
  decoded.clear()
  monkeypatch.setattr(film_part, '_WITH_KEYS', ())
  for part, video in zip(parts, found, strict=True):
    whole = read.read_video(part)
    np.testing.assert_array_equal(video.times, whole.times)
    np.testing.assert_array_equal(video.frames, whole.frames)
  assert fewer[-1] <= decoded[-1] / 2


def test_packets_before_a_part_are_held_up_to_a_bound(film, monkeypatch):
  monkeypatch.setattr(film_part, '_MOST_HELD_BYTES', 500)
  video = read.read_video(film_part.cut(film, 3.0, 3.5))
  assert list(media_clips.ticks_of(video.frames)) == [30, 31, 32, 33, 34]
