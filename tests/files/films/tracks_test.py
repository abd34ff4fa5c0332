"""Which of many tracks is the film, and how many tracks a file may have."""

import av
import numpy as np
import pytest

from v2meow_jax import media
from v2meow_jax.files import probe
from v2meow_jax.files import read
from v2meow_jax.files.films import remux

DEFAULT = av.stream.Disposition.default


def mastered(path, films, num_sounds=0):
  """A file of several films (width, gray, is it the default) and sounds."""
  with av.open(str(path), 'w') as out:
    tracks = []
    for width, _, is_default in films:
      stream = out.add_stream('libx264', rate=25)
      stream.width, stream.height, stream.pix_fmt = width, 48, 'yuv420p'
      stream.disposition = DEFAULT if is_default else av.stream.Disposition(0)
      tracks.append(stream)
    sounds = [
      out.add_stream('pcm_s16le', rate=8000, layout='mono')
      for _ in range(num_sounds)
    ]
    out.start_encoding()
    for i in range(25):
      for stream, (width, gray, _) in zip(tracks, films, strict=True):
        pixels = np.full((48, width, 3), gray, np.uint8)
        frame = av.VideoFrame.from_ndarray(pixels, format='rgb24')
        frame.pts = i
        out.mux(stream.encode(frame))
    for stream in tracks:
      out.mux(stream.encode(None))
    for stream in sounds:
      frame = av.AudioFrame.from_ndarray(
        np.zeros((1, 8000), np.int16), format='s16', layout='mono'
      )
      frame.sample_rate = 8000
      out.mux(stream.encode(frame))
      out.mux(stream.encode(None))


@pytest.mark.slow
@pytest.mark.parametrize(
  'films',
  [
    [(32, 50, False), (64, 200, True)],
    [(64, 200, True), (32, 50, False)],
    [(32, 200, True), (64, 50, False)],
    [(32, 50, False), (64, 200, False)],
  ],
  ids=['default last', 'default first', 'default small', 'the larger'],
)
def test_the_film_is_the_track_that_players_choose(tmp_path, films):
  source, out = tmp_path / 'in.mkv', tmp_path / 'out.mp4'
  mastered(source, films)
  assert read.read_video(source).frames.mean() == pytest.approx(200, abs=4)
  silence = media.Audio(samples=np.zeros(16_000, np.float32), rate_hz=16_000)
  remux.replace_sound(source, silence, out)
  assert read.read_video(out).frames.mean() == pytest.approx(200, abs=4)


def test_a_master_with_sixteen_sounds_is_a_video(tmp_path):
  source = tmp_path / 'in.mov'
  mastered(source, [(64, 200, True)], num_sounds=16)
  info = probe.probe_video(source)
  assert info.num_frames == 25
  assert info.has_audio
