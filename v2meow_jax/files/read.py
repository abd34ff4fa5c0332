"""Reads pictures and sound of untrusted media files: PyAV, soxr."""

# PyAV's stubs make optional what a stream that decodes always has.
# pyright: reportOperatorIssue=false, reportArgumentType=false
# pyright: reportOptionalOperand=false, reportReturnType=false
# pyright: reportCallIssue=false, reportOptionalMemberAccess=false

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
import fractions
import itertools
import math
import os

import av
import av.video.reformatter
import numpy as np
import soxr

from v2meow_jax import media
from v2meow_jax.files import probe
from v2meow_jax.files.films import film_part

# A frame this close before a border belongs after it; as in `media.Video.at`.
_TIME_EPS = 1e-9
_MAX_THREADS = 4
_LARGE_PIXELS = 8_900_000  # More than 4K.
# Of films with more frames a second, which are held in pieces of seconds, some
# are left out.
_MAX_HELD_HZ = 240.0
LOW_FREQUENCY = ('LFE', 'LFE2')
# ours: sound is moved to its time when it has drifted by a picture at 25 Hz;
# times that are rounded by less are left alone.
_MAX_DRIFT_SECONDS = 0.04


def read_video(
  path: str | os.PathLike,
  *,
  max_side: int | None = None,
  limits: probe.Limits = probe.DEFAULT_LIMITS,
) -> media.Video:
  """Reads a whole clip into memory, as `iter_video` reads pieces of it."""
  pieces = iter_video(
    path, piece_seconds=limits.max_seconds, max_side=max_side, limits=limits
  )
  return next(pieces)


def iter_video(
  path: str | os.PathLike,
  *,
  piece_seconds: float,
  max_side: int | None = None,
  limits: probe.Limits = probe.DEFAULT_LIMITS,
) -> Iterator[media.Video]:
  """Reads a video in consecutive pieces, in constant memory.

  Times are presentation times of the frames, from 0 at the first. Frames are
  upright, RGB, with square pixels, and all of one size. Each piece is led by
  the last frame of the piece before; a piece in which no frame begins repeats
  that frame at its start. Frames lost before the first that can be decoded
  are shown as that one. Of more than 240 frames a second, 240 are read.

  Args:
    path: Video that `probe.probe` accepts.
    piece_seconds: Length of a piece; the last may be shorter.
    max_side: Longest side to shrink frames to while decoding, in pixels; aspect
      kept, never enlarged. None: as they are.
    limits: Limits beyond which the file is refused.

  Returns:
    Pieces [k * piece_seconds, (k + 1) * piece_seconds).

  Raises:
    UnsupportedMedia: Refused by `probe.probe` at once; damaged beyond
      `limits.max_lost_fraction` when the end is reached.
    ValueError: A size or duration that is not positive.
  """
  if not piece_seconds > 0 or (max_side is not None and max_side < 1):
    raise ValueError(
      f'piece_seconds is {piece_seconds}, max_side {max_side}; both must be'
      ' more than 0.'
    )
  info = probe.probe_video(path, limits)
  timed = _timed_frames(info, max_side, limits)
  return _pieces(timed, info.seconds, piece_seconds)


