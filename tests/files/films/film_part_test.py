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
