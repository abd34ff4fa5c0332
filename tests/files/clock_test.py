"""Films whose clock starts again in their middle are read and copied whole."""

import os
import re
import subprocess
import sys

import av
import numpy as np
import pytest

from tests.fakes import media_clips
from v2meow_jax import media
from v2meow_jax.files import probe
from v2meow_jax.files import read
from v2meow_jax.files import write
from v2meow_jax.files.films import remux

pytestmark = pytest.mark.slow

RATE_HZ = 25
HOUR = 3600 * RATE_HZ
SILENCE = media.Audio(samples=np.zeros(16_000, np.float32), rate_hz=16_000)


def part(path, first: int, container: str, codec: str) -> bytes:
  """One second whose clock begins at a tick."""
  ticks = np.arange(RATE_HZ) + first
  options = {'bf': '2'} if codec in ('libx264', 'mpeg2video') else {}
  if codec == 'libx265':
    options = {'x265-params': 'log-level=none:bframes=2'}
  media_clips.encode(
    path,
    media_clips.planted(range(RATE_HZ)),
    ticks=ticks.tolist(),
    container=container,
    codec=codec,
    options=options,
  )
  return path.read_bytes()


def joined(path, firsts, container: str = 'mpegts', codec: str = 'libx264'):
  """Recordings laid end to end, as `cat` does."""
  data = [part(path, first, container, codec) for first in firsts]
  path.write_bytes(b''.join(data))
  return path