def read_audio(
  path: str | os.PathLike,
  *,
  rate_hz: int = 16_000,
  limits: probe.Limits = probe.DEFAULT_LIMITS,
) -> media.Audio:
  """Reads the sound of an audio or video file, mono, at one rate.

  Down-mix: the mean of all channels, without low-frequency effects (LFE) unless
  there is nothing else. NaN becomes 0, and samples are clipped to [-1, 1]. In a
  file with video, sample 0 is at the time of the first frame: earlier sound is
  left out, a later start is filled with silence. So are gaps, and where sounds
  overlap, as where recordings were joined, the second is cut.

  Args:
    path: File that `probe.probe` accepts; its first audio track is read.
    rate_hz: Sample rate of the result, in Hz; resampled by soxr at high
      quality.
    limits: Limits beyond which the file is refused.

  Returns:
    round(source samples * rate_hz / source rate) samples, with their
    `full_scale_share`. (FFmpeg leaves out the last short block of Vorbis: 128
    source samples.)

  Raises:
    UnsupportedMedia: No audio track, or refused by `probe.probe`.
  """
  info = probe.probe(path, limits)
  if not info.has_audio:
    raise probe.UnsupportedMedia(f'{info.path}: no audio track; wanted one.')
  blocks = []
  num_samples, num_full = 0, np.zeros(1, int)
  resampler = source_hz = None
  for source_hz, channels in placed_sound(info, limits):
    if resampler is None:
      resampler = soxr.ResampleStream(source_hz, rate_hz, 1, quality='HQ')
    mono = np.asarray(channels.mean(axis=0, dtype=np.float64), np.float32)
    blocks.append(resampler.resample_chunk(mono))
    num_samples += len(mono)
    is_full = np.abs(channels) >= media.FULL_SCALE
    num_full = num_full + np.count_nonzero(is_full, axis=1)
  if resampler is None:
    raise probe.UnsupportedMedia(f'{info.path}: no sound could be decoded.')
  blocks.append(resampler.resample_chunk(np.zeros(0, np.float32), last=True))
  audio = media.Audio(
    samples=np.clip(np.concatenate(blocks), -1.0, 1.0),
    rate_hz=rate_hz,
    full_scale_share=float(num_full.max()) / max(1, num_samples),
  )
  length = round(fractions.Fraction(num_samples * rate_hz, source_hz))
  return audio.fitted(length)


def _pieces(
  timed_frames: Iterable[tuple[float, np.ndarray]],
  seconds: float,
  piece_seconds: float,
) -> Iterator[media.Video]:
  """Groups (time, frame) pairs, the first at time 0, into pieces."""
  num_pieces = max(1, math.ceil((seconds - _TIME_EPS) / piece_seconds))
  index, lead, held = 0, [], []
  for time, frame in itertools.chain(timed_frames, [(math.inf, None)]):
    while (
      index < num_pieces and time + _TIME_EPS >= (index + 1) * piece_seconds
    ):
      start = index * piece_seconds
      held = held or [(start, lead[0][1])]
      yield _piece(lead + held, start, min(piece_seconds, seconds - start))
      index, lead, held = index + 1, held[-1:], []
    held.append((time, frame))


def _piece(
  timed_frames: list[tuple[float, np.ndarray]],
  start_seconds: float,
  seconds: float,
) -> media.Video:
  """One stretch of video."""
  times, frames = zip(*timed_frames, strict=True)
  return media.Video(
    frames=np.stack(frames),
    times=np.array(times),
    start_seconds=start_seconds,
    seconds=seconds,
  )


def iter_frames(
  info: probe.MediaInfo, limits: probe.Limits = probe.DEFAULT_LIMITS
) -> Iterator[tuple[float, av.VideoFrame]]:
  """Decodes a video, one picture at a time, as the file has them.

  Args:
    info: Description of the video.
    limits: Limits beyond which the file is refused.

  Yields:
    Time in seconds, rising from 0, and decoded picture; neither turned nor
    scaled.

  Raises:
    UnsupportedMedia: Nothing can be decoded, or too much is damaged.
  """
  last = None
  with probe.open_input(info.path, limits) as container:
    stream = probe.require_video_stream(container)
    stream.thread_type = 'AUTO'
    # Each thread holds pictures of its own.
    is_large = stream.width * stream.height > _LARGE_PIXELS
    threads = 1 if is_large else min(_MAX_THREADS, os.cpu_count() or 1)
    stream.codec_context.thread_count = threads
    frames = _decoded(container, stream, info, limits)
    stated = probe.states_presentation(container, stream)
    timed = _since_start(_presented(frames, stated), stream, info)
    for time, frame in timed:
      probe.require_size(info.path, frame.width, frame.height, limits)
      time = 0.0 if last is None else time
      if last is None or time > last:
        last = time
        yield time, frame
  if last is None:
    raise probe.UnsupportedMedia(f'{info.path}: no picture could be decoded.')
  if isinstance(info, film_part.FilmPart):
    return  # The whole film was found to be whole.
  missing = info.last_seconds - last
  probe.require_whole(info.path, info.seconds - missing, info.seconds, limits)


