"""Puts the sound of one video under the pictures of another."""

# PyAV's stubs make optional what a stream that decodes always has.
# pyright: reportOperatorIssue=false, reportArgumentType=false
# pyright: reportCallIssue=false, reportOptionalMemberAccess=false

from collections.abc import Iterator
import heapq
import os

import av

from v2meow_jax.files import atomic
from v2meow_jax.files import probe
from v2meow_jax.files.films import containers
from v2meow_jax.files.films import encode
from v2meow_jax.files.films import remux


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
  containers.require_mp4(out_path)
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
    options = {
      **encode.BITEXACT,
      'movflags': '+faststart',
      'movie_timescale': str(sound.rate),
    }
    try:
      with av.open(temp, 'w', format='mp4', options=options) as out:
        tracks = [
          (picture_source, pictures, pictures_info),
          (sound_source, sound, sound_info),
        ]
        copied = [
          _moved_packets(
            source, track, out.add_stream_from_template(track), info
          )
          for source, track, info in tracks
        ]
        for stream in out.streams:
          stream.metadata.clear()
        for packet in heapq.merge(*copied, key=remux.decode_time):
          out.mux(packet)
    except (ValueError, av.error.FFmpegError) as error:
      raise probe.UnsupportedMedia(
        f'{sound_info.path}: its sound or the pictures of {pictures_info.path}'
        f' cannot be copied into an mp4 ({error}); encode them as H.264 and AAC.'
      ) from error


def _moved_packets(
  source: av.container.InputContainer,
  track: av.stream.Stream,
  copied: av.stream.Stream,
  info: probe.MediaInfo,
) -> Iterator[av.Packet]:
  """The packets of a track, moved so that the file's pictures start at 0."""
  for packet in probe.packets(source, track):
    remux.move(packet, copied, info.start_seconds)
    yield packet
