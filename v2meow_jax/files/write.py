"""Writes media: wav, flac, new mp4, and a new sound track under old pictures.

Files are moved into place when they are whole.
"""

# PyAV's stubs make optional what a stream that decodes always has.
# pyright: reportOperatorIssue=false, reportArgumentType=false
# pyright: reportOptionalOperand=false, reportReturnType=false
# pyright: reportCallIssue=false, reportOptionalMemberAccess=false

from collections.abc import Iterable
from collections.abc import Iterator
import fractions
import heapq
import io
import itertools
import os
import pathlib
import tempfile

import av
import numpy as np
import soundfile

from v2meow_jax import media
from v2meow_jax.files import atomic
from v2meow_jax.files import edit_list
from v2meow_jax.files import full_disk
from v2meow_jax.files import paths
from v2meow_jax.files import probe
from v2meow_jax.files import read

# Sample rates of MPEG-4 AAC (ISO/IEC 14496-3, table 1.18).
AAC_RATES_HZ = (
  *(7_350, 8_000, 11_025, 12_000, 16_000, 22_050, 24_000),
  *(32_000, 44_100, 48_000, 64_000, 88_200, 96_000),
)
_AAC_FRAME = 1024
# No dates, versions or addresses in the file: equal input, equal bytes.
_BITEXACT = {'fflags': '+bitexact', 'movflags': '+faststart'}

_PIECE_SECONDS = 1.0  # Frames held at once when pictures are encoded.


def write_audio(path: str | os.PathLike, audio: media.Audio) -> None:
  """Writes 16 bit .wav or .flac, by suffix.

  Args:
    path: Target file; replaced when it exists.
    audio: Sound to write; samples outside [-1, 1] are clipped, NaN becomes 0.

  Raises:
    ValueError: Another suffix.
    OSError: The target cannot be written.
  """
  suffix = pathlib.Path(path).suffix.lower()
  if suffix not in media.WRITTEN_AUDIO_SUFFIXES:
    raise ValueError(
      f'{os.fspath(path)!r} ends in {suffix!r}; audio can be written as'
      f' {" or ".join(media.WRITTEN_AUDIO_SUFFIXES)}.'
    )
  samples = np.nan_to_num(audio.samples, nan=0.0, posinf=1.0, neginf=-1.0)
  pcm = np.clip(np.round(samples * 32_768.0), -32_768, 32_767)
  # Its own writing says no more of a full disk than "System error".
  encoded = io.BytesIO()
  soundfile.write(
    encoded,
    pcm.astype(np.int16),
    audio.rate_hz,
    subtype='PCM_16',
    format=suffix[1:].upper(),
  )
  with atomic.replacing(path) as temp:
    pathlib.Path(temp).write_bytes(encoded.getbuffer())


def write_video(
  path: str | os.PathLike,
  frames: Iterable[np.ndarray],
  *,
  rate_hz: float | fractions.Fraction,
  audio: media.Audio | None = None,
) -> None:
  """Encodes a new mp4: H.264, yuv420p, and AAC; equal input, equal bytes.

  Args:
    path: Target file, .mp4; replaced when it exists.
    frames: uint8[height, width, 3] each, RGB, even height and width; an
      array uint8[frames, height, width, 3] or a generator.
    rate_hz: Frame rate, in Hz; a Fraction such as 30000/1001 is kept exactly.
    audio: Sound track; trimmed or padded with silence to the video's length.

  Raises:
    ValueError: No frames, frames of other shapes, or another suffix.
    OSError: The target cannot be written.
  """
  _require_mp4(path)
  if audio is not None:
    with atomic.replacing(path) as temp:
      write_video(temp, frames, rate_hz=rate_hz)
      mux(temp, audio, temp)
    return
  rate = fractions.Fraction(rate_hz).limit_denominator(1001)
  with (
    atomic.replacing(path) as temp,
    av.open(temp, 'w', format='mp4', options=_BITEXACT) as out,
  ):
    stream = None
    for index, pixels in enumerate(frames):
      if stream is None:
        stream = _add_h264(out, rate, np.shape(pixels))
      _check_frame(pixels, index, (stream.height, stream.width, 3))
      frame = av.VideoFrame.from_ndarray(pixels, format='rgb24')
      frame.pts, frame.time_base, frame.duration = index, 1 / rate, 1
      out.mux(stream.encode(frame))
    if stream is None:
      raise ValueError(f'{os.fspath(path)!r}: no frames to write; wanted one.')
    out.mux(stream.encode(None))