def _since_start(
  presented: Iterator[tuple[int, av.VideoFrame]],
  stream: av.VideoStream,
  info: probe.MediaInfo,
) -> Iterator[tuple[float, av.VideoFrame]]:
  """(seconds since the start of the clip, frame), of a part those shown in it."""
  is_part = isinstance(info, film_part.FilmPart)
  before = None
  for ticks, frame in presented:
    time = float(ticks * stream.time_base - info.start_seconds)
    if is_part and time < _TIME_EPS:
      before = frame
      continue
    if is_part and time + _TIME_EPS >= info.seconds:
      break
    if before is not None:
      yield 0.0, before
      before = None
    yield time, frame
  if before is not None:
    yield 0.0, before


def _timed_frames(
  info: probe.MediaInfo, max_side: int | None, limits: probe.Limits
) -> Iterator[tuple[float, np.ndarray]]:
  """(seconds, uint8[height, width, 3]) of each frame, rising, from 0."""
  reformatter = av.video.reformatter.VideoReformatter()
  size = rotation = None
  turn = (False, False, False)
  is_dense, slot = info.rate_hz > _MAX_HELD_HZ, -1
  for time, frame in iter_frames(info, limits):
    before, slot = slot, int((time + _TIME_EPS) * _MAX_HELD_HZ)
    if is_dense and slot == before:
      continue
    if size is None:
      size = _shown_size(frame, max_side, info.aspect)
    # One thread: FFmpeg's scaler, given several, now and then writes a wrong
    # row where the slices of two of them meet.
    picture = reformatter.reformat(
      frame, *size, 'rgb24', interpolation='BILINEAR', threads=1
    )
    if frame.rotation != rotation:
      # PyAV ties a frame whose matrix is read into a circle, which holds its
      # memory until Python looks for circles: read one for all.
      rotation, turn = frame.rotation, probe.orientation(frame)
    yield time, _upright(picture.to_ndarray(), turn)


def _decoded(
  container: av.container.InputContainer,
  stream: av.stream.Stream,
  info: probe.MediaInfo,
  limits: probe.Limits,
) -> Iterator[av.VideoFrame | av.AudioFrame]:
  """Decoded frames of a stream; raises when too many packets are damaged."""
  total = lost = 0
  for packet in itertools.chain(probe.packets(container, stream), [None]):
    total += packet is not None
    try:
      frames = stream.decode(packet)
    except av.error.FFmpegError:
      lost += 1
      continue
    for frame in frames:
      frame.time_base = stream.time_base  # The last frames come without.
      yield frame
  if lost > 2 + limits.max_lost_fraction * total:
    raise probe.UnsupportedMedia(
      f'{info.path}: {lost} of {total} {stream.type} packets are damaged; at'
      f' most {limits.max_lost_fraction:.0%} are tolerated; for what is there:'
      ' ffmpeg -i IN OUT.mp4.'
    )


def _presented(
  frames: Iterator[av.VideoFrame], stated: bool
) -> Iterator[tuple[int, av.VideoFrame]]:
  """(time stamp in ticks, frame), in the order of presentation.

  Without stated presentation times (AVI with B frames) a frame is due when the
  decoder puts it out: at the decoding time of the packet that released it.
  """
  if stated:
    yield from ((frame.pts, frame) for frame in frames if frame.pts is not None)
    return
  ahead = ticks = None
  step = 1
  for frame in frames:
    if ahead is None:
      ahead = (frame.dts or 0) - (frame.pts or 0)
    before = ticks or 0
    due = None if frame.dts is None else frame.dts - ahead
    if due is None or (ticks is not None and due <= ticks):
      # The last ones come without a time, others two at once.
      due = before + step
    ticks, step = due, due - before or step
    yield ticks, frame


