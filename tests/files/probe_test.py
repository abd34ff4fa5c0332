"""What is refused, before it costs anything and without following links."""

import socket
import struct
import subprocess
import sys

import av
import numpy as np
import pytest

from tests.fakes import media_clips
from v2meow_jax import media
from v2meow_jax.files import probe
from v2meow_jax.files import read
from v2meow_jax.files import sniff
from v2meow_jax.files import write

TONE = media.Audio(
  samples=np.float32(0.3 * np.sin(np.arange(32_000) / 10)), rate_hz=16_000
)


@pytest.fixture
def clip(tmp_path):
  """Two seconds of pictures and sound."""
  path = tmp_path / 'clip.mp4'
  frames = np.random.default_rng(0).integers(0, 255, (50, 48, 64, 3), np.uint8)
  write.write_video(path, frames, rate_hz=25, audio=TONE)
  return path


def _refusal(path, **kwargs) -> str:
  """The one line with which `read_video` refuses a file."""
  with pytest.raises(probe.UnsupportedMedia) as caught:
    read.read_video(path, **kwargs)
  assert '\n' not in str(caught.value)
  return str(caught.value)


def test_probe_says_what_is_in_a_file(clip):
  info = probe.probe(clip)
  with av.open(str(clip)) as container:
    sizes = [packet.size for packet in container.demux(video=0)]
  assert info == probe.MediaInfo(
    path=str(clip),
    seconds=2.0,
    start_seconds=0,
    last_seconds=1.96,
    width=64,
    height=48,
    num_frames=50,
    num_bytes=sum(sizes),
    has_video=True,
    has_audio=True,
    sample_rate_hz=TONE.rate_hz,
    num_channels=1,
  )
  assert info.rate_hz == 25


@pytest.mark.parametrize(
  'content,reason',
  [
    (b'', 'empty file'),
    (b'hello\n', 'text, not media'),
    (b'#EXTM3U\n#EXTINF:1,\n/etc/passwd\n', 'text, not media'),
    (b'ffconcat version 1.0\nfile clip.mp4\n', 'text, not media'),
    (b'<?xml version="1.0"?><MPD></MPD>', 'text, not media'),
    (b'v=0\no=- 0 0 IN IP4 127.0.0.1\n', 'text, not media'),
    (b'\x89PNG\r\n\x1a\n' + bytes(99), 'an image'),
    (b'\xff\xd8\xff\xe0' + bytes(99), 'an image'),
    (b'RIFF\0\0\0\0WEBPVP8 ', 'an image'),
    (b'\0\0\0\x1cftypavif' + bytes(99), 'an image'),
    (bytes(range(256)), 'not a known kind'),
    (b'\0\0\0\x18ftypmp42' + bytes(99), 'damaged|no video'),
  ],
)
def test_what_is_not_media_is_named(tmp_path, content, reason):
  path = tmp_path / 'upload.mp4'
  path.write_bytes(content)
  with pytest.raises(probe.UnsupportedMedia, match=f'upload.mp4: .*{reason}'):
    probe.probe(path)


@pytest.mark.parametrize(
  'name,reason',
  [
    ('missing.mp4', 'No such file'),
    ('.', 'not a file'),
    ('a\0b', 'null byte'),
    ('x' * 4096, 'too long'),
    ('http://127.0.0.1:9/x.mp4', 'begins with http://; wanted a path'),
    ('concat:clip.mp4|clip.mp4', 'No such file'),
  ],
)
def test_a_path_is_only_ever_a_file(clip, monkeypatch, name, reason):
  monkeypatch.chdir(clip.parent)
  assert reason in _refusal(name)


@pytest.mark.parametrize('sniffed', [True, False])
def test_playlists_reach_no_other_file_and_no_host(clip, monkeypatch, sniffed):
  if not sniffed:  # The second line of defence, alone.
    monkeypatch.setattr(sniff, 'require_media', lambda name: None)
  with socket.create_server(('127.0.0.1', 0)) as server:
    server.settimeout(0.2)
    url = f'http://127.0.0.1:{server.getsockname()[1]}/a.mp4'
    for target in (url, 'clip.mp4', str(clip)):
      for text in (
        f'#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n{target}\n',
        f'ffconcat version 1.0\nfile {target}\n',
        f'v=0\no=- 0 0 IN IP4 127.0.0.1\nm=video 9 RTP/AVP 96\na={target}\n',
      ):
        for name in ('upload.mp4', 'upload.m3u8'):
          path = clip.with_name(name)
          path.write_text(text)
          _refusal(path)
    with pytest.raises(TimeoutError):
      server.accept()


def test_sound_alone_is_no_video(tmp_path):
  sound = tmp_path / 'sound.wav'
  write.write_audio(sound, TONE)
  assert 'audio only' in _refusal(sound)
  info = probe.probe(sound)
  assert (info.has_video, info.has_audio, info.seconds) == (False, True, 2.0)


def test_cover_art_is_no_video(clip, tmp_path):
  path = media_clips.add_cover(clip, tmp_path / 'song.m4a')
  assert 'audio only' in _refusal(path)
  assert len(read.read_audio(path).samples) >= len(TONE.samples)


