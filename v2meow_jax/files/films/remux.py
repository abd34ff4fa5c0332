"""Puts new sound under the pictures of a film, which stay as they are."""

# PyAV's stubs make optional what a stream that decodes always has.
# pyright: reportOperatorIssue=false, reportArgumentType=false
# pyright: reportOptionalOperand=false, reportReturnType=false
# pyright: reportCallIssue=false, reportOptionalMemberAccess=false

from collections.abc import Iterator
import dataclasses
import fractions
import heapq
import os

import av

from v2meow_jax import media
from v2meow_jax.files import atomic
from v2meow_jax.files import probe
from v2meow_jax.files import read
from v2meow_jax.files.films import containers
from v2meow_jax.files.films import display_size
from v2meow_jax.files.films import edit_list
from v2meow_jax.files.films import encode
from v2meow_jax.files.films import extras
from v2meow_jax.files.films import sounds

# Codecs that no container of films holds so that players show them.
_ANIMATIONS = ('gif', 'webp')
# A writer's answers to tracks and times that it cannot hold.
_REFUSALS = (
  av.error.ArgumentError,
  av.error.InvalidDataError,
  av.error.PatchWelcomeError,
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Remuxed:
  """What became of a film that got new sound.

  Attributes:
    picture: 'copied', or the codec that it was encoded with again.
    reason: Reason why it was encoded again; None: it was copied.
    left_out: Phrases for all that the film has besides pictures and old sound
      and the new file has not.
  """

  picture: str
  reason: str | None
  left_out: tuple[str, ...]

  @property
  def is_copied(self) -> bool:
    """Whether the packets of the pictures are those of the film."""
    return self.reason is None


def replace_sound(
  video_path: str | os.PathLike,
  audio: media.Sound,
  out_path: str | os.PathLike,
  *,
  is_bare: bool = False,
  limits: probe.Limits = probe.DEFAULT_LIMITS,
) -> Remuxed:
  """Puts a new sound track under the pictures of a video.

  The pictures are copied, not encoded again: the same packets at the same
  times, with turn, pixel aspect, colours and HDR; a start offset becomes 0. Old
  sound in the language of the film is left out; `extras` says what goes along.
  What an edit list cuts away stays away. Where a copy would show other frames,
  as for several stretches of a recording, the frames that the video presents
  are encoded instead.

  The track decodes to exactly round(seconds * rate_hz) samples: AAC in .mp4 and
  .mov (ALAC when it is shorter than one frame of AAC), FLAC in .mkv, and in
  .webm Opus, at 48 kHz.

  Args:
    video_path: Video that `probe.probe` accepts.
    audio: Sound track; trimmed or padded with silence to the video's length.
    out_path: Target file, in a suffix of `containers.ALL`; replaced when it
      exists; may equal `video_path`.
    is_bare: Whether to leave out all but pictures and new sound.
    limits: Limits beyond which the input is refused.

  Returns:
    What became of the film.

  Raises:
    UnsupportedMedia: The input is refused, or another container than the one
      asked for holds its pictures.
    ValueError: Another suffix, or a sample rate AAC does not have.
    OSError: The target cannot be written.
  """
  container = containers.of(out_path)
  audio = encode.at_rate_of(container, audio)
  info = probe.probe_video(video_path, limits)
  reason = _why_not_copied(info, container, limits)
  num_samples = max(1, round(info.seconds * audio.rate_hz))
  audio = sounds.Fitted(audio, num_samples)
  with atomic.replacing(out_path) as temp:
    job = _Job(info, audio, temp, container, limits)
    picture, carried = 'copied', None
    if reason is None:
      reason, carried = _copy(job, is_bare)
    if reason is not None:
      picture, carried = _encode(job, is_bare)
    left_out = ()
    if not is_bare:
      left_out = extras.left_out(info.path, temp, carried, limits)
  return Remuxed(picture=picture, reason=reason, left_out=left_out)


def check(
  video_path: str | os.PathLike,
  out_path: str | os.PathLike,
  *,
  limits: probe.Limits = probe.DEFAULT_LIMITS,
) -> int:
  """Raises what `replace_sound` would raise, without encoding pictures.

  Args:
    video_path: Video that will get a soundtrack.
    out_path: Target file; it is left as it is.
    limits: Limits beyond which the input is refused.

  Returns:
    Number of bytes of the pictures, which a copy has as well; 0 when there will
    be none.
  """
  container = containers.of(out_path)
  info = probe.probe_video(video_path, limits)
  if _why_not_copied(info, container, limits) is not None:
    return 0
  return info.num_bytes


@dataclasses.dataclass(frozen=True)
class _Job:
  """A film, its new sound, and the file to write."""

  info: probe.MediaInfo
  audio: media.Sound
  path: str
  container: containers.Container
  limits: probe.Limits

  @property
  def needs_display_size(self) -> bool:
    """Whether the pixel aspect is written after all else."""
    return self.info.aspect != 1 and not self.container.has_edit_lists

  def open_out(self) -> av.container.OutputContainer:
    """The new file."""
    # Dolby Vision and 360-degree pictures are marked by boxes that FFmpeg calls
    # unofficial.
    options = {**encode.BITEXACT, 'strict': 'unofficial'}
    if self.container.has_edit_lists:
      # Edit lists count in ticks of the movie: make one tick one sample.
      options['movie_timescale'] = str(self.audio.rate_hz)
      options['movflags'] = '+faststart'
    if self.needs_display_size:
      options['write_crc32'] = '0'
    return av.open(
      self.path, 'w', format=self.container.format_name, options=options
    )


# What goes along with pictures and sound: nothing, tags and chapters, or tracks
# as well.
_BARE, _TAGS, _ALL = range(3)


def _levels(is_bare: bool) -> tuple[int, ...]:
  """What to try, one after the other, until the writer takes it."""
  return (_BARE,) if is_bare else (_ALL, _TAGS, _BARE)


class _UneditedTimes(ValueError):
  """Packets that are cut away stand where the ones that are shown do."""


def _why_not_copied(
  info: probe.MediaInfo, container: containers.Container, limits: probe.Limits
) -> str | None:
  """Reason to encode pictures again; None: there is none so far.

  Raises:
    UnsupportedMedia: Another container holds them.
  """
  with probe.open_input(info.path, limits) as source:
    film = probe.require_video_stream(source)
    codec = probe.codec_name(film)
    stated = probe.states_presentation(source, film)
  suffixes = containers.suffixes_for(codec)
  if suffixes and container.suffix not in suffixes:
    raise probe.UnsupportedMedia(
      f'{info.path}: {container.suffix[1:]} cannot hold its {codec} pictures so'
      f' that players show them; ask for {" or ".join(suffixes)}, or re-encode'
      f' the video first: ffmpeg -i IN OUT{container.suffix}.'
    )
  if not suffixes:
    return f'its {codec} pictures cannot be copied into a film'
  if not stated:
    return 'it does not say when its B frames are shown'
  return None


def _copy(job: _Job, is_bare: bool) -> tuple[str | None, list[int]]:
  """Copies the film; why what was written is no copy, and tracks that went."""
  for level in _levels(is_bare):
    try:
      is_edited, carried = _write_copy(job, level)
    except _UneditedTimes:
      return 'its edit list cannot be copied', []
    except _REFUSALS:
      if level == _BARE:
        return 'the time stamps of its pictures are damaged', []
      continue  # A track beside the film may be to blame.
    if _presents(job):
      return None, carried
    if is_edited:
      return 'its edit list cannot be copied', []
    return 'the time stamps of its pictures are damaged', []
  raise AssertionError


def _presents(job: _Job) -> bool:
  """Whether what was written shows what the film does: frames, time, shape."""
  copy, info = probe.probe_video(job.path), job.info
  half = 0.5 * info.seconds / info.num_frames
  is_as_long = abs(copy.last_seconds - info.last_seconds) < half
  if job.container.has_edit_lists:
    is_as_long &= abs(copy.seconds - info.seconds) < half
  is_as_wide = abs(copy.aspect / info.aspect - 1) < 0.02
  return is_as_long and is_as_wide and copy.num_frames == info.num_frames


def _write_copy(job: _Job, level: int) -> tuple[bool, list[int]]:
  """Copies pictures under new sound; whether some are hidden, and extras."""
  with (
    probe.open_input(job.info.path, job.limits) as source,
    job.open_out() as out,
  ):
    film = probe.require_video_stream(source)
    copied = out.add_stream_from_template(film, opaque=True)
    _set_looks(film, copied, job.container)
    encoder = encode.add_sound(out, job.container, job.audio)
    tracks = _add_extras(source, out, job, level)
    tracks[film.index] = extras.Carried(stream=copied)
    if level != _BARE:
      extras.describe(film, copied, job.container)
    if job.needs_display_size:
      title = copied.metadata.get('title', '')
      copied.metadata['title'] = display_size.MARK + title
    out.start_encoding()
    packets = _moved_packets(source, tracks, job)
    shown = _shown_packets(packets, copied, job.container.has_edit_lists)
    hidden = False
    try:
      for packet in heapq.merge(
        shown, encode.sound(encoder, job.audio), key=decode_time
      ):
        hidden |= packet.is_discard and packet.stream is copied
        out.mux(packet)
    except _REFUSALS as error:
      if hidden:
        raise _UneditedTimes from error
      raise
    width, height = film.width, film.height
  if hidden:
    edit_list.end_after(job.path, job.info.seconds)
  if job.needs_display_size:
    display_size.write(job.path, round(width * job.info.aspect), height)
  return hidden, [index for index in tracks if index != film.index]


def _set_looks(
  film: av.VideoStream,
  copied: av.VideoStream,
  container: containers.Container,
) -> None:
  """Copies what the container says of pictures besides their codec's words."""
  context = copied.codec_context
  if film.sample_aspect_ratio:
    context.sample_aspect_ratio = film.sample_aspect_ratio
  if film.average_rate:
    context.framerate = film.average_rate
  if probe.codec_name(film) == 'hevc' and container.has_edit_lists:
    # Apple's players refuse the tags hev1 and dvhe.
    is_dolby = film.codec_context.codec_tag in ('dvh1', 'dvhe')
    context.codec_tag = 'dvh1' if is_dolby else 'hvc1'
  copied.disposition = av.stream.Disposition.default


def _add_extras(
  source: av.container.InputContainer,
  out: av.container.OutputContainer,
  job: _Job,
  level: int,
) -> dict[int, extras.Carried]:
  """Adds tags, chapters and tracks beside the film; the tracks by index."""
  if level == _BARE:
    return {}
  extras.add_tags(source, out, job.info.start_seconds)
  if level == _TAGS:
    return {}
  copies = {
    track.index: extras.add_track(out, track, job.container)
    for track in extras.carried_tracks(source)
    if track.type != 'attachment' or job.container.holds_attachments
  }
  return {index: copied for index, copied in copies.items() if copied}


def _encode(job: _Job, is_bare: bool) -> tuple[str, list[int]]:
  """Encodes the frames that the film presents; the codec, and extras."""
  for level in _levels(is_bare):
    try:
      return _write_encoded(job, level)
    except _REFUSALS:
      if level == _BARE:
        raise
  raise AssertionError


def _write_encoded(job: _Job, level: int) -> tuple[str, list[int]]:
  """Encodes pictures over new sound; the codec, and extras."""
  info = job.info
  with (
    probe.open_input(info.path, job.limits) as source,
    job.open_out() as out,
  ):
    frames = read.iter_frames(info, job.limits)
    codec, pictures = encode.pictures(out, job.container, frames, info)
    encoder = encode.add_sound(out, job.container, job.audio)
    tracks = _add_extras(source, out, job, level)
    out.start_encoding()
    sources = [pictures, encode.sound(encoder, job.audio)]
    if tracks:
      sources.append(_moved_packets(source, tracks, job))
    for packet in heapq.merge(*sources, key=decode_time):
      out.mux(packet)
  return codec, list(tracks)


def _moved_packets(
  source: av.container.InputContainer,
  tracks: dict[int, extras.Carried],
  job: _Job,
) -> Iterator[av.Packet]:
  """Packets of tracks, moved so that the file's pictures start at 0.

  Args:
    source: Film.
    tracks: Copies of its tracks, by the index of the original.
    job: Film and new file.

  Yields:
    Packets of the copies; those beside the pictures while the film lasts.
  """
  film = probe.require_video_stream(source)
  originals = [s for s in source.streams if s.index in tracks]
  start, seconds = job.info.start_seconds, job.info.seconds
  for packet in probe.packets(source, *originals):
    original = packet.stream
    carried = tracks[original.index]
    packet = carried.packet(packet, original)
    if packet is None:
      continue
    move(packet, carried.stream, start)
    if original is film:
      packet.duration = packet.duration or _frame_ticks(film)
    elif not _is_within(packet, seconds, job.container.has_edit_lists):
      continue
    yield packet


def _frame_ticks(film: av.VideoStream) -> int:
  """Ticks of one frame at the mean rate; 0 when it is not known."""
  return (
    round(1 / film.average_rate / film.time_base) if film.average_rate else 0
  )


def _is_within(packet: av.Packet, seconds: float, may_lead: bool) -> bool:
  """Whether a packet beside the pictures belongs to the stretch they last."""
  time = decode_time(packet)
  return (may_lead or time >= 0) and time < seconds


def _shown_packets(
  packets: Iterator[av.Packet], film: av.VideoStream, may_hide: bool
) -> Iterator[av.Packet]:
  """Leaves out what an edit list cuts away after the last packet shown.

  Packets before it are kept: those that are shown may need them.
  """
  hidden = []
  for packet in packets:
    if packet.stream is not film:
      yield packet
      continue
    hidden.append(packet)
    if not packet.is_discard:
      if len(hidden) > 1 and not may_hide:
        raise _UneditedTimes
      yield from hidden
      hidden = []


def move(
  packet: av.Packet, copied: av.stream.Stream, start: fractions.Fraction
) -> None:
  """Moves a packet to the copy of its track, where `start` seconds are 0."""
  shift = round(start / packet.time_base)
  packet.stream = copied
  if packet.pts is not None:
    packet.pts -= shift
  if packet.dts is not None:
    packet.dts -= shift


def decode_time(packet: av.Packet) -> float:
  """Seconds at which a packet is due; orders the packets of several tracks."""
  ticks = packet.pts if packet.dts is None else packet.dts
  return float((ticks or 0) * packet.time_base)