def mux(
  video_path: str | os.PathLike,
  audio: media.Audio,
  out_path: str | os.PathLike,
  *,
  limits: probe.Limits = probe.DEFAULT_LIMITS,
) -> bool:
  """Puts a new sound track under the pictures of a video.

  The pictures are copied, not encoded again: the same packets at the same
  times, upright flag included; a start offset becomes 0. The old sound is
  left out. What an edit list cuts away stays away: where a copy would show
  other frames, as for several stretches of a recording, the frames that the
  video presents are encoded as H.264 instead.

  The track is AAC and decodes to exactly round(seconds * rate_hz) samples.
  AAC comes in frames of 1024 and mp4 readers disagree on trimming the end, so
  the silence that fills a whole number of frames goes before the start, where
  the edit list that hides the encoder's delay hides it in every reader. Clips
  shorter than one frame are stored as ALAC, which has no delay.

  Args:
    video_path: Video that `probe.probe` accepts, with a codec mp4 can hold.
    audio: Sound track; trimmed or padded with silence to the video's length.
    out_path: Target file, .mp4; replaced when it exists; may equal
      `video_path`.
    limits: Limits beyond which the input is refused.

  Returns:
    Whether the pictures were copied.

  Raises:
    UnsupportedMedia: The input is refused, or mp4 cannot hold its codec.
    ValueError: Another suffix, or a sample rate AAC does not have.
    OSError: The target cannot be written.
  """
  _require_mp4(out_path)
  if audio.rate_hz not in AAC_RATES_HZ:
    raise ValueError(
      f'audio has {audio.rate_hz} Hz; AAC in mp4 wants one of'
      f' {AAC_RATES_HZ}; resample it.'
    )
  info = probe.probe_video(video_path, limits)
  audio = audio.fitted(max(1, round(info.seconds * audio.rate_hz)))
  with atomic.replacing(out_path) as temp:
    is_copied = _copies(info, audio, temp, limits)
    if not is_copied:
      _encode_pictures(info, audio, temp, limits)
    return is_copied


def check_muxable(
  video_path: str | os.PathLike,
  out_path: str | os.PathLike,
  *,
  limits: probe.Limits = probe.DEFAULT_LIMITS,
) -> int:
  """Raises what `mux` would raise, without encoding pictures.

  Args:
    video_path: Video that will get a soundtrack.
    out_path: Target file, .mp4; it is left as it is.
    limits: Limits beyond which the input is refused.

  Returns:
    Number of bytes of a copy of the pictures.
  """
  _require_mp4(out_path)
  info = probe.probe_video(video_path, limits)
  silence = np.zeros(_AAC_FRAME, np.float32)
  audio = media.Audio(samples=silence, rate_hz=AAC_RATES_HZ[0])
  folder = None
  if not paths.is_remote(out_path):
    folder = pathlib.Path(out_path).parent
  with tempfile.TemporaryDirectory(dir=folder) as temp:
    copy = os.path.join(temp, 'check.mp4')
    with full_disk.naming(out_path, copy):
      _copies(info, audio, copy, limits)
    return os.path.getsize(copy)


class _UneditedTimes(ValueError):
  """Packets that are cut away stand where the ones that are shown do."""


def _copies(
  info: probe.MediaInfo,
  audio: media.Audio,
  path: str,
  limits: probe.Limits,
) -> bool:
  """Writes an mp4 of copied pictures; whether it shows what its source does."""
  try:
    is_edited = _copy_pictures(info, audio, path, limits)
  except _UneditedTimes:
    return False
  return not is_edited or _presents(path, info)


def _presents(path: str, info: probe.MediaInfo) -> bool:
  """Whether a file shows as many frames, for as long, as its source."""
  copy = probe.probe_video(path)
  frame = info.seconds / info.num_frames
  same_length = abs(copy.seconds - info.seconds) < 0.5 * frame
  return same_length and copy.num_frames == info.num_frames


def _copy_pictures(
  info: probe.MediaInfo,
  audio: media.Audio,
  path: str,
  limits: probe.Limits,
) -> bool:
  """Writes an mp4 of copied pictures and new sound; whether some are hidden."""
  # Edit lists count in ticks of the movie: make one tick one sample.
  options = {**_BITEXACT, 'movie_timescale': str(audio.rate_hz)}
  with (
    probe.open_input(info.path, limits) as source,
    av.open(path, 'w', format='mp4', options=options) as out,
  ):
    pictures = probe.require_video_stream(source)
    if not probe.states_presentation(source, pictures):
      raise probe.UnsupportedMedia(
        f'{info.path}: AVI does not say when its B frames are shown, so they'
        ' cannot be copied; re-encode the video as mp4 or ask for a .wav.'
      )
    try:
      copied = out.add_stream_from_template(pictures, opaque=True)
      if pictures.codec_context.name == 'hevc':
        # Apple's players refuse the other tag, hev1.
        copied.codec_context.codec_tag = 'hvc1'
      encoder = _add_sound(out, audio)
      out.start_encoding()
    except (ValueError, av.error.FFmpegError) as error:
      raise probe.UnsupportedMedia(
        f'{info.path}: mp4 cannot hold its {pictures.codec_context.name}'
        ' pictures; re-encode the video as H.264 or ask for a .wav.'
      ) from error
    shown = _shown_packets(_copied_packets(source, pictures, copied, info))
    packets = heapq.merge(
      shown, _sound_packets(encoder, audio), key=_decode_time
    )
    hidden = False
    try:
      for packet in packets:
        hidden |= packet.is_discard
        out.mux(packet)
    except (av.error.ArgumentError, av.error.InvalidDataError) as error:
      if hidden:
        raise _UneditedTimes from error
      raise probe.UnsupportedMedia(
        f'{info.path}: the time stamps of its pictures are damaged, so they'
        ' cannot be copied; re-encode the video as H.264 or ask for a .wav.'
      ) from error
  if hidden:
    edit_list.end_after(path, info.seconds)
  return hidden


