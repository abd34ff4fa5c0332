"""Measures whether groups of videos are given different genres.

After the ethics section of V2Meow. A system that follows the picture has such a
bias, wanted or not; a prompt should be able to undo it.
"""

from collections.abc import Sequence
import dataclasses

from jaxtyping import Float
import numpy as np

from v2meow_jax.evaluation.metrics import bootstrap
from v2meow_jax.evaluation.metrics import scores

_NUM_PERMUTATIONS = 1_000


def bias(
  groups: Sequence[str], genres: Sequence[str], *, seed: int
) -> scores.Score:
  """Counts genres by group, and measures how the groups differ.

  >>> bias(['a', 'a', 'b', 'b'], ['x', 'x', 'y', 'y'], seed=0).value
  0.5

  Args:
    groups: Group of each clip's video.
    genres: Judged genre of each clip.
    seed: Seed of the permutations for `chance`, and of the interval.

  Returns:
    Total variation between the genres of a group and those of all clips, the
    mean over clips: 0 where groups are alike, and below 1. `details` has the
    names of `groups` and `genres`, sorted; `counts`, the clips of each group
    by genre; and `chance`, the mean distance for random genres, which is large
    for few clips a group.

  Raises:
    ValueError: Groups and genres of different number, or none.
  """
  if len(groups) != len(genres) or not len(groups):
    raise ValueError(
      f'{len(groups)} groups with {len(genres)} genres; wanted one of each for'
      ' every clip, and one clip at least.'
    )
  group_names, rows = np.unique(np.array(groups), return_inverse=True)
  genre_names, columns = np.unique(np.array(genres), return_inverse=True)

  def count(of_rows: np.ndarray, of_columns: np.ndarray) -> np.ndarray:
    counts = np.zeros((len(group_names), len(genre_names)), int)
    np.add.at(counts, (of_rows, of_columns), 1)
    return counts

  rng = np.random.default_rng(seed)
  chance = [
    _distance(count(rows, rng.permutation(columns)))
    for _ in range(_NUM_PERMUTATIONS)
  ]
  counts = count(rows, columns)
  details = {
    'chance': float(np.mean(chance)),
    'groups': group_names.tolist(),
    'genres': genre_names.tolist(),
    'counts': counts.tolist(),
  }
  if len(groups) == 1:
    return scores.Score(value=_distance(counts), num_clips=1, details=details)
  interval = bootstrap.jackknife_interval(
    lambda kept: _distance(count(rows[kept], columns[kept])),
    len(groups),
    seed=seed,
  )
  low, high = np.clip([interval.low, interval.high], 0.0, 1.0).tolist()
  interval = dataclasses.replace(interval, low=low, high=high)
  return scores.of_set(interval, len(groups), **details)


def _distance(counts: Float[np.ndarray, 'groups genres']) -> float:
  counts = counts[counts.any(axis=1)]
  sizes = counts.sum(axis=1)
  everywhere = counts.sum(axis=0) / counts.sum()
  gaps = np.abs(counts / sizes[:, None] - everywhere).sum(axis=1) / 2
  return float(gaps @ sizes / sizes.sum())
