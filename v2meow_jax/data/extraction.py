"""One clip -> one record: the part of a preparation that runs in workers."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
import contextlib
import dataclasses
import fractions
import os
from typing import Any

import apache_beam as beam
from apache_beam.utils import shared
import numpy as np
import tensorflow as tf

from v2meow_jax import specs
from v2meow_jax.data import manifests
from v2meow_jax.data import records

# Reads a path; None or an exception rejects the clip.
Reader = Callable[[str], Any]
# Stream name -> ('video' or 'audio', the extractor that takes it).
Extractors = Mapping[str, tuple[str, Callable[[Any], np.ndarray]]]
# A sound track this much shorter or longer than its picture is the rounding of
# a container, not another length.
_TOLERANCE_SECONDS = 0.1


class _Rejected(Exception):
  """A clip that cannot be used: at which stage; __cause__ says why."""


class Extract(beam.DoFn):
  """((split, shard), Clip) -> ((split, shard), (id, record)).

  A clip that fails goes to the output 'rejected' as a row of the ledger: `id`,
  `stage`, `error` (a class) and `message`.
  """

  def __init__(
    self,
    *,
    streams: tuple[specs.Stream, ...],
    make_extractors: Callable[[], Extractors],
    read_video: Reader,
    read_audio: Reader,
    min_seconds: float,
    progress_dir: str | None,
  ):
    self._streams = streams
    self._make_extractors = make_extractors
    self._readers = {'video': read_video, 'audio': read_audio}
    self._min_seconds = min_seconds
    self._progress_dir = progress_dir
    # One per process, whatever the number of threads and copies of this.
    self._shared = shared.Shared()

  def setup(self):
    """Gets the extractors of this process."""
    self._extractors = self._shared.acquire(self._load).extractors

  def _load(self) -> _Loaded:
    extractors = self._make_extractors()
    for stream in self._streams:
      if stream.name not in extractors:
        raise ValueError(
          f'no extractor for the recorded stream {stream.name!r}; there are'
          f' {sorted(extractors)}.'
        )
      kind, _ = extractors[stream.name]
      if kind not in self._readers:
        raise ValueError(
          f'the extractor of {stream.name!r} takes {kind!r}; wanted one of'
          f' {sorted(self._readers)}.'
        )
    return _Loaded(extractors)

  def process(self, element):
    """One clip -> one record, or one row of the ledger."""
    place, clip = element
    try:
      yield place, (clip.id, self._record(clip))
    except _Rejected as e:
      cause = e.__cause__
      row = {
        'id': clip.id,
        'stage': str(e),
        'error': type(cause).__name__,
        'message': str(cause),
      }
      yield beam.pvalue.TaggedOutput('rejected', row)
    self._count()

  def _count(self) -> None:
    if self._progress_dir is not None:
      path = os.path.join(self._progress_dir, str(os.getpid()))
      with open(path, 'ab') as f:
        f.write(b'.')

  def _record(self, clip: manifests.Clip) -> bytes:
    kinds = {self._extractors[s.name][0] for s in self._streams}
    items = {kind: self._read(kind, clip.path) for kind in sorted(kinds)}
    with _stage('align'):
      seconds = _common_seconds(items, self._streams, self._min_seconds)
      items = {kind: _fit(item, seconds) for kind, item in items.items()}
    values = {}
    for stream in self._streams:
      kind, extractor = self._extractors[stream.name]
      with _stage(f'extract {stream.name}'):
        frames = np.asarray(extractor(items[kind]))
        values[stream.name] = frames[: records.num_frames(stream, seconds)]
    with _stage('record'):
      return records.serialise(clip.id, seconds, values, self._streams)

  def _read(self, kind: str, path: str) -> Any:
    with _stage(f'read {kind}'):
      if not tf.io.gfile.exists(path):
        raise FileNotFoundError(f'no file {path}')
      item = self._readers[kind](path)
      if item is None:
        raise ValueError(f'{path} has no {kind}')
      return item


@dataclasses.dataclass
class _Loaded:
  """Extractors; a class of its own, so that it can be weakly referenced."""

  extractors: Extractors


@contextlib.contextmanager
def _stage(name: str) -> Iterator[None]:
  """Anything that goes wrong inside rejects the clip, not the run."""
  try:
    yield
  except Exception as e:
    raise _Rejected(name) from e


def _common_seconds(
  items: Mapping[str, Any], streams: Sequence[specs.Stream], least: float
) -> float:
  """The longest time that all items cover, in frames of the slowest stream."""
  slowest = min((s.rate_hz for s in streams if s.rate_hz), default=1.0)
  period = 1 / fractions.Fraction(slowest).limit_denominator(10**6)
  shortest = min(item.seconds for item in items.values())
  seconds = float((shortest + _TOLERANCE_SECONDS) // period * period)
  if seconds < max(least, float(period)):
    lengths = {kind: round(item.seconds, 3) for kind, item in items.items()}
    raise ValueError(
      f'the clip gives {seconds:g} s of {lengths}; wanted at least'
      f' {max(least, float(period)):g} s'
    )
  return seconds


def _fit(item: Any, seconds: float) -> Any:
  """A Video or Audio cut to `seconds`; sound short by rounding gets silence."""
  if hasattr(item, 'samples'):
    wanted = round(seconds * item.rate_hz)
    samples = item.samples[:wanted]
    samples = np.pad(samples, (0, wanted - len(samples)))
    return dataclasses.replace(item, samples=samples)
  shown = item.times < item.start_seconds + seconds
  return dataclasses.replace(
    item, frames=item.frames[shown], times=item.times[shown], seconds=seconds
  )