def _shown_size(
  frame: av.VideoFrame, max_side: int | None, aspect: fractions.Fraction
) -> tuple[int, int]:
  """Width and height at which to show a frame: square pixels, shrunk to fit."""
  width, height = float(frame.width), float(frame.height)
  if aspect > 1:
    height /= aspect
  else:
    width *= aspect
  scale = min(1.0, (max_side or math.inf) / max(width, height))
  return max(1, round(width * scale)), max(1, round(height * scale))


def _upright(pixels: np.ndarray, turn: tuple[bool, bool, bool]) -> np.ndarray:
  """Turns and mirrors pixels as `probe.orientation` says."""
  transpose, flip_rows, flip_columns = turn
  if transpose:
    pixels = pixels.swapaxes(0, 1)
  if flip_rows:
    pixels = pixels[::-1]
  return pixels[:, ::-1] if flip_columns else pixels


def placed_sound(
  info: probe.MediaInfo,
  limits: probe.Limits = probe.DEFAULT_LIMITS,
  mixed: Callable[[av.AudioFrame], np.ndarray] | None = None,
) -> Iterator[tuple[int, np.ndarray]]:
  """Decodes the first sound track of a clip, on the time line of the clip.

  Args:
    info: Description of the clip.
    limits: Limits beyond which the file is refused.
    mixed: Function from a decoded frame to float[channels, samples]; None: all
      channels but low-frequency effects.

  Yields:
    Sample rate in Hz, and float[channels, samples] that follow those before;
    one channel where there is a gap.
  """
  mixed = mixed or _main_channels
  start = info.start_seconds if info.has_video else None
  source_hz, num_samples = None, 0
  for frame in _audio_frames(info, limits):
    source_hz = source_hz or frame.sample_rate
    if frame.sample_rate != source_hz:
      raise probe.UnsupportedMedia(
        f'{info.path}: the sample rate changes from {source_hz} Hz to'
        f' {frame.sample_rate} Hz; wanted one rate throughout.'
      )
    late = 0
    if frame.pts is not None:
      time = frame.pts * frame.time_base
      start = time if start is None else start
      late = round((time - start) * source_hz) - num_samples
    if num_samples and abs(late) <= _MAX_DRIFT_SECONDS * source_hz:
      late = 0
    samples = mixed(frame)[:, max(0, -late) :]
    if late > 0:
      yield source_hz, np.zeros((1, late), np.float32)
    yield source_hz, samples
    num_samples += max(0, late) + samples.shape[1]


def _audio_frames(
  info: probe.MediaInfo, limits: probe.Limits
) -> Iterator[av.AudioFrame]:
  """Decoded frames of the first audio track."""
  with probe.open_input(info.path, limits) as container:
    stream = probe.audio_stream(container)
    yield from _decoded(container, stream, info, limits)


def channels(frame: av.AudioFrame) -> np.ndarray:
  """Samples of all channels of a decoded frame: float[channels, samples]."""
  samples = frame.to_ndarray()
  if frame.format.is_packed:
    samples = samples.reshape(-1, len(frame.layout.channels)).T
  if samples.dtype == np.uint8:
    samples = (samples.astype(np.float32) - 128.0) / 128.0
  elif samples.dtype.kind == 'i':
    samples = samples / -float(np.iinfo(samples.dtype).min)
  return np.nan_to_num(samples, nan=0.0, posinf=1.0, neginf=-1.0)


def _main_channels(frame: av.AudioFrame) -> np.ndarray:
  """float[channels, samples], without what `read_audio` leaves out."""
  samples = channels(frame)
  is_main = [c.name not in LOW_FREQUENCY for c in frame.layout.channels]
  return samples[is_main] if any(is_main) else samples
