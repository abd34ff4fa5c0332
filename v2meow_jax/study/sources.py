"""Examines the clips of a study: whether they can be compared."""

from collections.abc import Mapping
import dataclasses
import math
import pathlib

import numpy as np

from v2meow_jax import media
from v2meow_jax.files import probe
from v2meow_jax.files import read
from v2meow_jax.study import protocol

# Codecs that every browser plays in an mp4.
_PICTURE_CODECS = ('h264', 'vp9', 'av1')
_SOUND_CODECS = ('aac', 'mp3', 'opus', 'flac')
_MAX_LENGTH_GAP = 0.1  # ours: seconds; a frame or two of rounding.
# ours: of 255, mean over pixels; two encodings differ by a few, other scenes
# by tens.
_MAX_PICTURE_GAP = 12.0
_NUM_THUMBNAILS = 8
_MAX_LEVEL_GAP_DB = 6.0  # ours: twice the amplitude.


@dataclasses.dataclass(frozen=True, kw_only=True)
class Source:
  """A usable file of one system.

  Attributes:
    path: Path of the file.
    seconds: Length of the video, in seconds.
    level_dbfs: Root mean square of the whole sound, mono, in dB; 0 dB is a
      square wave of full amplitude.
    thumbnails: Frames spread over the clip, float64[8, height, width, 3].
  """

  path: pathlib.Path
  seconds: float
  level_dbfs: float
  thumbnails: np.ndarray

  @property
  def is_silent(self) -> bool:
    """Whether the sound cannot be told from silence."""
    return self.level_dbfs < 20 * math.log10(media.SILENCE)


def examine(path: pathlib.Path, first: Source | None) -> Source:
  """Reads a file whole.

  Args:
    path: Path of an mp4.
    first: The same clip of another system; None: there is none yet.

  Returns:
    The source.

  Raises:
    UnsupportedMedia: Damaged, not a video, or beyond the limits.
    StudyError: Without sound, in a codec that browsers do not play, or another
      video than `first`.
  """
  info = probe.probe_video(path)
  with probe.open_input(info.path) as container:
    sound = probe.audio_stream(container)
    if sound is None:
      raise protocol.StudyError('it has no sound')
    picture_codec, sound_codec = (
      stream.codec_context.codec.canonical_name
      for stream in (probe.require_video_stream(container), sound)
    )
  if picture_codec not in _PICTURE_CODECS or sound_codec not in _SOUND_CODECS:
    raise protocol.StudyError(
      f'browsers may not play {picture_codec} with {sound_codec}; encode it as'
      ' H.264 and AAC'
    )
  video = read.read_video(info, max_side=32)
  times = (np.arange(_NUM_THUMBNAILS) + 0.5) / _NUM_THUMBNAILS * info.seconds
  samples = read.read_audio(info).samples.astype(np.float64)
  power = float(np.mean(samples**2)) if len(samples) else 0.0
  source = Source(
    path=path,
    seconds=info.seconds,
    level_dbfs=10 * math.log10(max(power, 1e-12)),
    thumbnails=video.at(times).astype(np.float64),
  )
  if first is not None:
    _check_same_video(source, first)
  return source


def level_notes(clip: str, sources: Mapping[str, Source]) -> list[str]:
  """Notes silent soundtracks and unequal levels of a clip."""
  levels = {system: s.level_dbfs for system, s in sources.items()}
  silent = [system for system, source in sources.items() if source.is_silent]
  if silent:
    return [
      f'{clip}: the soundtrack of {system} is silent' for system in silent
    ]
  quiet = min(levels, key=levels.__getitem__)
  loud = max(levels, key=levels.__getitem__)
  gap = levels[loud] - levels[quiet]
  if gap <= _MAX_LEVEL_GAP_DB:
    return []
  return [
    f'{clip}: {loud} is {gap:.0f} dB louder than {quiet}; louder music tends to'
    ' be preferred'
  ]


def _check_same_video(source: Source, first: Source) -> None:
  """Raises StudyError unless both files show the same."""
  if abs(source.seconds - first.seconds) > _MAX_LENGTH_GAP:
    raise protocol.StudyError(
      f'it lasts {source.seconds:.2f} s and {first.path} {first.seconds:.2f} s'
    )
  ours, theirs = source.thumbnails, first.thumbnails
  if (
    ours.shape != theirs.shape
    or np.abs(ours - theirs).mean() > _MAX_PICTURE_GAP
  ):
    raise protocol.StudyError(f'it shows another video than {first.path}')
