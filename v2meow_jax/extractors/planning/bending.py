"""Bends a grid of beats so that cuts fall on beats and half-beats."""

from __future__ import annotations

from collections.abc import Sequence
import dataclasses
import math

import numpy as np

from v2meow_jax.extractors.planning import grid as grid_lib

MAX_STRETCH = 1.15  # Limit of local tempo over that of the grid, either way.

# Costs in cuts that are missed: of meeting one off the beat, and of a beat at
# the limit of the tempo.
_HALF_BEAT = 0.3
_STRETCHED_BEAT = 0.1
# Reach, in beats: a grid without a pulse of its own may be shifted by a beat; one
# with it is left to the nearest half-beat, two beats before and after a cut.
_FREE_BEATS = 1.0
_OWN_BEATS = 0.25
_RETURN_BEATS = 2.0
_MOST_MISSED = (
  5  # Anchors in a row that may be missed between two that are met.
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Bent:
  """A grid whose beats go through cuts.

  Attributes:
    grid: Bent grid.
    met: Whether each cut is on a beat or a half-beat, bool[num_cuts].
    cost: Mean cost of a cut, 0 (all on beats of an even grid) to 1 (none met).
  """

  grid: grid_lib.Grid
  met: np.ndarray
  cost: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Anchor:
  """A position of the old grid, and where on the new one it may be.

  Attributes:
    beats: Position on the old grid, in beats.
    targets: Positions on the new grid, in beats.
    costs: Cost of each target.
    cut: Index of the cut; None: a place where the old grid is kept.
  """

  beats: float
  targets: np.ndarray
  costs: np.ndarray
  cut: int | None


def bend(grid: grid_lib.Grid, cuts: np.ndarray, *, is_own: bool) -> Bent:
  """Moves each cut to a beat or a half-beat by stretching what lies between.

  Dynamic programming over the cuts: each is put on a beat or half-beat nearby
  or is missed, so that the sum of costs is the least and the tempo nowhere
  leaves `MAX_STRETCH`. Between two cuts that are met the tempo is even.

  Args:
    grid: Grid of beats.
    cuts: Times of the cuts in seconds, rising.
    is_own: Whether the grid is a pulse of the picture, to return to between the
      cuts.

  Returns:
    The bent grid, the cuts that it meets, and what it cost.
  """
  met = np.zeros(len(cuts), bool)
  if not len(cuts):
    return Bent(grid=grid, met=met, cost=0.0)
  anchors = _anchors(grid.beats_at(cuts), is_own)
  path, cost = _cheapest(anchors)
  if not path:
    return Bent(grid=grid, met=met, cost=1.0)
  for anchor, _ in path:
    if anchor.cut is not None:
      met[anchor.cut] = True
  places = np.array([anchor.beats for anchor, _ in path])
  offsets = np.array([target for _, target in path]) - places
  times = np.unique(np.concatenate([grid.times, grid.times_at(places)]))
  beats = grid.beats_at(times)
  bent = grid_lib.Grid(
    times=times,
    beats=beats + np.interp(beats, places, offsets),
    tempo_bpm=grid.tempo_bpm,
  )
  return Bent(grid=bent, met=met, cost=cost / len(cuts))


def _anchors(places: np.ndarray, is_own: bool) -> list[_Anchor]:
  """The cuts, and where the grid is the picture's own also places to return to."""
  reach = _OWN_BEATS if is_own else _FREE_BEATS
  anchors = []
  for number, place in enumerate(places):
    low, high = math.ceil(2 * (place - reach)), math.floor(2 * (place + reach))
    halves = np.arange(low, high + 1)
    costs = np.where(halves % 2 == 0, 0.0, _HALF_BEAT)
    anchors.append(
      _Anchor(beats=place, targets=halves / 2, costs=costs, cut=number)
    )
  if is_own:
    for place in places:
      for kept in (place - _RETURN_BEATS, place + _RETURN_BEATS):
        if np.abs(places - kept).min() >= _RETURN_BEATS - 1e-9:
          anchors.append(
            _Anchor(
              beats=kept,
              targets=np.array([kept]),
              costs=np.zeros(1),
              cut=None,
            )
          )
  return sorted(anchors, key=lambda anchor: anchor.beats)


def _cheapest(
  anchors: Sequence[_Anchor],
) -> tuple[list[tuple[_Anchor, float]], float]:
  """Anchors that are met with their targets, and the sum of all costs."""
  missed = np.array([1.0] * len(anchors))
  before = np.concatenate([[0.0], np.cumsum(missed)])  # Misses of the first n.
  costs: list[np.ndarray] = []
  previous: list[list[tuple[int, int] | None]] = []
  for j, anchor in enumerate(anchors):
    best = anchor.costs + before[j]
    came: list[tuple[int, int] | None] = [None] * len(best)
    for i in range(max(0, j - 1 - _MOST_MISSED), j):
      total = (
        costs[i][:, None]
        + _stretch_costs(anchors[i], anchor)
        + anchor.costs
        + (before[j] - before[i + 1])
      )
      for k in np.flatnonzero(total.min(0) < best - 1e-12):
        row = int(total[:, k].argmin())
        best[k], came[k] = total[row, k], (i, row)
    costs.append(best)
    previous.append(came)
  ends = [c.min() + before[-1] - before[j + 1] for j, c in enumerate(costs)]
  if min(ends) >= before[-1]:
    return [], float(before[-1])
  j = int(np.argmin(ends))
  at: tuple[int, int] | None = (j, int(costs[j].argmin()))
  path = []
  while at is not None:
    j, k = at
    path.append((anchors[j], float(anchors[j].targets[k])))
    at = previous[j][k]
  return path[::-1], float(min(ends))


def _stretch_costs(one: _Anchor, other: _Anchor) -> np.ndarray:
  """Costs of going from each target of one to each of the other."""
  length = max(other.beats - one.beats, 1e-9)
  stretch = (other.targets[None] - one.targets[:, None]) / length
  octaves = np.log(np.maximum(stretch, 1e-9)) / math.log(MAX_STRETCH)
  # A hair of slack, so that the limit itself is allowed.
  return np.where(
    np.abs(octaves) <= 1 + 1e-9, _STRETCHED_BEAT * length * octaves**2, np.inf
  )
