"""Percentile bootstrap intervals of means: of clips, and of pairs of clips."""

from __future__ import annotations

import dataclasses

from jaxtyping import Float
import numpy as np

LEVEL = 0.95


@dataclasses.dataclass(frozen=True, kw_only=True)
class Interval:
  """A mean with the ends of its bootstrap interval.

  Attributes:
    mean: Of the values themselves.
    low: Lower end of the interval.
    high: Upper end of the interval.
  """

  mean: float
  low: float
  high: float

  def as_dict(self) -> dict[str, float]:
    """`{'mean': ..., 'low': ..., 'high': ...}`."""
    return dataclasses.asdict(self)

  def __str__(self) -> str:
    return f'{self.mean:.3f} [{self.low:.3f}, {self.high:.3f}]'


def mean_interval(
  values: Float[np.ndarray, 'n'],
  *,
  seed: int = 0,
  num_resamples: int = 10_000,
  level: float = LEVEL,
) -> Interval:
  """Percentile bootstrap interval of a mean (Efron & Tibshirani 1993, ch. 13).

  >>> str(mean_interval(np.ones(8)))
  '1.000 [1.000, 1.000]'

  Args:
    values: One per clip; finite.
    seed: Of the resampling; the same seed gives the same interval.
    num_resamples: Bootstrap samples.
    level: Coverage aimed at, in (0, 1).

  Returns:
    The mean and the interval.

  Raises:
    ValueError: No values, values that are not finite, or a bad level.
  """
  values = _checked(values, 1, level)
  drawn = _counts(np.random.default_rng(seed), len(values), num_resamples)
  return _interval(values.mean(), drawn @ values / len(values), level)


def grid_interval(
  values: Float[np.ndarray, 'n m'],
  *,
  seed: int = 0,
  num_resamples: int = 10_000,
  level: float = LEVEL,
) -> Interval:
  """Interval of the mean of a grid: every row item scored with every column's.

  Rows and columns are resampled independently, because the cells of a row
  share a clip and so do those of a column (the two-way or 'pigeonhole'
  bootstrap, Owen 2007, https://arxiv.org/abs/0712.1111).

  Args:
    values: `values[i, j]` is generation i scored against the truth of scene j.
    seed: Of the resampling.
    num_resamples: Bootstrap samples.
    level: Coverage aimed at, in (0, 1).

  Returns:
    The mean of all cells and the interval.

  Raises:
    ValueError: As `mean_interval`.
  """
  values = _checked(values, 2, level)
  rng = np.random.default_rng(seed)
  rows = _counts(rng, values.shape[0], num_resamples)
  columns = _counts(rng, values.shape[1], num_resamples)
  means = ((rows @ values) * columns).sum(axis=1) / values.size
  return _interval(values.mean(), means, level)


def shuffled_interval(
  values: Float[np.ndarray, 'n n'],
  *,
  seed: int = 0,
  num_resamples: int = 10_000,
  level: float = LEVEL,
) -> Interval:
  """Interval of the mean score of mismatched pairs of clips.

  In a uniform derangement each pair (i, j), i != j, is equally likely, so the
  mean off the diagonal is the expectation over all derangements. Clips are
  resampled together with both their generation and their truth, and a clip
  drawn twice is never paired with itself.

  Args:
    values: `values[i, j]` is generation i scored against the truth of scene j;
      the diagonal (the matched pairs) is not used.
    seed: Of the resampling.
    num_resamples: Bootstrap samples.
    level: Coverage aimed at, in (0, 1).

  Returns:
    The mean off the diagonal and the interval.

  Raises:
    ValueError: Fewer than two clips, a grid that is not square, or as
      `mean_interval`.
  """
  values = _checked(values, 2, level)
  n = len(values)
  if n < 2 or values.shape[1] != n:
    raise ValueError(
      f'scores have shape {values.shape}; mismatched pairs need a square grid'
      ' of at least two clips: raise --num.'
    )
  off = values * (1.0 - np.eye(n))
  drawn = _counts(np.random.default_rng(seed), n, num_resamples)
  pairs = n**2 - (drawn**2).sum(axis=1)
  totals = ((drawn @ off) * drawn).sum(axis=1)
  # A sample that drew one clip n times holds no mismatched pair.
  kept = pairs > 0
  means = totals[kept] / pairs[kept]
  return _interval(off.sum() / (n * (n - 1)), means, level)


def _checked(values: np.ndarray, ndim: int, level: float) -> np.ndarray:
  values = np.asarray(values, np.float64)
  if values.ndim != ndim or values.size == 0:
    raise ValueError(
      f'values have shape {values.shape}; wanted {ndim} axes and at least one'
      ' value.'
    )
  if not np.isfinite(values).all():
    raise ValueError(
      f'{np.count_nonzero(~np.isfinite(values))} of {values.size} values are'
      ' not finite; score a failed clip as 0 instead.'
    )
  if not 0 < level < 1:
    raise ValueError(f'level is {level}; wanted a number in (0, 1).')
  return values


def _counts(
  rng: np.random.Generator, n: int, num_resamples: int
) -> Float[np.ndarray, 'resamples n']:
  """How often each of n items falls into each bootstrap sample."""
  return rng.multinomial(n, np.full(n, 1 / n), size=num_resamples).astype(
    np.float64
  )


def _interval(mean: float, means: np.ndarray, level: float) -> Interval:
  low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
  return Interval(mean=float(mean), low=float(low), high=float(high))
