"""Scores of several takes a clip: figures of all takes, intervals over clips.

The paper generates five times for each clip of AIST++ and gives mean and
deviation over all generations. So do the figures here. Takes of one clip are
not independent, though: an interval that took them so would be far too narrow.
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses

import numpy as np

from v2meow_jax.evaluation.metrics import beat_coverage
from v2meow_jax.evaluation.metrics import bootstrap
from v2meow_jax.evaluation.metrics import scores

_SHUFFLED = '_shuffled'

Found = dict[str, scores.Score]


def rule(clips: Sequence[str]) -> str:
  """What a report must say of takes; empty where each clip has one."""
  num_clips = len(set(clips))
  if num_clips == len(clips):
    return ''
  return (
    f' There are {len(clips)} takes of {num_clips} clips: figures are of all'
    ' takes, and intervals of other clips, the takes of a clip together. A'
    ' figure of a set as a whole has no interval then, but for F1 and the'
    ' deviations.'
  )


def over_clips(
  found: Mapping[str, scores.Score], clips: Sequence[str], *, seed: int
) -> Found:
  """Scores as `runner.score` gives them, with the intervals that takes allow.

  A bootstrap draws clips, each with all of its takes. Where there are no
  values per take the interval is left out. Mismatched pairs (`_shuffled`) are
  those of takes with the references of other clips.

  Args:
    found: Over all takes, each paired with the reference of its clip.
    clips: The clip of each take, in the order of `per_clip`.
    seed: Of the resampling.

  Returns:
    The same scores where no clip has two takes.
  """
  _, places, counts = np.unique(clips, return_inverse=True, return_counts=True)
  if len(counts) == len(clips):
    return dict(found)

  def interval(values: np.ndarray, statistic: beat_coverage.Statistic):
    """Of the means over all takes: sums of a clip, over its number of takes."""
    sums = np.zeros((len(counts), values.shape[1]))
    np.add.at(sums, places, values)
    return bootstrap.means_interval(
      np.column_stack([sums, counts]),
      lambda m: statistic(m[:, :-1] / m[:, -1:]),
      seed=seed,
    )

  intervals = {
    name: interval(np.array(score.per_clip)[:, None], lambda m: m[:, 0])
    for name, score in found.items()
    if score.is_mean and _SHUFFLED not in name
  }
  for suffix in ('', '_unadjusted', '_70ms'):
    if f'bcs{suffix}' in found:
      sides = (found[f'{name}{suffix}'].per_clip for name in ('bcs', 'bhs'))
      values = np.stack([*sides], axis=1)
      for name, columns in beat_coverage.of_all(values).items():
        if name + suffix in found:
          intervals[name + suffix] = interval(*columns)
  taken = {}
  for name, score in found.items():
    if _SHUFFLED in name:
      matched = found[name.replace(_SHUFFLED, '')].per_clip
      if len(counts) == 1:
        continue
      score = _of_other_clips(score, matched, counts[places] - 1)
    ends = intervals.get(name)
    taken[name] = dataclasses.replace(
      score,
      low=ends.low if ends else None,
      high=ends.high if ends else None,
      details={**score.details, 'num_references': len(counts)},
    )
  return taken


def _of_other_clips(
  score: scores.Score, matched: Sequence[float], num_siblings: np.ndarray
) -> scores.Score:
  """A mean over mismatched pairs without those of two takes of one clip.

  Takes of a clip share the reference, so such a pair scores what its take
  scores.

  Args:
    score: Over all pairs of a take and the reference of another.
    matched: The score of each take with its own reference.
    num_siblings: int[takes], other takes of the same clip.

  Returns:
    The same over the other pairs, of which there are some.
  """
  num_others = len(matched) - 1
  num_pairs = num_others - num_siblings
  sums = num_others * np.array(score.per_clip) - num_siblings * matched
  return dataclasses.replace(
    score,
    value=float(sums.sum() / num_pairs.sum()),
    per_clip=tuple((sums / num_pairs).tolist()),
  )
