"""Opens and describes untrusted media files safely.

No name, header or length is trusted: files are opened by absolute path, by
content, with the file protocol only; those in buckets as local copies.
"""

# PyAV's stubs make optional what a stream that decodes always has.
# pyright: reportOperatorIssue=false, reportArgumentType=false
# pyright: reportOptionalOperand=false, reportReturnType=false
# pyright: reportCallIssue=false, reportOptionalMemberAccess=false

from collections.abc import Iterator
import dataclasses
import fractions
import math
import os

import av

from v2meow_jax.files import clock
from v2meow_jax.files import copies
from v2meow_jax.files import joined
from v2meow_jax.files import paths
from v2meow_jax.files import sniff

UnsupportedMedia = sniff.UnsupportedMedia
WANTED = sniff.WANTED


@dataclasses.dataclass(frozen=True, kw_only=True)
class Limits:
  """Limits beyond which a file is refused before it costs time or memory.

  Attributes:
    max_pixels: Width times height of a picture; 36 million holds 8K.
    max_streams: Tracks in one file.
    max_seconds: Length of the clip.
    max_rate_hz: Mean frames a second.
    max_lost_fraction: Share of packets or of the announced duration that may
      be missing or damaged.
  """

  max_pixels: int = 36_000_000
  max_streams: int = 100
  max_seconds: float = 4 * 3600.0
  max_rate_hz: float = 1000.0
  max_lost_fraction: float = 0.05

  @property
  def decoder_pixels(self) -> int:
    """Pixels that a decoder may allocate for a picture of `max_pixels`.

    It rounds sides up, by 64 pixels or less, and the longer one is at most
    65,536: a picture that is turned takes another number.
    """
    return self.max_pixels + 64 * 65_536


DEFAULT_LIMITS = Limits()


@dataclasses.dataclass(frozen=True, kw_only=True)
class MediaInfo:
  """Describes the tracks of a media file, in place of whose path it may stand.

  Attributes:
    path: Absolute path, or the name in a bucket.
    seconds: Length of the video: end of the last frame (time stamp + duration)
      minus time stamp of the first. Without video: the same for the audio
      packets.
    start_seconds: Time stamp of that first frame in the file, exactly; it is
      0 on the clip's own time line.
    last_seconds: Time at which the last frame begins, from the start of the
      clip.
    width: Width of the upright picture as stored, in pixels; 0 without video.
    height: Height of the upright picture as stored, in pixels; 0 without video.
    num_frames: Video packets, one per frame; 0 without video.
    num_bytes: Size of the video packets, in bytes; 0 without video.
    has_video: Whether there is a video track; cover art is none.
    has_audio: Whether there is an audio track.
    sample_rate_hz: Sample rate in the header of the audio track; 0 without one.
    num_channels: Channels in the header of the audio track; 0 without one.
    aspect: Width of a pixel over its height.
  """

  path: str
  seconds: float
  start_seconds: fractions.Fraction
  last_seconds: float
  width: int
  height: int
  num_frames: int
  num_bytes: int
  has_video: bool
  has_audio: bool
  sample_rate_hz: int
  num_channels: int
  aspect: fractions.Fraction = fractions.Fraction(1)

  @property
  def rate_hz(self) -> float:
    """Mean frames a second; 0 without video."""
    return self.num_frames / self.seconds

  def __fspath__(self) -> str:
    """The path, or the name in a bucket."""
    return self.path


