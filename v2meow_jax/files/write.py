"""Writes media: wav, flac and new mp4.

Files are moved into place when they are whole.
"""

# PyAV's stubs make optional what a stream that decodes always has.
# pyright: reportOperatorIssue=false, reportArgumentType=false
# pyright: reportOptionalOperand=false, reportReturnType=false
# pyright: reportCallIssue=false, reportOptionalMemberAccess=false

from collections.abc import Iterable
import fractions
import io
import os
import pathlib

import av
import numpy as np
import soundfile

from v2meow_jax import media
from v2meow_jax.files import atomic
from v2meow_jax.files.films import containers
from v2meow_jax.files.films import encode
from v2meow_jax.files.films import remux

_OPTIONS = {**encode.BITEXACT, 'movflags': '+faststart'}


def write_audio(path: str | os.PathLike, audio: media.Sound) -> None:
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
  with atomic.replacing(path) as temp, open(temp, 'w+b', buffering=0) as file:
    reported = _Reported(file)
    with soundfile.SoundFile(
      reported,
      'w',
      samplerate=audio.rate_hz,
      channels=audio.num_channels,
      subtype='PCM_16',
      format=suffix[1:].upper(),
    ) as out:
      for piece in audio.pieces():
        samples = np.nan_to_num(piece.T, nan=0.0, posinf=1.0, neginf=-1.0)
        pcm = np.clip(np.round(samples * 32_768.0), -32_768, 32_767)
        out.write(pcm.astype(np.int16))
        reported.require_written()
    reported.require_written()


class _Reported:
  """A file that keeps its errors, of which soundfile says "System error" alone."""

  def __init__(self, file: io.FileIO):
    """Nothing has failed yet."""
    self._file = file
    self._error: OSError | None = None
    self.seek, self.tell, self.read = file.seek, file.tell, file.read

  def write(self, data: bytes) -> int:
    """Writes all of it; as far as soundfile is told, it is always written."""
    try:
      left = memoryview(data)
      while self._error is None and left:
        left = left[self._file.write(left) :]
    except OSError as e:
      self._error = e
    return len(data)

  def require_written(self) -> None:
    """Raises the error of a write that failed."""
    if self._error is not None:
      raise self._error


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
  containers.require_mp4(path)
  if audio is not None:
    with atomic.replacing(path) as temp:
      write_video(temp, frames, rate_hz=rate_hz)
      remux.replace_sound(temp, audio, temp, is_bare=True)
    return
  rate = fractions.Fraction(rate_hz).limit_denominator(1001)
  with (
    atomic.replacing(path) as temp,
    av.open(temp, 'w', format='mp4', options=_OPTIONS) as out,
  ):
    stream = None
    for index, pixels in enumerate(frames):
      if stream is None:
        stream = encode.add_h264(out, rate, np.shape(pixels))
      _check_frame(pixels, index, (stream.height, stream.width, 3))
      frame = av.VideoFrame.from_ndarray(pixels, format='rgb24')
      frame.pts, frame.time_base, frame.duration = index, 1 / rate, 1
      out.mux(stream.encode(frame))
    if stream is None:
      raise ValueError(f'{os.fspath(path)!r}: no frames to write; wanted one.')
    out.mux(stream.encode(None))


def _check_frame(pixels: np.ndarray, index: int, wanted: tuple) -> None:
  """Raises ValueError unless a frame is uint8[height, width, 3], as wanted."""
  if pixels.shape != wanted or pixels.dtype != np.uint8:
    raise ValueError(
      f'frame {index} is {pixels.dtype}{list(pixels.shape)}; wanted'
      f' uint8{list(wanted)}, the shape of the first.'
    )
