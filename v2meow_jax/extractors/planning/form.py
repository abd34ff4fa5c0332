"""The form of a film: acts with tempo, key and theme, some of which return.

An act begins at a cut where the scene changes: where what is seen for a while is
far from what was seen before. An act that looks as an earlier one did has its
label, and with it its tempo, its key and its theme.
"""

from __future__ import annotations

import bisect
from collections.abc import Sequence
import dataclasses

import numpy as np

from v2meow_jax.extractors.planning import analysis as analysis_lib
from v2meow_jax.extractors.planning import plan as plan_lib

# ours: shorter clips are one act, as a theme wants time to be learnt and missed.
_FORM_SECONDS = 90.0
_ACT_SECONDS = 30.0
_LOOK_SECONDS = 15.0
# Mean changes of layout and colours, as those of `analysis`, whose cuts have 0.15
# and more: from a scene to the next, and between two acts of one place.
_NEW_SCENE = 0.15
_SAME_SCENE = 0.1
_LETTERS = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ'
# A beat before a new act is left out where the next one comes too soon.
_LEAST_BEAT = 0.5


@dataclasses.dataclass(frozen=True, kw_only=True)
class Act:
  """A stretch of a film with music of its own.

  Attributes:
    start: Start in the film, in seconds.
    end: End in the film, in seconds.
    label: Name that it shares with acts that look alike.
  """

  start: float
  end: float
  label: str


def acts(seen: analysis_lib.Analysis) -> list[Act]:
  """The acts of a film; one alone for a clip.

  Args:
    seen: Analysis of the whole film.

  Returns:
    The acts, in the order of time, each of another label than the one before.
  """
  borders = [0.0, *_borders(seen), seen.seconds]
  scenes: list[tuple[np.ndarray, float]] = []  # Sum of looks, and their number.
  found: list[Act] = []
  for start, end in zip(borders[:-1], borders[1:], strict=True):
    number = 0
    if len(borders) > 2:
      number = _scene(scenes, seen.looks[int(start) : max(int(end), 1)])
    label = _name(number)
    if found and found[-1].label == label:
      found[-1] = dataclasses.replace(found[-1], end=end)
    else:
      found.append(Act(start=start, end=end, label=label))
  return found


def _borders(seen: analysis_lib.Analysis) -> list[float]:
  """Cuts at which the scene changes, the greatest changes first, in order."""
  if seen.seconds < _FORM_SECONDS or not len(seen.looks):
    return []
  sums = np.concatenate(
    [np.zeros((1, seen.looks.shape[1])), np.cumsum(seen.looks, 0, np.float64)]
  )
  width, last = round(_LOOK_SECONDS), len(seen.looks)
  cuts = seen.cuts[
    (seen.cuts >= _ACT_SECONDS) & (seen.cuts <= seen.seconds - _ACT_SECONDS)
  ]
  middles = np.clip(np.round(cuts).astype(int), width, last - width)
  before = sums[middles] - sums[middles - width]
  after = sums[middles + width] - sums[middles]
  changes = np.abs(after - before).sum(1) / width
  kept: list[float] = []
  for i in np.argsort(-changes, kind='stable'):
    if changes[i] < _NEW_SCENE:
      break
    # On the grid of the analysis, so that each act has whole steps.
    border = round(float(cuts[i]) * analysis_lib.RATE_HZ) / analysis_lib.RATE_HZ
    at = bisect.bisect(kept, border)
    near = kept[max(0, at - 1) : at + 1]
    if all(abs(border - other) >= _ACT_SECONDS for other in near):
      kept.insert(at, border)
  return kept


def _scene(scenes: list[tuple[np.ndarray, float]], looks: np.ndarray) -> int:
  """Number of the scene that some looks are of, which is perhaps a new one."""
  total, count = looks.sum(0, np.float64), len(looks)
  distances = [np.abs(s / n - total / count).sum() for s, n in scenes]
  if distances and min(distances) < _SAME_SCENE:
    number = int(np.argmin(distances))
    scenes[number] = (scenes[number][0] + total, scenes[number][1] + count)
    return number
  scenes.append((total, count))
  return len(scenes) - 1


def _name(number: int) -> str:
  """A, B ... Z, A2, B2 ..."""
  round_number, letter = divmod(number, len(_LETTERS))
  return _LETTERS[letter] + (str(round_number + 1) if round_number else '')


def between(seen: analysis_lib.Analysis, act: Act) -> analysis_lib.Analysis:
  """The analysis of an act, as if it were a clip."""
  rate_hz = analysis_lib.RATE_HZ
  first = round(act.start * rate_hz)
  stop = len(seen.motion)
  if act.end < seen.seconds:
    stop = round(act.end * rate_hz)
  inside = (seen.cuts > act.start - 1 / rate_hz) & (
    seen.cuts < act.end - 1 / rate_hz
  )
  curves = ('motion', 'accents', 'brightness', 'saturation', 'warmth')
  return dataclasses.replace(
    seen,
    **{name: getattr(seen, name)[first:stop] for name in curves},
    seconds=act.end - act.start,
    cuts=np.maximum(seen.cuts[inside] - act.start, 0.0),
    cut_changes=seen.cut_changes[inside],
  )


def joined(
  of: Sequence[Act], plans: Sequence[plan_lib.MusicPlan], seconds: float
) -> plan_lib.MusicPlan:
  """One plan of the plans of all acts.

  Args:
    of: Acts of the film.
    plans: Plan of each.
    seconds: Length of the film, in seconds.
  """
  beats: list[plan_lib.Beat] = []
  sections: list[plan_lib.Section] = []
  key = plans[0].key
  for act, plan in zip(of, plans, strict=True):
    moved = [
      dataclasses.replace(b, seconds=round(b.seconds + act.start, 4))
      for b in plan.beats
    ]
    while beats and moved:
      if moved[0].seconds - beats[-1].seconds >= (
        _LEAST_BEAT * 60 / plan.tempo_bpm
      ):
        break
      beats.pop()
    beats += moved
    sections += [
      dataclasses.replace(
        section,
        start_seconds=round(section.start_seconds + act.start, 4),
        label=act.label,
        key=None if plan.key == key else plan.key,
      )
      for section in plan.sections
    ]
  last = plans[-1]
  end = last.end_seconds
  return dataclasses.replace(
    last,
    seconds=seconds,
    source=plans[0].source,
    beats=tuple(beats),
    sections=tuple(sections),
    end_seconds=None if end is None else round(end + of[-1].start, 4),
    key=key,
  )