def probe(
  path: str | os.PathLike, limits: Limits = DEFAULT_LIMITS
) -> MediaInfo:
  """Describes a file after reading all packets and decoding one frame.

  Args:
    path: Video or audio file, here or in a bucket, or its description, which
      is given back without another look.
    limits: Limits beyond which the file is refused.

  Returns:
    The description of the file.

  Raises:
    UnsupportedMedia: Missing, empty, a folder, text, an image, damaged, cut
      short, or beyond the limits.
  """
  if isinstance(path, MediaInfo):
    return path
  with open_input(path, limits) as container:
    name = _absolute(path)
    video, audio = video_stream(container), audio_stream(container)
    main = video or audio
    if main is None:
      raise UnsupportedMedia(f'{name}: no video or audio track; {WANTED}.')
    spans, size = _scan(container, video, audio, name, limits)
    span = spans[main.index]
    if span.first is None or span.seconds <= 0:
      raise UnsupportedMedia(f'{name}: lasts zero seconds; {WANTED}.')
    joined.require_one(name)
    if video is not None:
      _end_as_stated(container, video, span)
      _check_video(container, video, spans, size, name, limits)
    return MediaInfo(
      path=name,
      seconds=float(span.seconds),
      start_seconds=span.start,
      last_seconds=float(span.last - span.start),
      width=size[0] if size else 0,
      height=size[1] if size else 0,
      num_frames=span.num_packets if video else 0,
      num_bytes=span.num_bytes if video else 0,
      has_video=video is not None,
      has_audio=audio is not None,
      sample_rate_hz=audio.codec_context.sample_rate if audio else 0,
      num_channels=audio.codec_context.layout.nb_channels if audio else 0,
      aspect=(video and video.sample_aspect_ratio) or fractions.Fraction(1),
    )


def _absolute(path: str | os.PathLike) -> str:
  try:
    return paths.absolute(path)
  except ValueError as e:
    raise UnsupportedMedia(str(e)) from e


def probe_video(
  path: str | os.PathLike, limits: Limits = DEFAULT_LIMITS
) -> MediaInfo:
  """Describes a video; a file without a video track is UnsupportedMedia."""
  try:
    info = probe(path, limits)
  except UnsupportedMedia as e:
    raise UnsupportedMedia(str(e).replace(WANTED, sniff.WANTED_VIDEO)) from e
  if not info.has_video:
    raise _audio_only(info.path)
  return info


def open_input(
  path: str | os.PathLike, limits: Limits = DEFAULT_LIMITS
) -> av.container.InputContainer:
  """Opens a media file for reading, by content, whatever its extension.

  Args:
    path: Regular file, here or in a bucket.
    limits: Limits beyond which the file is refused; here checked on headers.

  Returns:
    The open container; the caller closes it.

  Raises:
    UnsupportedMedia: See `probe`; here from the headers alone.
  """
  name = _absolute(path)
  sniff.require_media(name)
  options = {
    'protocol_whitelist': 'file',
    'format_whitelist': sniff.FORMATS,
    'max_pixels': str(limits.decoder_pixels),
    'fflags': '+genpts',
  }
  try:
    # Once it is open, a file may lose its name.
    with copies.held(name) as file:
      container = av.open(str(file), options=options, metadata_errors='replace')
  except copies.CopyError as error:
    raise UnsupportedMedia(str(error)) from error
  except (av.error.FFmpegError, ValueError) as error:
    raise UnsupportedMedia(
      f'{name}: damaged, cut short or not media'
      f' ({getattr(error, "strerror", error)}); {WANTED}.'
    ) from error
  try:
    _check_headers(container, name, limits)
  except UnsupportedMedia:
    container.close()
    raise
  return container


def video_stream(
  container: av.container.InputContainer,
) -> av.VideoStream | None:
  """The film: the track that players choose, or None when there is none.

  Cover art is no film. A track that is marked as the default comes first, then
  the one with the most frames, then the one with the largest pictures.
  """

  def rank(stream: av.VideoStream) -> tuple[bool, int, int]:
    is_default = bool(stream.disposition & av.stream.Disposition.default)
    return is_default, stream.frames, stream.width * stream.height

  films = [
    stream
    for stream in container.streams.video
    if stream.codec_context is not None
    and not stream.disposition & av.stream.Disposition.attached_pic
  ]
  return max(films, key=rank, default=None)


def require_video_stream(
  container: av.container.InputContainer,
) -> av.VideoStream:
  """The film; UnsupportedMedia when there is none."""
  stream = video_stream(container)
  if stream is None:
    raise _audio_only(container.name)
  return stream


def audio_stream(
  container: av.container.InputContainer,
) -> av.AudioStream | None:
  """The first audio track whose codec is known, or None."""
  for stream in container.streams.audio:
    if stream.codec_context is not None:
      return stream
  return None


