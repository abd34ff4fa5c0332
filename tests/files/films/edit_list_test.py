"""What a video presents is what its soundtrack's mp4 presents."""

import struct

import av
import numpy as np
import pytest

from v2meow_jax import media
from v2meow_jax.files import probe
from v2meow_jax.files import read
from v2meow_jax.files.films import remux

RATE_HZ, NUM_FRAMES = 25, 100
TICKS = 1000  # Of a movie that FFmpeg writes.


def gray(pixels: np.ndarray) -> np.ndarray:
  return pixels.reshape(len(pixels), -1).mean(1)


def recording(path, b_frames: int) -> bytes:
  """Four seconds that grow lighter; the headers stand behind the media."""
  with av.open(str(path), 'w', format='mp4') as out:
    stream = out.add_stream('libx264', rate=RATE_HZ)
    stream.width, stream.height, stream.pix_fmt = 64, 48, 'yuv420p'
    stream.options = {'bf': str(b_frames), 'g': '20'}
    for i in range(NUM_FRAMES):
      pixels = np.full((48, 64, 3), 20 + 2 * i, np.uint8)
      frame = av.VideoFrame.from_ndarray(pixels, format='rgb24')
      out.mux(stream.encode(frame))
    out.mux(stream.encode(None))
  return path.read_bytes()


def with_edits(data: bytes, edits: list[tuple[float, float | None]]) -> bytes:
  """Replaces the edit list by (seconds shown, from where; None: nothing)."""
  at = data.index(b'elst') - 4
  old = struct.unpack_from('>I', data, at)[0]
  first, scale = struct.unpack_from('>i', data, at + 20)[0], 512 * RATE_HZ
  rows = b''.join(
    struct.pack(
      '>IiI',
      round(seconds * TICKS),
      -1 if start is None else first + round(start * scale),
      1 << 16,
    )
    for seconds, start in edits
  )
  box = struct.pack('>I4sII', 16 + len(rows), b'elst', 0, len(edits)) + rows
  data = bytearray(data[:at] + box + data[at + old :])
  for parent in (b'moov', b'trak', b'edts'):
    place = data.rindex(parent) - 4
    size = struct.unpack_from('>I', data, place)[0]
    struct.pack_into('>I', data, place, size + len(box) - old)
  return bytes(data)


@pytest.mark.slow
@pytest.mark.parametrize('b_frames', [0, 2])
@pytest.mark.parametrize(
  ('edits', 'copied'),
  [
    ([(4.0, 0.0)], True),
    ([(2.0, 0.0)], True),
    ([(2.0, 1.0)], None),
    ([(1.0, 0.0), (1.0, 2.0)], False),
    ([(1.0, 2.0), (1.0, 0.0)], None),
    ([(0.5, None), (2.0, 0.0)], None),
  ],
  ids=['whole', 'tail', 'head and tail', 'middle', 'swapped', 'late'],
)
def test_what_was_cut_away_stays_away(tmp_path, b_frames, edits, copied):
  source = tmp_path / 'in.mp4'
  source.write_bytes(with_edits(recording(source, b_frames), edits))
  video = read.read_video(source)
  shown = sum(seconds for seconds, start in edits if start is not None)
  samples = np.zeros(round(video.seconds * 16_000), np.float32)
  audio = media.Audio(samples=samples, rate_hz=16_000)
  for suffix in ('.mp4', '.mov', '.mkv'):
    out = tmp_path / f'out{suffix}'
    was_copied = remux.replace_sound(source, audio, out).is_copied
    if suffix != '.mkv':  # Which cannot hide what comes before.
      assert copied in (None, was_copied)
    written = read.read_video(out)
    assert written.seconds == pytest.approx(video.seconds, abs=0.5 / RATE_HZ)
    np.testing.assert_allclose(written.times, video.times, atol=2e-3)
    np.testing.assert_allclose(
      gray(written.frames), gray(video.frames), atol=0 if was_copied else 3
    )
    assert len(written.times) == pytest.approx(shown * RATE_HZ, abs=1)


def test_a_check_encodes_no_picture_and_leaves_no_file(tmp_path, monkeypatch):
  source, out = tmp_path / 'in.mp4', tmp_path / 'out.mp4'
  edits = [(1.0, 0.0), (1.0, 2.0)]
  source.write_bytes(with_edits(recording(source, 0), edits))

  def encode(*_):
    raise AssertionError

  monkeypatch.setattr(remux, '_encode', encode)
  remux.check(source, out)
  assert list(tmp_path.iterdir()) == [source]


@pytest.mark.parametrize(
  ('suffix', 'tag'), [('.mp4', 'hvc1'), ('.mp4', None), ('.mkv', None)]
)
def test_hevc_has_the_tag_that_every_player_takes(tmp_path, suffix, tag):
  source, out = tmp_path / f'in{suffix}', tmp_path / 'out.mp4'
  with av.open(str(source), 'w') as container:
    stream = container.add_stream('libx265', rate=RATE_HZ)
    stream.width, stream.height, stream.pix_fmt = 64, 48, 'yuv420p'
    stream.options = {'x265-params': 'log-level=none'}
    if tag:
      stream.codec_context.codec_tag = tag
    for i in range(10):
      pixels = np.full((48, 64, 3), 20 * i, np.uint8)
      frame = av.VideoFrame.from_ndarray(pixels, format='rgb24')
      container.mux(stream.encode(frame))
    container.mux(stream.encode(None))
  seconds = probe.probe_video(source).seconds
  samples = np.zeros(round(seconds * 16_000), np.float32)
  assert remux.replace_sound(
    source, media.Audio(samples=samples, rate_hz=16_000), out
  )
  with av.open(str(out)) as container:
    assert container.streams.video[0].codec_context.codec_tag == 'hvc1'
  assert len(read.read_video(out).times) == 10
