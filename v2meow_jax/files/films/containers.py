"""What each container that is written holds: pictures, sound, cuts."""

import dataclasses
import os
import pathlib


@dataclasses.dataclass(frozen=True, kw_only=True)
class Container:
  """A kind of file that pictures are written to.

  Attributes:
    suffix: Suffix of its files.
    format_name: Name of FFmpeg's writer.
    codecs: Codecs whose pictures can be copied into it and are shown by players
      that open such files.
    encoder: Encoder for pictures that cannot be copied.
    sound_codec: Codec of the new sound.
    text_codec: Codec of the text of subtitles.
    has_edit_lists: Whether pictures in the file can be left unshown.
    holds_attachments: Whether fonts and the like can be in the file.
  """

  suffix: str
  format_name: str
  codecs: frozenset[str]
  encoder: str
  sound_codec: str
  text_codec: str
  has_edit_lists: bool
  holds_attachments: bool = False


MP4 = Container(
  suffix='.mp4',
  format_name='mp4',
  codecs=frozenset(('h264', 'hevc', 'av1', 'vp9', 'mpeg4')),
  encoder='libx264',
  sound_codec='aac',
  text_codec='mov_text',
  has_edit_lists=True,
)
MOV = Container(
  suffix='.mov',
  format_name='mov',
  codecs=frozenset(
    (
      *(
        'h264',
        'hevc',
        'mpeg4',
        'prores',
        'mjpeg',
        'dnxhd',
        'dvvideo',
        'qtrle',
      ),
      *('cinepak', 'svq1', 'svq3', 'cfhd', 'hap', 'h263', 'mpeg2video', 'v210'),
      'png',
    )
  ),
  encoder='libx264',
  sound_codec='aac',
  text_codec='mov_text',
  has_edit_lists=True,
)
MKV = Container(
  suffix='.mkv',
  format_name='matroska',
  codecs=frozenset(
    (
      *(
        'h264',
        'hevc',
        'av1',
        'vp8',
        'vp9',
        'mpeg1video',
        'mpeg2video',
        'mpeg4',
      ),
      *('prores', 'ffv1', 'mjpeg', 'theora'),
    )
  ),
  encoder='libx264',
  sound_codec='flac',
  text_codec='subrip',
  has_edit_lists=False,
  holds_attachments=True,
)
WEBM = Container(
  suffix='.webm',
  format_name='webm',
  codecs=frozenset(('vp8', 'vp9', 'av1')),
  encoder='libvpx-vp9',
  sound_codec='libopus',
  text_codec='webvtt',
  has_edit_lists=False,
)
ALL = (MP4, MOV, MKV, WEBM)
SUFFIXES = tuple(container.suffix for container in ALL)


def of(path: str | os.PathLike) -> Container:
  """The container that a path asks for; ValueError for another suffix."""
  suffix = pathlib.Path(path).suffix.lower()
  for container in ALL:
    if container.suffix == suffix:
      return container
  raise ValueError(
    f'{os.fspath(path)!r} ends in {suffix!r}; a video with new sound is written'
    f' as {", ".join(SUFFIXES)}.'
  )


def suffixes_for(codec: str) -> list[str]:
  """Suffixes of the containers that hold pictures of a codec."""
  return [c.suffix for c in ALL if codec in c.codecs]


def require_mp4(path: str | os.PathLike) -> None:
  """Raises ValueError unless the path ends in .mp4."""
  suffix = pathlib.Path(path).suffix.lower()
  if suffix != MP4.suffix:
    raise ValueError(
      f'{os.fspath(path)!r} ends in {suffix!r}; video is written as'
      f' {MP4.suffix}.'
    )
