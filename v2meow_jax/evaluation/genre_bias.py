"""Whether a system gives a group of videos the same genres as any other.

After the ethics section of V2Meow. A system that follows the picture has such a
bias, wanted or not; a prompt should be able to undo it.
"""

from __future__ import annotations

from collections.abc import Sequence
import dataclasses

from jaxtyping import Float
import numpy as np

_NUM_PERMUTATIONS = 1_000


@dataclasses.dataclass(frozen=True, kw_only=True)
class Bias:
  """How genres are spread over groups.

  Attributes:
    groups: Sorted.
    genres: Sorted.
    counts: int64[groups, genres], clips.
    distance: Total variation between the genres of a group and those of all
      clips, the mean over clips: 0 where groups are alike, and below 1.
    chance: What `distance` would be on average if genres fell at random; few
      clips a group make it large.
  """

  groups: tuple[str, ...]
  genres: tuple[str, ...]
  counts: np.ndarray
  distance: float
  chance: float


def bias(groups: Sequence[str], genres: Sequence[str], *, seed: int) -> Bias:
  """Counts genres by group, and says how unlike the groups are.

  >>> bias(['a', 'a', 'b', 'b'], ['x', 'x', 'y', 'y'], seed=0).distance
  0.5

  Args:
    groups: Of each clip's video.
    genres: That were heard in each clip.
    seed: Of the permutations for `chance`.

  Returns:
    The counts and the distance.

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

  def count(order: np.ndarray) -> np.ndarray:
    counts = np.zeros((len(group_names), len(genre_names)), int)
    np.add.at(counts, (rows, order), 1)
    return counts

  rng = np.random.default_rng(seed)
  chance = [
    _distance(count(rng.permutation(columns))) for _ in range(_NUM_PERMUTATIONS)
  ]
  counts = count(columns)
  return Bias(
    groups=tuple(group_names.tolist()),
    genres=tuple(genre_names.tolist()),
    counts=counts,
    distance=_distance(counts),
    chance=float(np.mean(chance)),
  )


def _distance(counts: Float[np.ndarray, 'groups genres']) -> float:
  sizes = counts.sum(axis=1)
  everywhere = counts.sum(axis=0) / counts.sum()
  gaps = np.abs(counts / sizes[:, None] - everywhere).sum(axis=1) / 2
  return float(gaps @ sizes / sizes.sum())
