"""Clips -> records: the part of a preparation that runs in workers."""

from __future__ import annotations

import collections
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
import contextlib
import dataclasses
import fractions
import os
import socket
import time
from typing import Any

import apache_beam as beam
from apache_beam.utils import shared
import numpy as np

from v2meow_jax import specs
from v2meow_jax.clusters import standardize
from v2meow_jax.data import records
from v2meow_jax.data import shards
from v2meow_jax.extractors import extractor as extractor_lib
from v2meow_jax.extractors.planning import plan as plan_lib
from v2meow_jax.files import manifests
from v2meow_jax.files import paths
from v2meow_jax.jobs.prepare import frame_batches
from v2meow_jax.jobs.prepare import sound_checks

# Seconds of a video's path, and its consecutive stretches.
SecondsOf = Callable[[str], float]
ReadVideo = Callable[[str], Iterable[Any]]
# A path and the wanted samples a second; None when there is no sound.
ReadAudio = Callable[[str, int], Any]


# By the name of the stream. One of video that has `inputs` (a stretch -> rows),
# `outputs` (`batch_size` rows -> as many) gets frames of many clips in one call.
Extractors = Mapping[str, extractor_lib.Extractor]
# A sound track this much shorter or longer than its picture is the rounding of
# a container, not another length.
_TOLERANCE_SECONDS = 0.1


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClipReading:
  """What is recorded of clips, and by which functions they are read.

  Workers unpickle them, so they are functions of a module.

  Attributes:
    streams: Streams to record, each with an extractor of its name.
    make_extractors: Function that loads the networks, once in each process.
    video_seconds: Function from a path to the length of a video.
    read_video: Function from a path to consecutive stretches, `media.Video`.
    read_audio: Function from a path and a sample rate in Hz to `media.Audio`;
      None when there is no sound.
    min_seconds: Shortest length of a clip to train on; the longest crop of the
      stages. To evaluate, one of a frame of every stream is enough.
    clips_at_once: Number of clips whose frames fill a batch together; the
      record of a clip does not depend on it.
    leave_out: Names of `sound_checks.troubles` for which a clip is rejected.
  """

  streams: Sequence[specs.Stream]
  make_extractors: Callable[[], Extractors]
  video_seconds: SecondsOf
  read_video: ReadVideo
  read_audio: ReadAudio
  min_seconds: float = 1.0
  clips_at_once: int = 1
  leave_out: Sequence[str] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Done:
  """A clip that was prepared.

  Attributes:
    id: Name of the clip.
    recording: Records of the clip.
    moments: Moments of the recorded frames, by continuous stream; not of
      streams with one vector a clip, nor of those that are standardised.
    sound: Shares that `sound_checks.troubles` found.
  """

  id: str
  recording: shards.Recording
  moments: Mapping[str, standardize.Moments]
  sound: Mapping[str, float]


class _Rejected(Exception):
  """A clip that cannot be used: at which stage; __cause__ says why."""


@dataclasses.dataclass
class _Started:
  """A clip whose frames may still wait for their networks.

  Attributes:
    seconds: Time that every stream covers.
    parts: Pieces of each stream so far, in order.
    sound: Shares that `sound_checks.troubles` found.
  """

  seconds: float
  parts: dict[str, list[np.ndarray]]
  sound: Mapping[str, float]