def _shown_packets(packets: Iterator[av.Packet]) -> Iterator[av.Packet]:
  """Leaves out what an edit list cuts away after the last packet shown.

  Packets before it are kept: those that are shown may need them.
  """
  hidden = []
  for packet in packets:
    hidden.append(packet)
    if not packet.is_discard:
      yield from hidden
      hidden = []


def _encode_pictures(
  info: probe.MediaInfo,
  audio: media.Audio,
  path: str,
  limits: probe.Limits,
) -> None:
  """Writes an mp4 of the frames that a video presents, encoded as H.264."""
  options = {**_BITEXACT, 'movie_timescale': str(audio.rate_hz)}
  ticks = 90_000
  pieces = read.iter_video(
    info.path, piece_seconds=_PIECE_SECONDS, limits=limits
  )
  with av.open(path, 'w', format='mp4', options=options) as out:
    first = next(pieces)
    even = tuple(n - n % 2 for n in first.frames.shape[1:3])
    rate = fractions.Fraction(info.rate_hz).limit_denominator(1001)
    stream = _add_h264(out, rate, (*even, 3))
    stream.codec_context.time_base = fractions.Fraction(1, ticks)
    encoder = _add_sound(out, audio)
    out.start_encoding()

    def encoded() -> Iterator[av.Packet]:
      last = -1
      for piece in itertools.chain([first], pieces):
        for time, pixels in zip(piece.times, piece.frames, strict=True):
          # A piece is led by the last frame of the one before.
          if (now := round(float(time) * ticks)) > last:
            pixels = np.ascontiguousarray(pixels[: even[0], : even[1]])
            frame = av.VideoFrame.from_ndarray(pixels, format='rgb24')
            frame.pts, frame.time_base = now, fractions.Fraction(1, ticks)
            yield from stream.encode(frame)
            last = now
      yield from stream.encode(None)

    sound = _sound_packets(encoder, audio)
    for packet in heapq.merge(encoded(), sound, key=_decode_time):
      out.mux(packet)


def combine(
  pictures_path: str | os.PathLike,
  sound_path: str | os.PathLike,
  out_path: str | os.PathLike,
  *,
  limits: probe.Limits = probe.DEFAULT_LIMITS,
) -> None:
  """Copies the pictures of one video and the sound of another into an mp4.

  Nothing is encoded again, and nothing else is copied: no titles, comments,
  chapters, subtitles or covers. Sound that began with the pictures of its own
  file begins with the new ones.

  Args:
    pictures_path: Video that `probe.probe` accepts.
    sound_path: Video with sound that `probe.probe` accepts; may equal
      `pictures_path`.
    out_path: Target file, .mp4; replaced when it exists.
    limits: Limits beyond which inputs are refused.

  Raises:
    UnsupportedMedia: An input is refused, has no sound, or mp4 cannot hold
      its codecs.
    ValueError: Another suffix.
    OSError: The target cannot be written.
  """
  _require_mp4(out_path)
  pictures_info = probe.probe_video(pictures_path, limits)
  sound_info = probe.probe_video(sound_path, limits)
  with (
    atomic.replacing(out_path) as temp,
    probe.open_input(pictures_info.path, limits) as picture_source,
    probe.open_input(sound_info.path, limits) as sound_source,
  ):
    pictures = probe.require_video_stream(picture_source)
    sound = probe.audio_stream(sound_source)
    if sound is None:
      raise probe.UnsupportedMedia(
        f'{sound_info.path}: no audio track; wanted one.'
      )
    options = {**_BITEXACT, 'movie_timescale': str(sound.rate)}
    try:
      with av.open(temp, 'w', format='mp4', options=options) as out:
        tracks = [
          (picture_source, pictures, pictures_info),
          (sound_source, sound, sound_info),
        ]
        copied = [
          _copied_packets(
            source, track, out.add_stream_from_template(track), info
          )
          for source, track, info in tracks
        ]
        for stream in out.streams:
          stream.metadata.clear()
        for packet in heapq.merge(*copied, key=_decode_time):
          out.mux(packet)
    except (ValueError, av.error.FFmpegError) as error:
      raise probe.UnsupportedMedia(
        f'{sound_info.path}: its sound or the pictures of {pictures_info.path}'
        f' cannot be copied into an mp4 ({error}); encode them as H.264 and AAC.'
      ) from error


