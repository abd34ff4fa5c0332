"""Cuts the segments of `aist` out of their videos, each with its music."""

from collections.abc import Iterable
from collections.abc import Iterator
import fractions
import itertools
import json
import os
import pathlib
import shutil

import numpy as np

from v2meow_jax import media
from v2meow_jax import progress as progress_lib
from v2meow_jax.files import atomic
from v2meow_jax.files import probe
from v2meow_jax.files import read
from v2meow_jax.files import write as media_write
from v2meow_jax.jobs.prepare import aist

CLIPS_NAME = 'clips'
MANIFEST_NAME = 'manifest.jsonl'
# That AAC has, and no metric here hears more.
_SOUND_RATE_HZ = 48_000
# Half a second of large pictures is in memory at once.
_PIECE_SECONDS = 0.5


def write(
  segments: Iterable[aist.Segment], out: str | os.PathLike
) -> pathlib.Path:
  """Writes OUT/clips/ID.mp4 for each segment, and OUT/manifest.jsonl, last.

  The manifest, whose path is returned, names the clips as `data.manifests`
  reads them, and where each lies in which video. Nothing of it is for
  training: its split is 'validation'.

  Raises:
    ValueError: The folder holds something, or a video cannot be read or has
      no sound.
    OSError: The folder cannot be written.
  """
  out = pathlib.Path(out)
  if out.exists() and any(out.iterdir()):
    raise ValueError(
      f'{out} is not empty, and what is in it would be taken for clips of this'
      ' list; give an empty or a new folder.'
    )
  (out / CLIPS_NAME).mkdir(parents=True, exist_ok=True)
  segments, lines = list(segments), []
  try:
    for segment in progress_lib.bar(segments, unit='clip', desc='cutting'):
      path = out / CLIPS_NAME / f'{segment.id}.mp4'
      cut(segment, path)
      lines.append(
        {
          'id': segment.id,
          'path': f'{CLIPS_NAME}/{path.name}',
          'split': 'validation',
          'video': pathlib.Path(segment.video).name,
          'start_seconds': segment.start_seconds,
          'seconds': segment.seconds,
          'moved': segment.moved,
        }
      )
  except BaseException:
    # All of it is ours: else a second try would find the folder in use.
    shutil.rmtree(out / CLIPS_NAME)
    raise
  manifest = out / MANIFEST_NAME
  atomic.write_text(
    manifest, ''.join(json.dumps(line) + '\n' for line in lines)
  )
  return manifest


def cut(segment: aist.Segment, path: str | os.PathLike) -> None:
  """Writes the pictures and the sound of a segment as an mp4 of its length.

  Pictures are encoded again, at nearly the video's rate: a whole number of
  them fills the segment, so that the sound, which is cut to the pictures, has
  exactly its seconds. The sound is the mean of the channels, as metrics hear
  it.

  Args:
    segment: Segment of a video with sound.
    path: Target, .mp4; replaced when it exists.

  Raises:
    UnsupportedMedia: The video cannot be read, or has no sound.
    OSError: The target cannot be written.
  """
  sound = read.read_audio(segment.video, rate_hz=_SOUND_RATE_HZ)
  first = round(segment.start_seconds * _SOUND_RATE_HZ)
  length = round(segment.seconds * _SOUND_RATE_HZ)
  info = probe.probe_video(segment.video)
  num_frames = max(1, round(segment.seconds * info.num_frames / info.seconds))
  media_write.write_video(
    path,
    _frames(segment, num_frames),
    rate_hz=fractions.Fraction(num_frames / segment.seconds),
    audio=media.Audio(
      samples=sound.samples[first : first + length], rate_hz=_SOUND_RATE_HZ
    ),
  )


def _frames(segment: aist.Segment, num_frames: int) -> Iterator[np.ndarray]:
  """The frames on screen in the middles of `num_frames` parts of a segment."""
  step_seconds = segment.seconds / num_frames
  times = segment.start_seconds + (np.arange(num_frames) + 0.5) * step_seconds
  shown, last = 0, None
  for piece in read.iter_video(segment.video, piece_seconds=_PIECE_SECONDS):
    end = np.searchsorted(times, piece.start_seconds + piece.seconds)
    yield from piece.at(times[shown:end])
    shown, last = int(end), piece.frames[-1]
    if shown == num_frames:
      return
  # The pictures may end a little before the music.
  yield from itertools.repeat(last, num_frames - shown)