@pytest.mark.parametrize(
  ('firsts', 'container', 'codec'),
  [
    ((0, 0, 0), 'mpegts', 'libx264'),
    ((HOUR, 0, HOUR), 'mpegts', 'libx264'),
    ((0, HOUR), 'mpegts', 'mpeg2video'),
    ((0, HOUR, 0), 'mpeg', 'mpeg2video'),
    ((0, 0), 'vob', 'mpeg2video'),
    ((HOUR, 0), 'matroska', 'libx264'),
    ((0, 0), 'webm', 'libvpx'),
    ((0, 0, 0), 'hevc', 'libx265'),
    # Three half seconds before 33 bits are full.
    ((int(2**33 / 90_000 * RATE_HZ) - RATE_HZ // 2,), 'mpegts', 'libx264'),
  ],
  ids=lambda x: str(x).replace(' ', ''),
)
def test_joined_recordings_are_one_film(tmp_path, firsts, container, codec):
  source = joined(tmp_path / 'in', firsts, container, codec)
  video = read.read_video(source)
  ticks = np.tile(np.arange(RATE_HZ), len(firsts))
  np.testing.assert_array_equal(media_clips.ticks_of(video.frames), ticks)
  np.testing.assert_allclose(
    video.times, np.arange(len(ticks)) / RATE_HZ, atol=1e-3
  )
  assert video.seconds == pytest.approx(len(firsts), abs=1e-3)
  out = tmp_path / 'out.mkv'
  silence = np.zeros(round(video.seconds * 16_000), np.float32)
  remux.replace_sound(source, media.Audio(samples=silence, rate_hz=16_000), out)
  written = read.read_video(out)
  np.testing.assert_array_equal(media_clips.ticks_of(written.frames), ticks)
  np.testing.assert_allclose(written.times, video.times, atol=2e-3)


@pytest.mark.parametrize('suffix', ['.mp4', '.mov', '.mkv'])
def test_every_output_has_the_whole_film(tmp_path, suffix):
  source = joined(tmp_path / 'in', (HOUR, 0))
  out = tmp_path / f'out{suffix}'
  silence = media.Audio(samples=np.zeros(16_000, np.float32), rate_hz=16_000)
  assert remux.replace_sound(source, silence, out).is_copied
  assert probe.probe_video(out).num_frames == 2 * RATE_HZ
  assert len(read.read_audio(out).samples) == 2 * 16_000


def test_a_gap_of_a_few_seconds_is_one(tmp_path):
  source = joined(tmp_path / 'in', (0, 4 * RATE_HZ))
  assert probe.probe_video(source).seconds == pytest.approx(5, abs=0.1)


@pytest.mark.parametrize(
  ('container', 'bf'), [('h264', '0'), ('h264', '2'), ('avi', '2')]
)
def test_pictures_without_times_come_at_their_rate(tmp_path, container, bf):
  source = media_clips.encode(
    tmp_path / 'in',
    media_clips.planted(range(20)),
    container=container,
    options={'bf': bf},
  )
  video = read.read_video(source)
  np.testing.assert_array_equal(media_clips.ticks_of(video.frames), range(20))
  np.testing.assert_allclose(video.times, np.arange(20) / 25, atol=1e-6)
  silence = media.Audio(samples=np.zeros(16_000, np.float32), rate_hz=16_000)
  result = remux.replace_sound(source, silence, tmp_path / 'out.mp4')
  assert result.is_copied == (bf == '0')
  written = read.read_video(tmp_path / 'out.mp4')
  np.testing.assert_array_equal(media_clips.ticks_of(written.frames), range(20))
  np.testing.assert_allclose(written.times, video.times, atol=1e-3)


def test_a_track_that_comes_up_late_does_not_end_the_film(tmp_path, root):
  first, second = tmp_path / 'first', tmp_path / 'second.mp4'
  # More than the 5 MB at the start in which FFmpeg looks for tracks, and behind
  # the late one again, since it looks at the end as well.
  media_clips.encode(
    first,
    np.random.default_rng(0).integers(0, 255, (220, 128, 128, 3), np.uint8),
    container='mpegts',
    options={'crf': '1'},
  )
  write.write_video(
    second, media_clips.planted(range(25), 128, 128), rate_hz=25, audio=SILENCE
  )
  both = tmp_path / 'both.ts'
  with (
    av.open(str(second)) as source,
    av.open(str(tmp_path / 'second.ts'), 'w', format='mpegts') as out,
  ):
    copies = [out.add_stream_from_template(s) for s in source.streams]
    for packet in source.demux():
      if packet.size:
        packet.stream = copies[packet.stream.index]
        out.mux(packet)
  late = (tmp_path / 'second.ts').read_bytes()
  both.write_bytes(first.read_bytes() + late + first.read_bytes())
  with av.open(str(both)) as source:
    assert [stream.type for stream in source.streams] == ['video']
  # PyAV asks of a late track, beyond the end of an array, whether it is wanted.
  # There stands anything; here what says yes, where malloc is that of glibc.
  yes = 'glibc.malloc.tcache_count=0:glibc.malloc.perturb=1'
  program = 'import sys; from v2meow_jax.files import read;'
  program += 'print(len(read.read_video(sys.argv[1]).times))'
  done = subprocess.run(
    [sys.executable, '-c', program, both],
    cwd=root,
    env={**os.environ, 'GLIBC_TUNABLES': yes},
    capture_output=True,
    text=True,
  )
  assert done.stdout == '465\n', done.stderr


@pytest.mark.parametrize(
  ('container', 'codec', 'num_seen'),
  [
    ('flv', 'flv1', 1),
    ('mp4', 'libx264', 1),
    ('mov', 'libx264', 1),
    ('asf', 'msmpeg4v3', 1),
    ('matroska', 'libx264', 2),
    ('webm', 'libvpx', 2),
  ],
)
def test_recordings_that_would_not_be_seen_are_refused_with_the_way_out(
  tmp_path, container, codec, num_seen
):
  source = tmp_path / 'in'
  one = part(source, 0, container, codec)
  for num in (1, num_seen, num_seen + 1):
    source.write_bytes(one * num)
    if num <= num_seen:
      assert len(read.read_video(source).times) == num * RATE_HZ
  with pytest.raises(probe.UnsupportedMedia, match='ffmpeg -f concat') as error:
    probe.probe(source)
  begin = int(re.search(r'head -c (\d+) IN', str(error.value))[1])
  assert f'tail -c +{begin + 1} IN' in str(error.value)
  data = source.read_bytes()
  for part_of_it, num in ((data[:begin], num_seen), (data[begin:], 1)):
    source.write_bytes(part_of_it)
    assert len(read.read_video(source).times) == num * RATE_HZ


def test_a_wav_behind_a_wav_is_refused_and_what_is_no_recording_is_not(
  tmp_path,
):
  path = tmp_path / 'a.wav'
  write.write_audio(path, SILENCE)
  whole = path.read_bytes()
  for rest in (b'LIST\4\0\0\0abcd', b'\0' * 64, b'RIFF'):
    path.write_bytes(whole + rest)
    assert len(read.read_audio(path).samples) == 16_000
  path.write_bytes(whole * 2)
  with pytest.raises(probe.UnsupportedMedia, match=f'head -c {len(whole)} IN'):
    read.read_audio(path)


def recording(path, container: str, codec: str, sound_seconds: float) -> bytes:
  """A second of pictures with a click at its middle, in two languages."""
  form = 's16' if codec == 'mp2' else 'fltp'
  with av.open(str(path), 'w', format=container) as out:
    film = out.add_stream('mpeg2video', rate=RATE_HZ)
    film.width, film.height, film.pix_fmt = 64, 48, 'yuv420p'
    sounds = []
    for language in ('eng', 'fra'):
      sounds.append(out.add_stream(codec, rate=48_000, layout='mono'))
      sounds[-1].metadata['language'] = language
      sounds[-1].codec_context.format = form
    packets = []
    for pixels in media_clips.planted(range(RATE_HZ)):
      frame = av.VideoFrame.from_ndarray(pixels, format='rgb24')
      packets += film.encode(frame.reformat(format='yuv420p'))
    packets += film.encode(None)
    samples = np.zeros((1, round(48_000 * sound_seconds)), np.float32)
    samples[:, 24_000:24_048] = 0.9
    if form == 's16':
      samples = (32_767 * samples).astype(np.int16)
    for sound in sounds:
      frame = av.AudioFrame.from_ndarray(samples, form, 'mono')
      frame.sample_rate = 48_000
      packets += [*sound.encode(frame), *sound.encode(None)]
    out.mux(packets)
  return path.read_bytes()


def clicks(samples: np.ndarray, rate_hz: int) -> np.ndarray:
  """Times at which the level rises."""
  loud = np.flatnonzero(np.abs(samples) > 0.3)
  first = np.diff(loud, prepend=-rate_hz) > 0.2 * rate_hz
  return loud[first] / rate_hz


@pytest.mark.parametrize('codec', ['aac', 'mp2', 'libmp3lame'])
def test_sound_stays_with_the_pictures_of_its_part(tmp_path, codec):
  num = 12
  source, out = tmp_path / 'in.ts', tmp_path / 'out.mkv'
  for sound_seconds in (0.8, 1.0, 1.2):
    one = recording(tmp_path / 'one', 'mpegts', codec, sound_seconds)
    source.write_bytes(one * num)
    first = clicks(read.read_audio(tmp_path / 'one').samples, 16_000)
    wanted = first + np.arange(num)
    audio = read.read_audio(source)
    np.testing.assert_allclose(
      clicks(audio.samples, 16_000), wanted, atol=0.041
    )
    assert len(read.read_video(source).times) == num * RATE_HZ
    silence = media.Audio(samples=np.zeros(16_000, 'f4'), rate_hz=16_000)
    remux.replace_sound(source, silence, out)
    with av.open(str(out)) as opened:
      french = opened.streams.audio[1]
      assert french.language == 'fra'
      frames = [f for f in opened.decode(french) if f.pts is not None]
    scale = 32_767 if frames[0].format.name.startswith('s16') else 1
    heard = [
      float(f.pts * f.time_base) + click
      for f in frames
      for click in clicks(f.to_ndarray()[0] / scale, 48_000)
    ]
    # The French sound is copied in whole packets, of at most 26 ms.
    heard = np.array(heard)[np.diff(heard, prepend=-1) > 0.2]
    np.testing.assert_allclose(heard, wanted, atol=0.06)
