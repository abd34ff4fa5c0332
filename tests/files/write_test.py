"""Writing: copied pictures stay equal, sound is as long to the sample."""

import fractions
import hashlib

import av
import numpy as np
import pytest
import soundfile

from tests.fakes import media_clips
from v2meow_jax import media
from v2meow_jax.files import probe
from v2meow_jax.files import read
from v2meow_jax.files import write as media_write
from v2meow_jax.files.films import combine
from v2meow_jax.files.films import remux

NTSC = fractions.Fraction(30_000, 1001)


def _tone(seconds=2.0, rate_hz=16_000) -> media.Audio:
  """A rising tone, so that a shift is seen."""
  t = np.arange(round(seconds * rate_hz)) / rate_hz
  samples = 0.4 * np.sin(2 * np.pi * (200 + 150 * t) * t)
  return media.Audio(samples=np.float32(samples), rate_hz=rate_hz)


def _decoded_samples(path) -> np.ndarray:
  """Every sample that PyAV's decoder gives for the first audio track."""
  with av.open(str(path)) as container:
    frames = [f.to_ndarray() for f in container.decode(audio=0)]
  samples = np.concatenate(frames, axis=1)[0]
  if samples.dtype.kind == 'i':
    samples = samples / (np.iinfo(samples.dtype).max + 1.0)
  return samples


def _packets(path):
  """(payload digest, presentation time, is key) of every video packet."""
  with av.open(str(path)) as container:
    stream = container.streams.video[0]
    return [
      (
        hashlib.sha256(bytes(p)).hexdigest(),
        p.pts * p.time_base,
        p.is_keyframe,
      )
      for p in container.demux(stream)
      if p.size
    ]


def test_equal_input_gives_equal_bytes(tmp_path):
  frames = media_clips.planted(range(20))
  paths = [tmp_path / 'a.mp4', tmp_path / 'b.mp4']
  for path in paths:
    media_write.write_video(path, frames, rate_hz=NTSC, audio=_tone())
  assert paths[0].read_bytes() == paths[1].read_bytes()
  assert sorted(tmp_path.iterdir()) == paths


@pytest.mark.parametrize('rate_hz', [15, 24, 25.0, NTSC, 29.97, 60])
def test_a_written_video_keeps_time(tmp_path, rate_hz):
  path = tmp_path / 'clip.mp4'
  frames = media_clips.planted(range(40))
  media_write.write_video(path, iter(frames), rate_hz=rate_hz, audio=_tone(0.1))
  video = read.read_video(path)
  np.testing.assert_array_equal(media_clips.ticks_of(video.frames), range(40))
  np.testing.assert_allclose(
    video.times, np.arange(40) / float(rate_hz), rtol=1e-9
  )
  assert video.seconds == pytest.approx(40 / float(rate_hz), rel=1e-9)


@pytest.mark.parametrize('rate_hz', [16_000, 24_000, 44_100, 48_000])
@pytest.mark.parametrize(
  'num_frames,frame_hz', [(1, 60), (1, 25), (2, 15), (41, 24), (50, NTSC)]
)
def test_sound_is_as_long_as_the_video_to_the_sample(
  tmp_path, rate_hz, num_frames, frame_hz
):
  path = tmp_path / 'clip.mp4'
  frames = media_clips.planted(range(num_frames))
  tone = _tone(rate_hz=rate_hz)
  media_write.write_video(path, frames, rate_hz=frame_hz, audio=tone)
  wanted = round(num_frames / fractions.Fraction(frame_hz) * rate_hz)
  samples = _decoded_samples(path)
  assert len(samples) == wanted
  assert len(read.read_audio(path, rate_hz=rate_hz).samples) == wanted
  error = np.abs(samples - tone.fitted(wanted).samples)
  assert error.mean() < 0.02
  with av.open(str(path)) as container:
    assert container.duration / 1e6 == pytest.approx(
      num_frames / frame_hz, abs=1e-3
    )


def test_short_sound_is_followed_by_silence(tmp_path):
  path = tmp_path / 'clip.mp4'
  frames = media_clips.planted(range(50))
  media_write.write_video(path, frames, rate_hz=25, audio=_tone(0.5))
  samples = _decoded_samples(path)
  assert len(samples) == 32_000
  assert np.abs(samples[8000 + 2048 :]).max() < 1e-3
  assert np.abs(samples[:8000]).max() > 0.3


