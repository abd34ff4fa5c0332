"""Where the windows of a stage lie in a clip, and how its codes are put together.

Windows follow one another, each led by the last codes of the one before. What
was heard before is copied, and the window after it goes on from there.
"""

from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import math
from typing import Protocol

import numpy as np

from v2meow_jax import media
from v2meow_jax import specs
from v2meow_jax.extractors.planning import themes
from v2meow_jax.files.films import scratch


class Kept(Protocol):
  """The windows of a clip that are done, wherever they are kept."""

  def windows(self, spec: specs.StageSpec) -> Iterable[np.ndarray]:
    """Codes of the windows that a stage has written, in their order."""
    ...

  def add(self, spec: specs.StageSpec, codes: np.ndarray) -> None:
    """Keeps the codes of the next window of a stage."""
    ...


@dataclasses.dataclass(frozen=True, kw_only=True)
class Remade:
  """A stretch of a clip that is made again.

  Attributes:
    start: Start of the stretch, in seconds.
    end: End of the stretch, in seconds.
    codes: Codes of the whole clip as they are, by stream, [frames, levels].
  """

  start: float
  end: float
  codes: Mapping[str, np.ndarray]

  def frames(self, rate_hz: float, num_frames: int) -> tuple[int, int]:
    """First frame of the stretch, and the one after its last."""
    stop = min(math.ceil(self.end * rate_hz - 1e-6), num_frames)
    return min(math.floor(self.start * rate_hz + 1e-6), stop), stop


@dataclasses.dataclass(frozen=True, kw_only=True)
class Window:
  """A window of a clip.

  Attributes:
    start_seconds: Start of what it sees, in seconds.
    num_known: Number of its first frames that were written before.
    num_kept: Number of frames that it adds; None: all that it has.
  """

  start_seconds: float
  num_known: int
  num_kept: int | None


def window_starts(
  seconds: float, crop_seconds: float, prefix_seconds: float
) -> list[float]:
  """Starts of the windows that cover a clip.

  >>> window_starts(25.0, 10.0, 2.0)
  [0.0, 8.0, 16.0]
  """
  hop = crop_seconds - prefix_seconds
  if hop <= 0:
    raise ValueError(
      f'a prefix of {prefix_seconds} s fills the window of'
      f' {crop_seconds} s; make it shorter.'
    )
  count = max(1, math.ceil((seconds - prefix_seconds) / hop - 1e-9))
  return [i * hop for i in range(count)]


class Track:
  """The codes of one clip as a stage writes them."""

  def __init__(
    self,
    spec: specs.StageSpec,
    seconds: float,
    prefix_seconds: float,
    returns: Sequence[themes.Return] = (),
    remade: Remade | None = None,
    opening: np.ndarray | None = None,
    make: scratch.Room = scratch.in_memory,
  ):
    """Nothing is written yet, but what is not made again.

    Args:
      spec: Stage that writes.
      seconds: Length of the clip, in seconds.
      prefix_seconds: Seconds of a window that the one before has written.
      returns: Stretches that are copied, in the order of time.
      remade: Stretch to make again, in which nothing is copied; None: all.
      opening: Frames that the first window goes on from, as many as a prefix
        has, which are no part of the clip; a stretch that is made again, and a
        clip with returns, go on from what is there.
      make: Function that gives the zeros that are written over.

    Raises:
      ValueError: The opening has another length than a prefix.
    """
    target = spec.target
    self._rate_hz = target.rate_hz
    self._known = round(prefix_seconds * target.rate_hz)
    self._crop = specs.whole_frames(
      target.name, spec.crop_seconds, target.rate_hz
    )
    self._end = math.ceil(seconds * self._rate_hz - 1e-9)
    self._returns = [r.frames(self._rate_hz) for r in returns]
    self._make = make
    # In one place from the start, so that a long film is never held twice.
    self._written: np.ndarray | None = None
    self._num_frames = 0
    self._num_opening = 0
    self.num_added = 0
    self._num_after = 0
    if remade is not None:
      codes = remade.codes[spec.target.name]
      first, self._end = remade.frames(self._rate_hz, len(codes))
      self._num_after = len(codes) - self._end
      self._append(codes[:first])
      self._put(self._end, codes[self._end :])
      self._returns = []
      self.windows = list(self._around_returns(first))
    elif not returns:
      before = 0.0
      if opening is not None:
        _check_opening(spec, opening, self._known)
        self._append(opening)
        self._num_opening, before = self._known, prefix_seconds
      starts = window_starts(
        seconds + before, spec.crop_seconds, prefix_seconds
      )
      self.windows = [
        Window(
          start_seconds=start - before,
          num_known=self._known if number or before else 0,
          num_kept=None,
        )
        for number, start in enumerate(starts)
      ]
    else:
      self.windows = list(self._around_returns())

  def _around_returns(self, place: int = 0) -> Iterable[Window]:
    """Windows of all from a frame on that is not copied, up to the end."""
    for first, frames in [*self._returns, (self._end, ())]:
      while place < first:
        known = min(self._known, place)
        added = min(self._crop - known, first - place)
        yield Window(
          start_seconds=(place - known) / self._rate_hz,
          num_known=known,
          num_kept=added,
        )
        place += added
      place += len(frames)

  def seconds(self, number: int) -> float:
    """Seconds of the clip that a window adds, for progress."""
    window = self.windows[number]
    frames = window.num_kept or self._crop - window.num_known
    return frames / self._rate_hz

  def prefix(self, number: int) -> np.ndarray:
    """Codes that lead a window: those written last."""
    wanted = self.windows[number].num_known
    assert self._written is not None
    return self._written[self._num_frames - wanted : self._num_frames]

  def add(self, codes: np.ndarray) -> None:
    """Adds the next window, with the frames that it was led by."""
    window = self.windows[self.num_added]
    self.num_added += 1
    self._append(codes[window.num_known :][: window.num_kept])
    while self._returns and self._returns[0][0] <= self._num_frames:
      _, frames = self._returns.pop(0)
      self._append(self.codes()[frames])

  def _append(self, codes: np.ndarray) -> None:
    self._put(self._num_frames, codes)
    self._num_frames += len(codes)

  def _put(self, place: int, codes: np.ndarray) -> None:
    if self._written is None:
      # The last window may reach beyond the end.
      most = self._known + self._end + self._crop + self._num_after
      self._written = self._make((most, *codes.shape[1:]), codes.dtype)
    self._written[place : place + len(codes)] = codes
    media.release(self._written)

  def codes(self) -> np.ndarray:
    """All that is written, [frames, levels]."""
    assert self._written is not None
    is_done = self.num_added == len(self.windows)
    end = self._num_frames + (self._num_after if is_done else 0)
    return self._written[self._num_opening : end]


def _check_opening(
  spec: specs.StageSpec, opening: np.ndarray, known: int
) -> None:
  """Raises ValueError unless an opening is as long as a prefix."""
  if not known or len(opening) != known:
    raise ValueError(
      f'an opening of stage {spec.name!r} has {len(opening)} frames; wanted'
      f' {known}, the prefix of its windows, which must be above 0.'
    )