def codec_name(stream: av.VideoStream) -> str:
  """Name of the codec of a track, whichever library decodes it."""
  return stream.codec_context.codec.canonical_name


def states_presentation(
  container: av.container.InputContainer, stream: av.VideoStream
) -> bool:
  """Whether packets have presentation times.

  Not where B frames are in an AVI, or in no container.
  """
  is_silent = container.format.name == 'avi' or clock.has_none(container)
  return not (is_silent and stream.codec_context.has_b_frames)


def packets(
  container: av.container.InputContainer, *streams: av.stream.Stream
) -> Iterator[av.Packet]:
  """Packets with data, on one clock, up to the end of what can be read."""
  film = video_stream(container)
  wanted = {stream.index for stream in streams}
  # The clock is that of the film, also where only other tracks are wanted.
  read = {s.index: s for s in (*streams, film) if s is not None}
  demuxed = _demuxed(container, tuple(read.values()))
  for packet in clock.corrected(container, demuxed, film):
    if packet.stream.index in wanted:
      yield packet


def _demuxed(
  container: av.container.InputContainer, streams: tuple[av.stream.Stream, ...]
) -> Iterator[av.Packet]:
  demuxed = container.demux(*streams)
  while True:
    try:
      packet = next(demuxed)
    # At the end, PyAV looks for tracks that came up only while it read.
    except (StopIteration, IndexError, av.error.FFmpegError):
      return
    if packet.size:
      yield packet


def orientation(frame: av.VideoFrame) -> tuple[bool, bool, bool]:
  """Reads from the display matrix how to turn a decoded frame upright.

  Returns:
    (transpose, flip_rows, flip_columns), in this order.
  """
  matrix = display_matrix(frame)
  if matrix is None:
    return False, False, False
  a, b, _, c, d = matrix[:5]
  # x = a column + c row, y = b column + d row.
  if abs(b) > abs(a):
    return True, b < 0, c < 0
  return False, d < 0, a < 0


def display_matrix(frame: av.VideoFrame) -> list[int] | None:
  """The nine numbers that say how to turn a decoded frame; None: upright."""
  for data in frame.side_data:
    if data.type.name == 'DISPLAYMATRIX':
      return memoryview(bytes(data)).cast('i').tolist()
  return None


def _audio_only(name: str) -> UnsupportedMedia:
  """The error for a file without pictures."""
  return UnsupportedMedia(
    f'{name}: audio only, no video track; wanted a video.'
  )


def _check_headers(
  container: av.container.InputContainer, name: str, limits: Limits
) -> None:
  """Raises UnsupportedMedia when the headers announce too much."""
  if len(container.streams) > limits.max_streams:
    raise UnsupportedMedia(
      f'{name}: {len(container.streams)} tracks; at most'
      f' {limits.max_streams} are read; keep the film alone: ffmpeg -i IN -map'
      ' 0:v:0 -c copy OUT.mkv.'
    )
  film = video_stream(container)
  if film is None:
    if any(stream.codec_context is None for stream in container.streams.video):
      raise UnsupportedMedia(
        f'{name}: the codec of its pictures is not known; export it as'
        ' H.264 with what made it.'
      )
    return
  require_size(name, film.width, film.height, limits)
  film.codec_context.options = {'max_pixels': str(limits.decoder_pixels)}


def require_size(name: str, width: int, height: int, limits: Limits) -> None:
  """Raises UnsupportedMedia when a picture has too many pixels."""
  if width * height > limits.max_pixels:
    raise UnsupportedMedia(
      f'{name}: pictures of {width}x{height}; at most {limits.max_pixels} pixels'
      ' are read; shrink them first: ffmpeg -i IN -vf scale=3840:-2 OUT.mp4.'
    )