@pytest.mark.parametrize(
  'container,codec,options',
  [
    ('mp4', 'libx264', {'bf': '2'}),
    ('mp4', 'libx264', {'bf': '0'}),
    ('matroska', 'libx264', {'bf': '2'}),
    ('mov', 'mpeg4', {}),
    ('webm', 'libvpx-vp9', {'deadline': 'realtime', 'cpu-used': '8'}),
    ('avi', 'mpeg4', {}),
  ],
)
@pytest.mark.parametrize('offset', [0, 7])
def test_mux_copies_the_pictures(tmp_path, container, codec, options, offset):
  ticks = np.array([*range(30), 60, 61, 62])
  source = media_clips.encode(
    tmp_path / 'source',
    media_clips.planted(ticks),
    ticks=ticks + offset,
    container=container,
    codec=codec,
    options=options,
  )
  out = tmp_path / 'out.mp4'
  remux.replace_sound(source, _tone(), out)
  old, new = _packets(source), _packets(out)
  start = min(time for _, time, _ in old)
  assert [(d, t - start, k) for d, t, k in old] == new
  before, after = read.read_video(source), read.read_video(out)
  np.testing.assert_array_equal(before.frames, after.frames)
  np.testing.assert_array_equal(before.times, after.times)
  assert len(_decoded_samples(out)) == round(before.seconds * 16_000)
  with av.open(str(out)) as result:
    assert [s.type for s in result.streams] == ['video', 'audio']


def test_mux_replaces_the_old_sound_and_may_work_in_place(tmp_path):
  path = tmp_path / 'clip.mp4'
  media_write.write_video(
    path, media_clips.planted(range(25)), rate_hz=25, audio=_tone()
  )
  packets = _packets(path)
  silence = media.Audio(samples=np.zeros(1, np.float32), rate_hz=48_000)
  remux.replace_sound(path, silence, path)
  samples = _decoded_samples(path)
  assert len(samples) == 48_000 and not samples.any()
  assert _packets(path) == packets


@pytest.mark.parametrize('name', media_clips.TURNS)
def test_mux_keeps_the_picture_upright(tmp_path, name):
  picture = media_clips.gray([0])
  picture[:, :24, :32] = 255
  plain = media_clips.encode(tmp_path / 'plain', picture)
  turned = media_clips.turn(plain, tmp_path / 'turned', name)
  out = tmp_path / 'out.mp4'
  remux.replace_sound(turned, _tone(), out)
  np.testing.assert_array_equal(
    read.read_video(out).frames, read.read_video(turned).frames
  )


@pytest.mark.parametrize(
  'container,codec,pix_fmt,options,reason',
  [
    ('webm', 'libvpx', 'yuv420p', {}, 'its vp8 .* ask for .mkv or .webm'),
    ('mov', 'qtrle', 'rgb24', {}, 'its qtrle .* ask for .mov'),
    ('matroska', 'ffv1', 'yuv420p', {}, 'its ffv1 .* ask for .mkv'),
    ('mpegts', 'mpeg2video', 'yuv420p', {}, 'its mpeg2video .* .mov or .mkv'),
  ],
)
def test_mux_names_what_mp4_cannot_hold(
  tmp_path, container, codec, pix_fmt, options, reason
):
  source = media_clips.encode(
    tmp_path / 'source',
    media_clips.planted(range(9)),
    container=container,
    codec=codec,
    pix_fmt=pix_fmt,
    options=options,
  )
  with pytest.raises(probe.UnsupportedMedia, match=f'{reason}.*re-encode'):
    remux.replace_sound(source, _tone(), tmp_path / 'out.mp4')
  assert list(tmp_path.iterdir()) == [source]


@pytest.mark.parametrize('suffix', ['.wav', '.flac', '.WAV'])
def test_written_sound_reads_back(tmp_path, suffix):
  path = tmp_path / f'sound{suffix}'
  audio = _tone(0.5)
  audio.samples[:4] = [np.nan, np.inf, -np.inf, -1]
  media_write.write_audio(path, audio)
  samples = read.read_audio(path).samples
  np.testing.assert_allclose(samples[:4], [0, 1, -1, -1], atol=1 / 32_768)
  np.testing.assert_allclose(samples[4:], audio.samples[4:], atol=0.51 / 32_768)


@pytest.mark.parametrize('suffix', media.WRITTEN_AUDIO_SUFFIXES)
def test_long_sound_is_written_as_it_would_be_at_once(tmp_path, suffix):
  num = 2 * media.PIECE_SAMPLES + 77
  samples = np.random.default_rng(0).normal(0, 0.6, num).astype(np.float32)
  path = tmp_path / f'out{suffix}'
  media_write.write_audio(path, media.Audio(samples=samples, rate_hz=16_000))
  pcm = np.clip(np.round(samples * 32_768.0), -32_768, 32_767)
  whole = tmp_path / f'whole{suffix}'
  soundfile.write(whole, pcm.astype(np.int16), 16_000, subtype='PCM_16')
  assert path.read_bytes() == whole.read_bytes()


def test_a_fitted_length_trims_and_pads():
  audio = media.Audio(samples=np.float32([1, 2, 3]), rate_hz=5)
  for wanted in ([1, 2], [1, 2, 3], [1, 2, 3, 0, 0], []):
    fitted = audio.fitted(len(wanted))
    np.testing.assert_array_equal(fitted.samples, wanted)
    assert fitted.rate_hz == 5 and fitted.samples.dtype == np.float32


FRAMES = media_clips.planted(range(3))