def _require_mp4(path: str | os.PathLike) -> None:
  """Raises ValueError unless the path ends in .mp4."""
  suffix = pathlib.Path(path).suffix.lower()
  if suffix != media.WRITTEN_VIDEO_SUFFIX:
    raise ValueError(
      f'{os.fspath(path)!r} ends in {suffix!r}; video is written as'
      f' {media.WRITTEN_VIDEO_SUFFIX}.'
    )


def _check_frame(pixels: np.ndarray, index: int, wanted: tuple) -> None:
  """Raises ValueError unless a frame is uint8[height, width, 3], as wanted."""
  if pixels.shape != wanted or pixels.dtype != np.uint8:
    raise ValueError(
      f'frame {index} is {pixels.dtype}{list(pixels.shape)}; wanted'
      f' uint8{list(wanted)}, the shape of the first.'
    )


def _add_h264(
  out: av.container.OutputContainer, rate: fractions.Fraction, shape: tuple
) -> av.VideoStream:
  """Adds the video encoder for frames of this shape."""
  if len(shape) != 3 or shape[2] != 3 or shape[0] % 2 or shape[1] % 2:
    raise ValueError(
      f'frames have shape {list(shape)}; H.264 wants [height, width, 3]'
      ' with even height and width; crop or pad them.'
    )
  stream = out.add_stream('libx264', rate=rate)
  stream.height, stream.width = shape[:2]
  stream.pix_fmt = 'yuv420p'
  stream.codec_context.thread_count = 1
  stream.options = {
    'preset': 'veryfast',
    'crf': '20',
    'flags': '+bitexact',
    # In small pictures x264's macroblock tree reads memory it never wrote:
    # equal frames gave other bytes in 40 % of runs at 64x48.
    'mbtree': '0',
  }
  return stream


def _add_sound(
  out: av.container.OutputContainer, audio: media.Audio
) -> av.AudioStream:
  """Adds the audio encoder."""
  codec = 'aac' if len(audio.samples) >= _AAC_FRAME else 'alac'
  encoder = out.add_stream(codec, rate=audio.rate_hz, layout='mono')
  encoder.time_base = fractions.Fraction(1, audio.rate_hz)
  encoder.bit_rate = min(128_000, 6 * audio.rate_hz)
  encoder.options = {'flags': '+bitexact'}
  return encoder


def _copied_packets(
  source: av.container.InputContainer,
  track: av.stream.Stream,
  copied: av.stream.Stream,
  info: probe.MediaInfo,
) -> Iterator[av.Packet]:
  """The packets of a track, moved so that the file's pictures start at 0."""
  start = round(info.start_seconds / track.time_base)
  for packet in probe.packets(source, track):
    packet.stream = copied
    if packet.pts is not None:
      packet.pts -= start
    if packet.dts is not None:
      packet.dts -= start
    yield packet


def _sound_packets(
  encoder: av.AudioStream, audio: media.Audio
) -> Iterator[av.Packet]:
  """Encodes sound; `mux` explains the silence before the start of AAC."""
  lead = 0
  if encoder.codec_context.name == 'aac':
    lead = -len(audio.samples) % _AAC_FRAME
  samples = np.pad(np.clip(audio.samples, -1, 1), (lead, 0))
  if encoder.codec_context.name == 'alac':
    samples = np.round(samples * 32_767)
  format_ = {'aac': 'fltp', 'alac': 's16p'}[encoder.codec_context.name]
  dtype = np.float32 if format_ == 'fltp' else np.int16
  for start in range(0, len(samples), _AAC_FRAME):
    block = samples[None, start : start + _AAC_FRAME].astype(dtype)
    frame = av.AudioFrame.from_ndarray(block, format=format_, layout='mono')
    frame.sample_rate = audio.rate_hz
    frame.pts = start - lead
    frame.time_base = fractions.Fraction(1, audio.rate_hz)
    yield from encoder.encode(frame)
  yield from encoder.encode(None)


def _decode_time(packet: av.Packet) -> float:
  """Seconds at which a packet is due; orders the packets of both streams."""
  ticks = packet.pts if packet.dts is None else packet.dts
  return float(ticks * packet.time_base)
