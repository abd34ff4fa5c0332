"""Reading: which frame at which time, which sample at which time."""

import fractions

import av
import numpy as np
import pytest
import soundfile

from tests.fakes import media_clips
from v2meow_jax.files import probe
from v2meow_jax.files import read

NTSC = fractions.Fraction(30_000, 1001)


@pytest.mark.parametrize('rate_hz', [15, 24, NTSC, 60])
@pytest.mark.parametrize('container', ['mp4', 'matroska', 'mpegts', 'avi'])
def test_frames_come_at_their_presentation_times(tmp_path, rate_hz, container):
  ticks = np.arange(40)
  path = media_clips.encode(
    tmp_path / 'clip',
    media_clips.planted(ticks),
    rate_hz=rate_hz,
    container=container,
    options={'bf': '2'},
  )
  video = read.read_video(path)
  tolerance = 1e-3 if container == 'matroska' else 2e-5  # its clock: 1 ms
  np.testing.assert_array_equal(media_clips.ticks_of(video.frames), ticks)
  np.testing.assert_allclose(
    video.times, ticks / float(rate_hz), atol=tolerance
  )
  assert video.seconds == pytest.approx(40 / float(rate_hz), abs=tolerance)
  assert probe.probe(path).rate_hz == pytest.approx(float(rate_hz), rel=5e-3)


@pytest.mark.parametrize('container', ['mp4', 'matroska', 'mpegts', 'avi'])
def test_a_start_offset_is_removed(tmp_path, container):
  ticks = np.arange(20)
  path = media_clips.encode(
    tmp_path / 'clip',
    media_clips.planted(ticks),
    ticks=ticks + 7,
    container=container,
  )
  video = read.read_video(path)
  assert video.seconds == pytest.approx(0.8)
  np.testing.assert_allclose(video.times, ticks / 25, atol=1e-9)
  np.testing.assert_array_equal(media_clips.ticks_of(video.frames), ticks)


@pytest.mark.parametrize('container', ['mp4', 'matroska'])
def test_variable_rate_is_read_by_time_stamp(tmp_path, container):
  ticks = np.array([0, 1, 2, 10, 11, 40, 41, 99])
  path = media_clips.encode(
    tmp_path / 'clip',
    media_clips.planted(ticks),
    ticks=ticks,
    container=container,
  )
  video = read.read_video(path)
  asked = np.arange(0, 4, 0.25)
  shown = media_clips.ticks_of(video.at(asked))
  wanted = [ticks[ticks <= t * 25 + 1e-6].max() for t in asked]
  np.testing.assert_array_equal(shown, wanted)


@pytest.mark.parametrize('piece_seconds', [0.5, 0.1, 0.37, 1.0, 3.96, 4.0, 9.0])
def test_pieces_join_to_the_whole_clip(tmp_path, piece_seconds):
  ticks = np.array([0, 1, 2, 10, 11, 12, 13, 40, 41, 75, 99])
  path = media_clips.encode(
    tmp_path / 'clip', media_clips.planted(ticks), ticks=ticks
  )
  pieces = list(read.iter_video(path, piece_seconds=piece_seconds))
  starts = np.array([p.start_seconds for p in pieces])
  np.testing.assert_allclose(starts, np.arange(len(pieces)) * piece_seconds)
  assert starts[-1] + pieces[-1].seconds == pytest.approx(4.0)
  assert all(p.seconds == piece_seconds for p in pieces[:-1])
  for piece in pieces:
    end = piece.start_seconds + piece.seconds
    asked = np.arange(piece.start_seconds, end - 1e-6, 0.02)
    wanted = [ticks[ticks <= t * 25 + 1e-6].max() for t in asked]
    np.testing.assert_array_equal(media_clips.ticks_of(piece.at(asked)), wanted)
    own = piece.times > piece.start_seconds - 1e-6
    assert (piece.times < end - 1e-9).all() and (np.diff(piece.times) > 0).all()
    assert (~own).sum() == (piece.start_seconds > 0) and own.any()