class Extract(beam.DoFn):
  """[((split, shard), Clip), ...] -> ((split, shard), Done) of each.

  A clip that fails goes to the output 'rejected' as a row of the ledger: `id`,
  `stage`, `error` (a class) and `message`.

  Attributes:
    seconds: Wall time by step of all clips so far.
  """

  def __init__(
    self,
    reading: ClipReading,
    piece_seconds: float = records.PIECE_SECONDS,
    progress_dir: str | None = None,
    on_step: Callable[[str], None] | None = None,
  ):
    """Reads nothing yet.

    Args:
      reading: Streams to record, and the functions that read clips.
      piece_seconds: Length of a record, in seconds.
      progress_dir: Folder in which done clips are counted; None: they are not.
      on_step: Function to call with the name of each step as it begins.
    """
    self._on_step = on_step or (lambda name: None)
    self._reading = reading
    self._piece_seconds = piece_seconds
    self._streams = tuple(reading.streams)
    self._progress_dir = progress_dir
    self.seconds: collections.Counter[str] = collections.Counter()
    # One per process, whatever the number of threads and copies of this.
    self._shared = shared.Shared()

  def setup(self):
    """Gets the extractors of this process."""
    self._extractors = self._shared.acquire(self._load).extractors

  def _load(self) -> _Loaded:
    extractors = self._reading.make_extractors()
    for stream in self._streams:
      if stream.name not in extractors:
        raise ValueError(
          f'no extractor for the recorded stream {stream.name!r}; there are'
          f' {sorted(extractors)}.'
        )
      reads = extractors[stream.name].reads
      if reads not in ('video', 'audio', 'plan'):
        raise ValueError(
          f'the extractor of {stream.name!r} reads {reads!r}; wanted one of'
          " 'video', 'audio' or 'plan'."
        )
    return _Loaded(extractors)

  def process(self, element):
    """Some clips -> as many recordings, or rows of the ledger."""
    batches = {
      name: frame_batches.Batches(extractor.outputs, extractor.batch_size)
      for name, extractor in self._of('video').items()
      if hasattr(extractor, 'outputs')
    }
    started = []
    for place, clip in element:
      try:
        started.append((place, clip, self._start(clip, batches)))
      except _Rejected as e:
        for frames in batches.values():
          frames.drop(clip.id)
        yield self._rejected(clip, e)
    for name, frames in batches.items():
      with self._stage(f'extract {name}'):
        frames.flush()
    for place, clip, found in started:
      try:
        yield place, self._record(clip, found, batches)
        self._count()
      except _Rejected as e:
        yield self._rejected(clip, e)

  def _rejected(self, clip: manifests.ManifestClip, error: _Rejected):
    self._count()
    cause = error.__cause__
    row = {
      'id': clip.id,
      'stage': str(error),
      'error': type(cause).__name__,
      'message': str(cause),
    }
    return beam.pvalue.TaggedOutput('rejected', row)

  def _count(self) -> None:
    if self._progress_dir is not None:
      # In containers every process may have the same number.
      name = f'{socket.gethostname()}-{os.getpid()}'
      path = os.path.join(self._progress_dir, name)
      with open(path, 'ab') as f:
        f.write(b'.')

  def _of(self, medium: str) -> dict[str, Any]:
    """Extractors of the recorded streams that read one medium."""
    extractors = {s.name: self._extractors[s.name] for s in self._streams}
    return {name: e for name, e in extractors.items() if e.reads == medium}

  def _start(
    self,
    clip: manifests.ManifestClip,
    batches: Mapping[str, frame_batches.Batches],
  ) -> _Started:
    """Everything but what networks of frames have yet to give."""
    audios = {
      rate_hz: self._hear(clip.path, rate_hz)
      for rate_hz in {e.sample_rate_hz for e in self._of('audio').values()}
    }
    lengths = {f'audio at {r} Hz': a.seconds for r, a in audios.items()}
    if self._of('video'):
      with self._stage('read video'):
        _require(clip.path)
        lengths['video'] = self._reading.video_seconds(clip.path)
    least = self._reading.min_seconds if clip.split == 'train' else 0.0
    with self._stage('align'):
      seconds = _common_seconds(lengths, self._streams, least)
    sound = self._listen(audios, seconds)
    parts: dict[str, list[np.ndarray]] = {s.name: [] for s in self._streams}
    for name, extractor in self._of('audio').items():
      audio = _fit_audio(audios[extractor.sample_rate_hz], seconds)
      with self._stage(f'extract {name}'):
        parts[name].append(_heard(clip, extractor, audio))
    for name, extractor in self._of('plan').items():
      with self._stage(f'extract {name}'):
        parts[name].append(_planned(clip, extractor, seconds))
    for piece in self._watch(clip.path, seconds):
      for name, extractor in self._of('video').items():
        with self._stage(f'extract {name}'):
          if name in batches:
            batches[name].put(clip.id, extractor.inputs(piece))
          else:
            parts[name].append(np.asarray(extractor(piece)))
    return _Started(seconds, parts, sound)

  def _record(
    self,
    clip: manifests.ManifestClip,
    found: _Started,
    batches: Mapping[str, frame_batches.Batches],
  ) -> Done:
    values = {}
    for stream in self._streams:
      with self._stage(f'extract {stream.name}'):
        parts = found.parts[stream.name]
        if stream.name in batches:
          parts = [batches[stream.name].take(clip.id)]
        frames = np.concatenate(parts)
        values[stream.name] = frames[
          : records.num_frames(stream, found.seconds)
        ]
    with self._stage('record'):
      pieces = records.serialise(
        clip.id, found.seconds, values, self._streams, self._piece_seconds
      )
    return Done(
      id=clip.id,
      recording=shards.Recording(seconds=found.seconds, pieces=pieces),
      moments={
        stream.name: _moments(values[stream.name])
        for stream in self._streams
        if self._is_to_standardise(stream)
      },
      sound=found.sound,
    )

  def _is_to_standardise(self, stream: specs.Stream) -> bool:
    # A vector a clip enters a network by its direction alone.
    is_continuous = isinstance(stream, specs.FeatureSpec)
    extractor = self._extractors[stream.name]
    is_done = getattr(extractor, 'is_standardised', False)
    return is_continuous and not stream.is_static and not is_done

  def _hear(self, path: str, rate_hz: int) -> Any:
    with self._stage('read audio'):
      _require(path)
      audio = self._reading.read_audio(path, rate_hz)
      if audio is None:
        raise ValueError(f'{path} has no audio')
      return audio

  def _listen(
    self, audios: Mapping[int, Any], seconds: float
  ) -> dict[str, float]:
    """Looks for what is wrong with the sound, at its highest rate."""
    if not audios:
      return {}
    with self._stage('listen'):
      audio = _fit_audio(audios[max(audios)], seconds)
      sound = sound_checks.troubles(audio)
      wrong = {k: x for k, x in sound.items() if k in self._reading.leave_out}
      if wrong:
        raise ValueError(sound_checks.sentence(wrong))
    return sound

  def _watch(self, path: str, seconds: float) -> Iterator[Any]:
    """The stretches of a video, cut to `seconds`."""
    if not self._of('video'):
      return
    with self._stage('read video'):
      pieces = iter(self._reading.read_video(path))
    waiting = None
    while True:
      with self._stage('read video'):
        piece = next(pieces, None)
      if piece is None or piece.start_seconds >= seconds - 1e-9:
        break
      if waiting is not None:
        yield _fit_video(waiting, piece.start_seconds)
      waiting = piece
    if waiting is not None:
      yield _fit_video(waiting, seconds)

  @contextlib.contextmanager
  def _stage(self, name: str) -> Iterator[None]:
    """Anything that goes wrong inside rejects the clip, not the run."""
    self._on_step(name)
    start = time.perf_counter()
    try:
      yield
    except Exception as e:
      raise _Rejected(name) from e
    finally:
      self.seconds[name] += time.perf_counter() - start