def _scan(
  container: av.container.InputContainer,
  video: av.VideoStream | None,
  audio: av.AudioStream | None,
  name: str,
  limits: Limits,
) -> tuple[dict[int, clock.Extent], tuple[int, int] | None]:
  """Spans of both tracks, and the upright size of the first decoded picture."""
  streams = [s for s in (video, audio) if s is not None]
  spans = {s.index: clock.Extent(s.time_base) for s in streams}
  size = None
  first, stop = math.inf, 0.0
  for packet in packets(container, *streams):
    if size is None and packet.stream is video:
      size = _upright_size(video, packet)
    span = spans[packet.stream.index]
    span.add(packet)
    if span.first is None:
      continue
    tick = packet.time_base.numerator / packet.time_base.denominator
    first = min(first, span.first * tick)
    stop = max(stop, float(span.stop) * tick)
    if stop - first > limits.max_seconds:
      raise UnsupportedMedia(
        f'{name}: lasts {stop - first:.0f} s or more; at most'
        f' {limits.max_seconds:.0f} s are read; cut it first: ffmpeg -i IN -t'
        f' {limits.max_seconds:.0f} -c copy OUT.mkv.'
      )
  if video is not None and size is None:
    size = _upright_size(video, None)
  return spans, size


def _end_as_stated(
  container: av.container.InputContainer,
  video: av.VideoStream,
  span: clock.Extent,
) -> None:
  """Lets the pictures of an mp4 end where its header says.

  With B frames, the length of its packets is that of a step in decoding, which
  may be longer than the last picture is shown.
  """
  if 'mp4' in container.format.name and video.duration:
    stop = span.first + video.duration
    if stop > span.final:
      span.stop = min(span.stop, stop)


def _upright_size(
  video: av.VideoStream, packet: av.Packet | None
) -> tuple[int, int] | None:
  """Width and height of the next picture; None when there is none yet."""
  try:
    frames = video.decode(packet)
  except av.error.FFmpegError:
    return None
  if not frames:
    return None
  size = (frames[0].width, frames[0].height)
  return size[::-1] if orientation(frames[0])[0] else size


def _check_video(
  container: av.container.InputContainer,
  video: av.VideoStream,
  spans: dict[int, clock.Extent],
  size: tuple[int, int] | None,
  name: str,
  limits: Limits,
) -> None:
  """Raises UnsupportedMedia when packets contradict headers or limits."""
  span = spans[video.index]
  seconds = float(span.seconds)
  if size is None:
    raise UnsupportedMedia(
      f'{name}: no picture could be decoded; it is {_why_unseen(video, limits)};'
      ' if a player shows it: ffmpeg -i IN -vf scale=1280:-2 OUT.mp4.'
    )
  require_size(name, *size, limits)
  if container.format.name == 'gif' and span.num_packets == 1:
    raise UnsupportedMedia(f'{name}: an image; {WANTED}.')
  if span.num_packets > limits.max_rate_hz * max(seconds, 1.0):
    raise UnsupportedMedia(
      f'{name}: {span.num_packets / seconds:.0f} frames a second; at most'
      f' {limits.max_rate_hz:g} are read; leave some out first: ffmpeg -i IN -r'
      ' 60 OUT.mp4.'
    )
  if clock.leaps(container):
    return
  # Durations are counted from 0 by some formats, from the start by others.
  read = max(span.end, span.seconds)
  announced = (video.duration or 0) * video.time_base
  require_whole(name, float(read), float(announced), limits)
  longest = max(max(s.end, s.seconds) for s in spans.values())
  announced = (container.duration or 0) / av.time_base
  require_whole(name, float(longest), announced, limits)


def _why_unseen(video: av.VideoStream, limits: Limits) -> str:
  """Reason why no picture of a track can be decoded."""
  if video.codec_context.codec_tag in ('encv', 'drmi'):
    return 'encrypted'
  if not video.width:
    return f'damaged, or larger than {limits.max_pixels} pixels'
  return 'damaged or encrypted'


def require_whole(
  name: str, seconds: float, announced: float, limits: Limits
) -> None:
  """Raises UnsupportedMedia when much less was read than was announced."""
  if announced - seconds > 0.1 + limits.max_lost_fraction * announced:
    raise UnsupportedMedia(
      f'{name}: announces {announced:.2f} s but only {seconds:.2f} s can be'
      ' read; the file is cut short or damaged; for what is there: ffmpeg -i IN'
      ' OUT.mp4.'
    )
