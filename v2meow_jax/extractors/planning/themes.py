"""Says where the music of a plan is heard again: sections that share a label."""

from __future__ import annotations

from collections.abc import Iterator
import dataclasses

import numpy as np

from v2meow_jax.extractors.planning import bending
from v2meow_jax.extractors.planning import plan as plan_lib

# ours: a theme of eight bars, as most of those that people remember; what follows
# goes on from it.
_MOST_BARS = 8
_NEAR_SECONDS = 1e-3


@dataclasses.dataclass(frozen=True, kw_only=True)
class Return:
  """A stretch of a clip in which music is heard again.

  Attributes:
    times: Times in seconds, rising, float64[n]; the first and the last bound the
      stretch.
    earlier: Times at which the same moments of the music were heard before, in
      seconds, float64[n].
  """

  times: np.ndarray
  earlier: np.ndarray

  def frames(self, rate_hz: float) -> tuple[int, np.ndarray]:
    """The first frame of the stretch, and the earlier frame of each."""
    first, stop = np.round(self.times[[0, -1]] * rate_hz).astype(int)
    middles = (np.arange(first, stop) + 0.5) / rate_hz
    earlier = np.interp(middles, self.times, self.earlier) * rate_hz
    return int(first), np.clip(earlier, 0, max(first - 1, 0)).astype(int)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
  """Sections in a row that share label and key.

  Attributes:
    label: Label of the sections.
    key: Key of the music, or None.
    start: Start of the first section, in seconds.
    end: End of the last section, in seconds.
  """

  label: str | None
  key: str | None
  start: float
  end: float


def runs(plan: plan_lib.MusicPlan) -> list[Run]:
  """The sections of a plan, those that go on with one label and key joined."""
  joined: list[Run] = []
  ends = [*(s.start_seconds for s in plan.sections[1:]), plan.seconds]
  for section, end in zip(plan.sections, ends, strict=True):
    key = section.key or plan.key
    last = joined[-1] if joined else None
    if last and last.label is not None:
      if (section.label, key) == (last.label, last.key):
        joined[-1] = dataclasses.replace(last, end=end)
        continue
    joined.append(
      Run(label=section.label, key=key, start=section.start_seconds, end=end)
    )
  return joined


def returns(plan: plan_lib.MusicPlan | None) -> tuple[Return, ...]:
  """Where the music of an earlier section is heard again.

  A section whose label an earlier one had begins with the music of that, moved
  beat by beat and bar by bar, eight bars of it at most; then it goes on on its
  own. A label that comes again in another key, or at a tempo further away than
  `bending.MAX_STRETCH`, is other music.

  Args:
    plan: Plan of the clip, or None.

  Returns:
    The stretches, in the order of time.
  """
  if plan is None:
    return ()
  first: dict[tuple[str, str | None], Run] = {}
  again = []
  for run in runs(plan):
    if run.label is None:
      continue
    earlier = first.setdefault((run.label, run.key), run)
    if earlier is not run:
      again.extend(_again(plan, earlier, run))
  return tuple(again)


def _again(
  plan: plan_lib.MusicPlan, earlier: Run, run: Run
) -> Iterator[Return]:
  """The return of a run, if its beats fit those of the earlier one."""
  here, down_here = _beats(plan, run)
  there, down_there = _beats(plan, earlier)
  # Bars begin together.
  skipped = (down_there - down_here) % plan.beats_per_bar
  there = there[skipped:]
  num = min(len(here), len(there), _MOST_BARS * plan.beats_per_bar + 1)
  if num <= plan.beats_per_bar:
    return
  here, there = here[:num], there[:num]
  stretch = np.diff(here) / np.diff(there)
  if max(stretch.max(), 1 / stretch.min()) > bending.MAX_STRETCH**2 + 1e-6:
    return
  yield Return(times=here, earlier=there)


def _beats(plan: plan_lib.MusicPlan, run: Run) -> tuple[np.ndarray, int]:
  """Times of the beats of a run, and the number of its first downbeat."""
  times = plan.beat_times
  inside = (times >= run.start - _NEAR_SECONDS) & (
    times <= run.end + _NEAR_SECONDS
  )
  downs = np.array([beat.downbeat for beat in plan.beats], bool)[inside]
  return times[inside], int(np.argmax(downs)) if downs.any() else 0
