"""Measures the agreement of raters by Krippendorff's alpha."""

import numpy as np


def krippendorff_alpha(
  ratings: np.ndarray,
  *,
  raters: np.ndarray | None = None,
  units: np.ndarray | None = None,
) -> float:
  """Computes Krippendorff's alpha for ordinal values, with missing ratings.

  1 - observed / expected disagreement: Krippendorff 2011, "Computing
  Krippendorff's alpha-reliability" (https://repository.upenn.edu/asc_papers/43),
  with the ordinal difference.

  >>> krippendorff_alpha(np.array([[1.0, 2.0, 3.0], [1.0, 2.0, 3.0]]))
  1.0

  Args:
    ratings: Ratings, float[raters, units]; NaN where there is none.
    raters: Number of draws of each rater, int[raters], never compared with
      itself; None: one each.
    units: Number of draws of each unit, int[units]; None: one each.

  Returns:
    1: full agreement; 0: as by chance; below: systematic disagreement. NaN
    when no unit has two ratings, or all ratings are equal.
  """
  ratings = np.asarray(ratings, float)
  drawn = np.ones(ratings.shape[0]) if raters is None else np.asarray(raters)
  times = np.ones(ratings.shape[1]) if units is None else np.asarray(units)
  ratings, drawn = ratings[drawn > 0], drawn[drawn > 0].astype(float)
  kept = (np.isfinite(ratings).sum(0) >= 2) & (times > 0)
  if not kept.any():
    return float('nan')
  ratings, times = ratings[:, kept], times[kept]
  values = np.unique(ratings[np.isfinite(ratings)])
  given = (ratings[:, :, None] == values).astype(float)
  # Counts of each value of each unit, [units, values], and the same of ratings
  # with themselves.
  counts = np.tensordot(drawn, given, 1)
  selves = np.tensordot(drawn**2, given, 1)
  size, self_size = counts.sum(1), selves.sum(1)
  # Pairs of two raters, weighted to the number of values of the unit.
  share = times * size / (size**2 - self_size)
  together = (counts * share[:, None]).T @ counts - np.diag(share @ selves)
  totals = together.sum(1)
  num = totals.sum()
  expected = np.outer(totals, totals) / (num - times @ self_size / num)
  distance = _ordinal_distance(totals)
  disagreement = (expected * distance).sum()
  if not disagreement > 0:
    return float('nan')
  return float(1 - (together * distance).sum() / disagreement)


def _ordinal_distance(totals: np.ndarray) -> np.ndarray:
  """Computes squared ranks between each two values: [values, values]."""
  ranks = np.cumsum(totals) - totals / 2
  return (ranks[:, None] - ranks) ** 2