@pytest.mark.parametrize(
  'write,reason',
  [
    (lambda d: media_write.write_audio(d / 'a.aiff', _tone()), '.wav or .flac'),
    (lambda d: media_write.write_video(d / 'a.avi', FRAMES, rate_hz=5), '.mp4'),
    (
      lambda d: media_write.write_video(d / 'a.mp4', [], rate_hz=5),
      'no frames',
    ),
    (
      lambda d: media_write.write_video(d / 'a.mp4', FRAMES[:, 1:], rate_hz=5),
      'even height',
    ),
    (
      lambda d: media_write.write_video(
        d / 'a.mp4', [FRAMES[0], FRAMES[0][2:]], rate_hz=5
      ),
      'frame 1 is uint8',
    ),
    (
      lambda d: media_write.write_video(
        d / 'a.mp4', FRAMES, rate_hz=5, audio=_tone(rate_hz=17_000)
      ),
      '17000 Hz; AAC',
    ),
  ],
)
def test_what_cannot_be_written_leaves_nothing_behind(tmp_path, write, reason):
  with pytest.raises(ValueError, match=reason):
    write(tmp_path)
  assert not list(tmp_path.iterdir())


@pytest.mark.parametrize('place', ['missing/out', 'file/out', 'folder'])
@pytest.mark.parametrize('suffix', ['.mp4', '.wav'])
def test_an_unwritable_target_is_named(tmp_path, place, suffix):
  (tmp_path / 'file').touch()
  (tmp_path / f'folder{suffix}').mkdir()
  target = tmp_path / f'{place}{suffix}'
  with pytest.raises(OSError, match='cannot write here.*') as caught:
    if suffix == '.wav':
      media_write.write_audio(target, _tone())
    else:
      media_write.write_video(target, FRAMES, rate_hz=5)
  assert str(target) in str(caught.value)


def test_a_failure_keeps_the_old_file(tmp_path):
  path = tmp_path / 'clip.mp4'
  path.write_bytes(b'old')

  def frames():
    yield FRAMES[0]
    raise RuntimeError('the renderer broke')

  with pytest.raises(RuntimeError, match='renderer'):
    media_write.write_video(path, frames(), rate_hz=5)
  assert path.read_bytes() == b'old' and list(tmp_path.iterdir()) == [path]


def _titled(path, seconds=1.5) -> media.Audio:
  """A stereo clip at 44.1 kHz that says in four places who made it."""
  rate_hz = 44_100
  tone = _tone(seconds, rate_hz).samples
  channels = np.stack([tone, tone / 2])
  with av.open(str(path), 'w', format='mp4') as out:
    out.metadata.update(title='Maker 7', comment='Maker 7')
    pictures = out.add_stream('libx264', rate=30, options={'bf': '2'})
    pictures.width, pictures.height, pictures.pix_fmt = 64, 48, 'yuv420p'
    sound = out.add_stream('aac', rate=rate_hz, layout='stereo')
    for stream in out.streams:
      stream.metadata['handler_name'] = 'Maker 7'
    for index, pixels in enumerate(media_clips.planted(range(45))):
      frame = av.VideoFrame.from_ndarray(pixels, format='rgb24')
      frame.pts = index
      out.mux(pictures.encode(frame))
    out.mux(pictures.encode(None))
    for start in range(0, channels.shape[1], 1024):
      block = np.ascontiguousarray(channels[:, start : start + 1024])
      frame = av.AudioFrame.from_ndarray(block, 'fltp', 'stereo')
      frame.sample_rate, frame.pts = rate_hz, start
      out.mux(sound.encode(frame))
    out.mux(sound.encode(None))


def test_combined_tracks_are_those_of_their_files_to_the_sample(tmp_path):
  ours, theirs, both = (tmp_path / f'{n}.mp4' for n in ('a', 'b', 'c'))
  media_write.write_video(ours, media_clips.planted(range(45)), rate_hz=25)
  _titled(theirs)
  combine.combine(ours, theirs, both)
  assert _packets(both) == _packets(ours)
  np.testing.assert_array_equal(
    read.read_audio(both, rate_hz=44_100).samples,
    read.read_audio(theirs, rate_hz=44_100).samples,
  )


def test_a_combined_file_does_not_say_who_made_its_parts(tmp_path):
  source, out = tmp_path / 'source.mp4', tmp_path / 'out.mp4'
  _titled(source)
  assert b'Maker 7' in source.read_bytes()
  combine.combine(source, source, out)
  assert b'Maker 7' not in out.read_bytes()
  with av.open(str(out)) as container:
    assert set(container.metadata) == {
      'major_brand',
      'minor_version',
      'compatible_brands',
    }


def test_pictures_are_not_combined_with_a_silent_film(tmp_path):
  silent = tmp_path / 'silent.mp4'
  media_write.write_video(silent, media_clips.planted(range(5)), rate_hz=25)
  with pytest.raises(probe.UnsupportedMedia, match='no audio track'):
    combine.combine(silent, silent, tmp_path / 'out.mp4')
  assert not (tmp_path / 'out.mp4').exists()