@pytest.mark.parametrize('share', [0.1, 0.5, 0.8])
@pytest.mark.parametrize('fast_start', [True, False])
def test_a_file_cut_short_is_refused(clip, tmp_path, share, fast_start):
  if not fast_start:
    clip = media_clips.encode(
      tmp_path / 'late.mp4', read.read_video(clip).frames
    )
  data = clip.read_bytes()
  clip.write_bytes(data[: int(len(data) * share)])
  message = _refusal(clip)
  assert 'cut short' in message
  with pytest.raises(probe.UnsupportedMedia, match='cut short') as error:
    probe.probe_video(clip)
  assert 'or audio' not in str(error.value)
  if fast_start and share > 0.1:
    assert 'announces 2.00 s but only' in message


def test_lost_sound_at_the_end_does_not_cost_the_pictures(clip):
  data = clip.read_bytes()
  clip.write_bytes(data[:-10])
  assert len(read.read_video(clip).frames) >= 48


def test_a_header_bomb_is_refused_unread(tmp_path):
  path = tmp_path / 'bomb.mov'
  with av.open(str(path), 'w') as out:
    stream = out.add_stream('png', rate=25)
    stream.height = stream.width = 12_000
    stream.pix_fmt = 'monob'
    frame = av.VideoFrame(12_000, 12_000, 'monob')
    for plane in frame.planes:  # Their memory holds whatever was there.
      plane.update(bytes(plane.buffer_size))
    out.mux(stream.encode(frame))
    out.mux(stream.encode(None))
  assert path.stat().st_size < 100_000
  code = (
    'import pathlib, re, sys\n'
    'from v2meow_jax.files import probe, read\n'
    'try: read.read_video(sys.argv[1])\n'
    'except probe.UnsupportedMedia as error: print(error)\n'
    # Not ru_maxrss, which starts at the size of the parent.
    'status = pathlib.Path("/proc/self/status").read_text()\n'
    'print(int(re.search(r"VmHWM:\\s+(\\d+)", status)[1]) // 1024)\n'
  )
  done = subprocess.run(
    [sys.executable, '-c', code, str(path)],
    check=True,
    capture_output=True,
    text=True,
  )
  message, megabytes = done.stdout.splitlines()
  assert 'larger than 36000000 pixels' in message and int(megabytes) < 400


def test_a_container_that_hides_the_size_is_no_way_in(tmp_path):
  path = media_clips.encode(
    tmp_path / 'clip', media_clips.planted([1], height=256, width=256)
  )
  data = bytearray(path.read_bytes())
  at = data.index(b'avc1', data.index(b'stsd')) + 28
  data[at : at + 4] = struct.pack('>HH', 64, 64)
  path.write_bytes(data)
  assert '256x256' in _refusal(path, limits=probe.Limits(max_pixels=9000))


@pytest.mark.parametrize(
  'limits,reason',
  [
    ({'max_pixels': 64 * 48 - 1}, '64x48'),
    ({'max_streams': 1}, '2 tracks'),
    ({'max_seconds': 1.5}, 'at most 2 s are read'),
    ({'max_rate_hz': 24}, '25 frames a second'),
  ],
)
def test_limits_are_kept(clip, limits, reason):
  assert reason in _refusal(clip, limits=probe.Limits(**limits))
  read.read_video(clip)


def test_a_huge_gap_is_refused_at_once(tmp_path):
  path = media_clips.encode(
    tmp_path / 'gap',
    media_clips.planted(range(3)),
    ticks=[0, 1, 25 * 10**6],
    container='matroska',
  )
  assert 'at most 14400 s' in _refusal(path)


def test_sound_that_begins_hours_late_is_refused_unread(tmp_path):
  path = tmp_path / 'late.mkv'
  with av.open(str(path), 'w') as out:
    video = out.add_stream('mpeg4', rate=25)
    video.height, video.width, video.pix_fmt = 48, 64, 'yuv420p'
    sound = out.add_stream('pcm_s16le', rate=16_000, layout='mono')
    picture = media_clips.planted([1])[0]
    out.mux(video.encode(av.VideoFrame.from_ndarray(picture, format='rgb24')))
    out.mux(video.encode(None))
    silence = np.zeros((1, 1600), np.int16)
    frame = av.AudioFrame.from_ndarray(silence, format='s16', layout='mono')
    frame.sample_rate, frame.pts = 16_000, 16_000 * 10**6
    out.mux(sound.encode(frame))
  with pytest.raises(probe.UnsupportedMedia, match='at most 14400 s'):
    read.read_audio(path)


def test_pictures_in_an_unknown_codec_are_refused(tmp_path):
  path = media_clips.encode(
    tmp_path / 'clip', media_clips.planted([1, 2]), container='matroska'
  )
  data = path.read_bytes().replace(b'V_MPEG4/ISO/AVC', b'V_MPEG9/OSI/CVA')
  path.write_bytes(data)
  assert 'codec of its pictures is not known' in _refusal(path)


def test_a_size_that_grows_beyond_the_limit_is_not_decoded(tmp_path):
  parts = [
    media_clips.encode(
      tmp_path / str(size),
      media_clips.planted(range(25), height=size, width=size),
      ticks=np.arange(25) + first,
      container='mpegts',
    )
    for first, size in ((0, 64), (25, 256))
  ]
  both = tmp_path / 'both'
  both.write_bytes(b''.join(p.read_bytes() for p in parts))
  limits = probe.Limits(max_pixels=10_000)
  assert '256x256' in _refusal(both, limits=limits)


def test_a_track_without_frames_lasts_zero_seconds(tmp_path):
  path = tmp_path / 'none.mp4'
  with av.open(str(path), 'w') as out:
    stream = out.add_stream('libx264', rate=25)
    stream.height = stream.width = 64
    stream.pix_fmt = 'yuv420p'
    out.start_encoding()
  assert 'no video or audio track' in _refusal(path)