@pytest.mark.parametrize('name', media_clips.TURNS)
def test_frames_are_upright(tmp_path, name):
  picture = media_clips.gray([0])
  picture[:, :24, :32] = 255
  picture[:, 24:, :32] = 128
  path = media_clips.encode(tmp_path / 'plain', np.repeat(picture, 3, axis=0))
  path = media_clips.turn(path, tmp_path / 'turned', name)
  wanted = media_clips.TURNS[name][1](picture[0])
  video = read.read_video(path)
  info = probe.probe(path)
  assert (info.height, info.width) == wanted.shape[:2]
  error = np.abs(video.frames[2].astype(int) - wanted)
  assert error.max() <= 20 and error.mean() < 2
  small = read.read_video(path, max_side=32)
  assert small.frames.shape[1:3] == (wanted.shape[0] // 2, wanted.shape[1] // 2)


@pytest.mark.parametrize(
  'codec,pix_fmt,container',
  [
    ('libx264', 'yuv444p', 'mp4'),
    ('ffv1', 'gray', 'matroska'),
    ('ffv1', 'yuv420p', 'matroska'),
    ('ffv1', 'yuv422p10le', 'matroska'),
    ('ffv1', 'gray10le', 'matroska'),
    ('ffv1', 'bgra', 'matroska'),
    ('ffv1', 'bgr0', 'matroska'),
    ('ffv1', 'rgba64le', 'matroska'),
    ('mjpeg', 'yuvj420p', 'mp4'),
    ('qtrle', 'argb', 'mov'),
  ],
)
def test_pixel_formats_and_odd_sizes(tmp_path, codec, pix_fmt, container):
  picture = np.empty((3, 17, 33, 3), np.uint8)
  picture[:] = (200, 60, 30)
  picture[:, :8, :16] = (20, 180, 220)
  if pix_fmt.startswith('gray'):
    luma = np.round(picture @ np.array([0.299, 0.587, 0.114]))
    picture = np.repeat(luma[..., None], 3, axis=-1).astype(np.uint8)
  path = media_clips.encode(
    tmp_path / 'clip',
    picture,
    codec=codec,
    pix_fmt=pix_fmt,
    container=container,
    options={'qp': '1'} if codec == 'libx264' else {'qmin': '1', 'b': '9M'},
  )
  frame = read.read_video(path).frames[1].astype(int)
  assert frame.shape == (17, 33, 3)
  for rows, columns in ((slice(1, 6), slice(1, 13)), (slice(10, 16),) * 2):
    wanted = picture[1][rows, columns].astype(int)
    assert np.abs(frame[rows, columns] - wanted).max() <= 3


def test_frames_are_shrunk_with_their_aspect_and_never_enlarged(tmp_path):
  frames = media_clips.planted(range(3), height=40, width=100)
  path = media_clips.encode(tmp_path / 'clip', frames)
  sizes = {
    side: read.read_video(path, max_side=side).frames.shape[1:3]
    for side in (50, 7, 1, 400)
  }
  assert sizes == {50: (20, 50), 7: (3, 7), 1: (1, 1), 400: (40, 100)}
  anamorphic = media_clips.encode(
    tmp_path / 'wide', frames, aspect=fractions.Fraction(2)
  )
  assert read.read_video(anamorphic).frames.shape[1:3] == (20, 100)


def test_a_change_of_size_keeps_the_size_of_the_first_frame(tmp_path):
  first = media_clips.encode(
    tmp_path / 'a',
    media_clips.planted(range(20)),
    container='mpegts',
    options={'bf': '0'},
  )
  second = media_clips.encode(
    tmp_path / 'b',
    media_clips.planted(range(20, 40), height=96, width=128),
    ticks=range(20, 40),
    container='mpegts',
    options={'bf': '0'},
  )
  both = tmp_path / 'both'
  both.write_bytes(first.read_bytes() + second.read_bytes())
  video = read.read_video(both)
  assert video.frames.shape[1:3] == (48, 64)
  np.testing.assert_array_equal(
    media_clips.ticks_of(video.frames), np.round(video.times * 25)
  )


def test_one_frame_is_a_video(tmp_path):
  path = media_clips.encode(tmp_path / 'clip', media_clips.planted([5]))
  video = read.read_video(path)
  assert (len(video.frames), video.seconds) == (1, pytest.approx(0.04))


def test_a_few_damaged_bytes_are_tolerated_many_are_not(tmp_path):
  rng = np.random.default_rng(0)
  frames = rng.integers(0, 255, (60, 48, 64, 3), np.uint8)
  path = media_clips.encode(
    tmp_path / 'clip', frames, options={'preset': 'ultrafast', 'g': '10'}
  )
  whole = path.read_bytes()
  with av.open(str(path)) as container:
    places = [(p.pos, p.size) for p in container.demux(video=0) if p.size]

  def damage(every):
    data = bytearray(whole)
    for at, size in places[1::every]:
      data[at : at + size] = bytes(size)
    path.write_bytes(data)

  damage(every=59)
  assert len(read.read_video(path).frames) >= 57
  damage(every=3)
  with pytest.raises(probe.UnsupportedMedia, match='packets are damaged'):
    read.read_video(path)


@pytest.mark.parametrize(
  'arguments', [{'piece_seconds': 0}, {'piece_seconds': 1, 'max_side': 0}]
)
def test_sizes_must_be_positive(tmp_path, arguments):
  with pytest.raises(ValueError, match='more than 0'):
    read.iter_video(tmp_path / 'any', **arguments)


@pytest.mark.parametrize(
  'rate_hz', [8000, 11_025, 16_000, 22_050, 44_100, 48_000, 96_000, 192_000]
)
def test_every_sample_rate_keeps_pitch_and_length(tmp_path, rate_hz):
  num_samples = rate_hz + 123
  tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(num_samples) / rate_hz)
  path = tmp_path / 'tone.wav'
  soundfile.write(path, tone, rate_hz, subtype='PCM_16')
  audio = read.read_audio(path)
  wanted = num_samples * 16_000 / rate_hz
  assert abs(len(audio.samples) - wanted) <= 1
  again = 0.5 * np.sin(2 * np.pi * 440 * np.arange(16_000) / 16_000)
  error = np.abs(audio.samples[:16_000] - again)
  assert error[500:-500].max() < 2e-3


