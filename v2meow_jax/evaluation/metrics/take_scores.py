"""Scores several takes a clip: figures of all takes, intervals over clips.

The paper generates five times for each clip of AIST++ and gives mean and
deviation over all generations, as here. Takes of one clip are not independent:
an interval that treated them so would be far too narrow.
"""

from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses

import numpy as np

from v2meow_jax.evaluation.metrics import beat_coverage
from v2meow_jax.evaluation.metrics import bootstrap
from v2meow_jax.evaluation.metrics import scores

_SHUFFLED = '_shuffled'


def rule(clips: Sequence[str]) -> str:
  """Explains takes for a report; empty where each clip has one."""
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
  metrics: Mapping[str, scores.Score], clips: Sequence[str], *, seed: int
) -> dict[str, scores.Score]:
  """Replaces intervals over takes by intervals over clips.

  A bootstrap draws clips, each with all of its takes; without values per take
  the interval is left out. Mismatched pairs (`_shuffled`) become those of
  takes with the references of other clips.

  Args:
    metrics: Scores over all takes, each against the reference of its clip.
    clips: Clip of each take, in the order of `per_clip`.
    seed: Seed of the resampling.

  Returns:
    Scores by name; unchanged where no clip has two takes.
  """
  _, places, counts = np.unique(clips, return_inverse=True, return_counts=True)
  if len(counts) == len(clips):
    return dict(metrics)

  def interval(values: np.ndarray, statistic: beat_coverage.Statistic):
    """Bootstraps means over all takes: sums of clips over numbers of takes."""
    sums = np.zeros((len(counts), values.shape[1]))
    np.add.at(sums, places, values)
    return bootstrap.means_interval(
      np.column_stack([sums, counts]),
      lambda m: statistic(m[:, :-1] / m[:, -1:]),
      seed=seed,
    )

  intervals = {
    name: interval(np.array(score.per_clip)[:, None], lambda m: m[:, 0])
    for name, score in metrics.items()
    if score.is_mean and _SHUFFLED not in name
  }
  for suffix in ('', '_unadjusted', '_70ms'):
    if f'bcs{suffix}' in metrics:
      sides = (metrics[f'{name}{suffix}'].per_clip for name in ('bcs', 'bhs'))
      values = np.stack([*sides], axis=1)
      for name, columns in beat_coverage.of_all(values).items():
        if name + suffix in metrics:
          intervals[name + suffix] = interval(*columns)
  of_clips = {}
  for name, score in metrics.items():
    if _SHUFFLED in name:
      matched = metrics[name.replace(_SHUFFLED, '')].per_clip
      if len(counts) == 1:
        continue
      score = _of_other_clips(score, matched, counts[places] - 1)
    ends = intervals.get(name)
    of_clips[name] = dataclasses.replace(
      score,
      low=ends.low if ends else None,
      high=ends.high if ends else None,
      details={**score.details, 'num_references': len(counts)},
    )
  return of_clips


def _of_other_clips(
  score: scores.Score, matched: Sequence[float], num_siblings: np.ndarray
) -> scores.Score:
  """Removes pairs of two takes of one clip from a mean over mismatched pairs.

  Takes of a clip share the reference, so such a pair has its take's own score.

  Args:
    score: Score over all pairs of a take and the reference of another.
    matched: Score of each take against its own reference.
    num_siblings: Number of other takes of the same clip, int[takes].

  Returns:
    The score over the other pairs; there is at least one.
  """
  num_others = len(matched) - 1
  num_pairs = num_others - num_siblings
  sums = num_others * np.array(score.per_clip) - num_siblings * matched
  return dataclasses.replace(
    score,
    value=float(sums.sum() / num_pairs.sum()),
    per_clip=tuple((sums / num_pairs).tolist()),
  )