@dataclasses.dataclass
class _Loaded:
  """Extractors; a class of its own, so that it can be weakly referenced."""

  extractors: Extractors


def _require(path: str) -> None:
  if not paths.path(path).exists():
    raise FileNotFoundError(f'no file {path}')


def _common_seconds(
  lengths: Mapping[str, float], streams: Sequence[specs.Stream], least: float
) -> float:
  """The longest time that all media cover, in frames of the slowest stream."""
  slowest = min((s.rate_hz for s in streams if s.rate_hz), default=1.0)
  period = 1 / fractions.Fraction(slowest).limit_denominator(10**6)
  shortest = min(lengths.values())
  seconds = float((shortest + _TOLERANCE_SECONDS) // period * period)
  if seconds < max(least, float(period)):
    shown = {kind: round(length, 3) for kind, length in lengths.items()}
    raise ValueError(
      f'the clip gives {seconds:g} s of {shown}; wanted at least'
      f' {max(least, float(period)):g} s'
      + (', the shortest to train on' if least > period else '')
    )
  return seconds


def _moments(frames: np.ndarray) -> standardize.Moments:
  """Moments of frames as they are recorded, float[frames, ..., dim]."""
  rows = frames.astype(np.float16).reshape(-1, frames.shape[-1])
  return standardize.Moments.empty(frames.shape[-1]).with_rows(rows)


def _heard(
  clip: manifests.ManifestClip, extractor: Any, audio: Any
) -> np.ndarray:
  """The stream of a clip's music; a style may be said by its caption."""
  said = getattr(extractor, 'said', None)
  style = said(clip) if said else None
  return np.asarray(extractor(audio)) if style is None else style


def _planned(
  clip: manifests.ManifestClip,
  extractor: Any,
  seconds: float,
) -> np.ndarray:
  """The stream of a clip's plan; without one zeros, as dropped in training."""
  if clip.plan is None:
    stream = extractor.stream
    shape = (records.num_frames(stream, seconds), *stream.frame_shape)
    return np.zeros(shape, np.float32)
  plan = plan_lib.from_content(clip.plan)
  return extractor(plan_lib.continued(plan, seconds))


def _fit_audio(audio: Any, seconds: float) -> Any:
  """Sound cut to `seconds`; what is short by rounding gets silence."""
  wanted = round(seconds * audio.rate_hz)
  samples = audio.samples[:wanted]
  samples = np.pad(samples, (0, wanted - len(samples)))
  return dataclasses.replace(audio, samples=samples)


def _fit_video(piece: Any, end: float) -> Any:
  """A stretch of video that ends at `end`: cut, or its last picture held."""
  shown = piece.times < end
  return dataclasses.replace(
    piece,
    frames=piece.frames[shown],
    times=piece.times[shown],
    seconds=end - piece.start_seconds,
  )
