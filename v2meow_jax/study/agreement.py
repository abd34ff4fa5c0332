"""How far raters agree: Krippendorff's alpha."""

from __future__ import annotations

import numpy as np


def krippendorff_alpha(ratings: np.ndarray) -> float:
  """Krippendorff's alpha for ordinal values, with missing ratings.

  1 - observed / expected disagreement, as in Krippendorff 2011, "Computing
  Krippendorff's alpha-reliability" (https://repository.upenn.edu/asc_papers/43),
  with the ordinal difference.

  >>> krippendorff_alpha(np.array([[1.0, 2.0, 3.0], [1.0, 2.0, 3.0]]))
  1.0

  Args:
    ratings: float[raters, units]; NaN: this rater did not rate this unit.

  Returns:
    1: full agreement; 0: as by chance; below: systematic disagreement. NaN
    when no unit has two ratings, or all ratings are equal.
  """
  ratings = np.asarray(ratings, float)
  ratings = ratings[:, np.isfinite(ratings).sum(0) >= 2]
  values = np.unique(ratings[np.isfinite(ratings)])
  # How often each unit was given each value: [units, values].
  counts = (ratings[:, :, None] == values).sum(0).astype(float)
  raters = counts.sum(1, keepdims=True)
  together = (counts / (raters - 1)).T @ counts
  together -= np.diag((counts / (raters - 1)).sum(0))
  totals = together.sum(1)
  expected = np.outer(totals, totals) / (totals.sum() - 1)
  distance = _ordinal_distance(totals)
  disagreement = (expected * distance).sum()
  if not disagreement > 0:
    return float('nan')
  return float(1 - (together * distance).sum() / disagreement)


def _ordinal_distance(totals: np.ndarray) -> np.ndarray:
  """Squared ranks between each two values: [values, values]."""
  ranks = np.cumsum(totals) - totals / 2
  return (ranks[:, None] - ranks) ** 2