@pytest.mark.parametrize(
  'subtype', ['PCM_U8', 'PCM_16', 'PCM_24', 'PCM_32', 'FLOAT', 'DOUBLE']
)
def test_every_sample_type_has_one_scale(tmp_path, subtype):
  path = tmp_path / 'level.wav'
  level = np.full((1600, 2), [0.5, -0.25])
  soundfile.write(path, level, 16_000, subtype=subtype)
  samples = read.read_audio(path).samples
  np.testing.assert_allclose(samples, 0.125, atol=0.01)
  assert samples.dtype == np.float32


@pytest.mark.parametrize(
  'layout,levels,wanted',
  [
    ('mono', [0.3], 0.3),
    ('stereo', [0.3, -0.1], 0.1),
    # FL FR FC LFE BL BR: the LFE is left out of the mean.
    ('5.1', [0.1, 0.2, 0.3, 0.9, 0.4, 0.5], 0.3),
    ('7.1', [0.1, 0.2, 0.3, -0.9, 0.4, 0.5, 0.6, 0.7], 0.4),
  ],
)
def test_downmix_is_the_mean_of_the_main_channels(
  tmp_path, layout, levels, wanted
):
  channels = np.repeat(np.float32(levels)[:, None], 3000, axis=1)
  path = media_clips.encode_sound(
    tmp_path / 'sound',
    channels,
    rate_hz=16_000,
    layout=layout,
    container='wav',
    codec='pcm_f32le',
    sample_format='flt',
  )
  samples = read.read_audio(path).samples
  assert len(samples) == 3000
  np.testing.assert_allclose(samples, wanted, atol=1e-5)


def test_samples_that_are_no_numbers_or_too_loud_are_tamed(tmp_path):
  path = tmp_path / 'wild.wav'
  wild = np.float32([np.nan, np.inf, -np.inf, 3.0, -3.0, 0.5] * 100)
  soundfile.write(path, wild, 16_000, subtype='FLOAT')
  np.testing.assert_array_equal(
    read.read_audio(path).samples[:6], [0, 1, -1, 1, -1, 0.5]
  )


def test_a_length_header_that_lies_is_bounded_by_the_bytes(tmp_path):
  path = tmp_path / 'streamed.wav'
  soundfile.write(path, np.full(1600, 0.25), 16_000, subtype='PCM_16')
  data = bytearray(path.read_bytes())
  at = data.index(b'data') + 4
  data[at : at + 4] = b'\xff' * 4
  path.write_bytes(data)
  np.testing.assert_allclose(read.read_audio(path).samples, np.full(1600, 0.25))


@pytest.mark.parametrize('suffix', ['.mp3', '.ogg', '.flac'])
def test_compressed_sound_is_read(tmp_path, suffix):
  path = tmp_path / f'tone{suffix}'
  tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(48_000) / 48_000)
  soundfile.write(path, tone, 48_000)
  samples = read.read_audio(path).samples
  # FFmpeg's Vorbis decoder leaves out the last short block: 128 samples.
  missing = 43 if suffix == '.ogg' else 0
  assert abs(len(samples) - 16_000 + missing) <= 1
  again = 0.5 * np.sin(2 * np.pi * 440 * np.arange(16_000) / 16_000)
  assert np.abs(samples - again[: len(samples)])[1000:-1000].max() < 0.05


def test_sound_is_placed_on_the_time_line_of_the_pictures(tmp_path):
  path = tmp_path / 'clip.mov'
  click = np.zeros((1, 16_000), np.int16)
  click[0, 12_000] = 30_000
  with av.open(str(path), 'w') as out:
    video = out.add_stream('libx264', rate=25)
    video.height, video.width, video.pix_fmt = 48, 64, 'yuv420p'
    sound = out.add_stream('pcm_s16le', rate=16_000, layout='mono')
    for index, pixels in enumerate(media_clips.planted(range(15))):
      frame = av.VideoFrame.from_ndarray(pixels, format='rgb24')
      frame.pts = index + 10  # pictures start at 0.4 s, sound at 0
      frame.time_base = fractions.Fraction(1, 25)
      out.mux(video.encode(frame))
    out.mux(video.encode(None))
    frame = av.AudioFrame.from_ndarray(click, format='s16', layout='mono')
    frame.sample_rate, frame.pts = 16_000, 0
    out.mux(sound.encode(frame))
    out.mux(sound.encode(None))
  samples = read.read_audio(path).samples
  assert np.argmax(samples) == 12_000 - 6_400 and len(samples) == 9_600


def test_a_video_without_sound_says_so(tmp_path):
  path = media_clips.encode(tmp_path / 'clip', media_clips.planted(range(3)))
  with pytest.raises(probe.UnsupportedMedia, match='no audio track'):
    read.read_audio(path)
