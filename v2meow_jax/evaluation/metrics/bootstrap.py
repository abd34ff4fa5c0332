"""Computes intervals: bootstraps of means and medians, a jackknife of others."""

from collections.abc import Callable
import dataclasses

from jaxtyping import Float
from jaxtyping import Int
import numpy as np

LEVEL = 0.95  # Nominal coverage of all intervals.
NUM_RESAMPLES = 10_000
NUM_GROUPS = 20  # Jackknife groups, at most.
# Settings that intervals depend on besides the values and the seed, as json.
SETTINGS = {
  'level': LEVEL,
  'bootstrap_resamples': NUM_RESAMPLES,
  'jackknife_groups': NUM_GROUPS,
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Interval:
  """A mean, or another statistic, with the ends of its interval."""

  mean: float
  low: float
  high: float

  def __str__(self) -> str:
    return f'{self.mean:.3f} [{self.low:.3f}, {self.high:.3f}]'


def mean_interval(
  values: Float[np.ndarray, 'n'],
  *,
  seed: int = 0,
  num_resamples: int = NUM_RESAMPLES,
) -> Interval:
  """Computes a mean's percentile bootstrap interval.

  Efron & Tibshirani 1993, ch. 13.

  >>> str(mean_interval(np.ones(8)))
  '1.000 [1.000, 1.000]'

  Args:
    values: Finite values, one per clip.
    seed: Seed of the resampling.
    num_resamples: Number of bootstrap samples.

  Returns:
    The mean and the interval.

  Raises:
    ValueError: No values, or values that are not finite.
  """
  values = _checked(values, 1)
  drawn = _counts(np.random.default_rng(seed), len(values), num_resamples)
  return _interval(values.mean(), drawn @ values / len(values))


def median_interval(
  values: Float[np.ndarray, 'n'],
  *,
  seed: int = 0,
  num_resamples: int = NUM_RESAMPLES,
) -> Interval:
  """Computes a median's percentile bootstrap interval.

  >>> str(median_interval(np.array([2.0, 2.0, 2.0])))
  '2.000 [2.000, 2.000]'

  Args:
    values: Finite values, one per clip.
    seed: Seed of the resampling.
    num_resamples: Number of bootstrap samples.

  Returns:
    The median, as `mean`, and the interval.

  Raises:
    ValueError: See `mean_interval`.
  """
  values = np.sort(_checked(values, 1))
  drawn = _counts(np.random.default_rng(seed), len(values), num_resamples)
  # Places, in a sorted sample, of the lower and the upper middle.
  last = drawn.cumsum(axis=1)
  middles = [
    values[(last <= (len(values) - 1 + i) // 2).sum(axis=1)] for i in (0, 1)
  ]
  return _interval(np.median(values), (middles[0] + middles[1]) / 2)


def grid_interval(
  values: Float[np.ndarray, 'n m'],
  *,
  seed: int = 0,
  num_resamples: int = NUM_RESAMPLES,
) -> Interval:
  """Computes the interval of the mean of a grid of scores.

  Rows and columns are resampled independently, because the cells of a row
  share a clip and so do those of a column (the two-way or 'pigeonhole'
  bootstrap, Owen 2007, https://arxiv.org/abs/0712.1111).

  Args:
    values: Scores; `[i, j]` is generation i against the truth of scene j.
    seed: Seed of the resampling.
    num_resamples: Number of bootstrap samples.

  Returns:
    The mean of all cells and the interval.

  Raises:
    ValueError: See `mean_interval`.
  """
  values = _checked(values, 2)
  rng = np.random.default_rng(seed)
  rows = _counts(rng, values.shape[0], num_resamples)
  columns = _counts(rng, values.shape[1], num_resamples)
  means = ((rows @ values) * columns).sum(axis=1) / values.size
  return _interval(values.mean(), means)


def shuffled_interval(
  values: Float[np.ndarray, 'n n'],
  *,
  seed: int = 0,
  num_resamples: int = NUM_RESAMPLES,
) -> Interval:
  """Computes the interval of the mean score of mismatched pairs of clips.

  In a uniform derangement each pair (i, j), i != j, is equally likely, so the
  mean off the diagonal is the expectation over all derangements. Clips are
  resampled together with both their generation and their truth, and a clip
  drawn twice is never paired with itself.

  Args:
    values: Scores; `[i, j]` is generation i against the truth of scene j. The
      diagonal (the matched pairs) is not used.
    seed: Seed of the resampling.
    num_resamples: Number of bootstrap samples.

  Returns:
    The mean off the diagonal and the interval.

  Raises:
    ValueError: Fewer than two clips, a grid that is not square, or see
      `mean_interval`.
  """
  values = _checked(values, 2)
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
  return _interval(off.sum() / (n * (n - 1)), means)


def means_interval(
  values: Float[np.ndarray, 'n k'],
  statistic: Callable[
    [Float[np.ndarray, 'resamples k']], Float[np.ndarray, 'resamples']
  ],
  *,
  seed: int = 0,
  num_resamples: int = NUM_RESAMPLES,
) -> Interval:
  """Computes the interval of a function of several means over the same clips.

  >>> pairs = np.array([[1.0, 0.5], [1.0, 0.5]])
  >>> means_interval(pairs, lambda m: m[:, 0] * m[:, 1]).mean
  0.5

  Args:
    values: Values, k of each clip; clips are resampled whole.
    statistic: Function from rows of k means to one finite number a row.
    seed: Seed of the resampling.
    num_resamples: Number of bootstrap samples.

  Returns:
    The statistic of the means, as `mean`, and the interval.

  Raises:
    ValueError: See `mean_interval`.
  """
  values = _checked(values, 2)
  drawn = _counts(np.random.default_rng(seed), len(values), num_resamples)
  whole = statistic(values.mean(axis=0, keepdims=True))[0]
  return _interval(whole, statistic(drawn @ values / len(values)))


def jackknife_interval(
  statistic: Callable[[Int[np.ndarray, 'kept']], float],
  num_clips: int,
  *,
  seed: int = 0,
  num_groups: int = NUM_GROUPS,
) -> Interval:
  """Computes the interval of a statistic that repeated clips would bias.

  A bootstrap sample holds clips twice, which makes a covariance narrower and
  a set less varied. The delete-a-group jackknife leaves a share of the clips
  out in turn and repeats none (Efron & Tibshirani 1993, ch. 11).

  Args:
    statistic: Function of sorted indices of clips, called with all of them and
      without each group; its interval is by Student's t.
    num_clips: Number of clips, at least 2.
    seed: Seed of the division into groups.
    num_groups: Largest number of groups; never more than clips.

  Returns:
    The statistic of all clips, as `mean`, and the interval around it.

  Raises:
    ValueError: Fewer than two clips.
  """
  import scipy.special

  if num_clips < 2:
    raise ValueError(f'{num_clips} clips; wanted at least two.')
  order = np.random.default_rng(seed).permutation(num_clips)
  groups = np.array_split(order, min(num_groups, num_clips))
  whole = statistic(np.arange(num_clips))
  left = np.array(
    [statistic(np.setdiff1d(order, group)) for group in groups], np.float64
  )
  variance = (len(left) - 1) / len(left) * np.sum((left - left.mean()) ** 2)
  half = np.sqrt(variance) * scipy.special.stdtrit(
    len(left) - 1, (1 + LEVEL) / 2
  )
  return Interval(mean=whole, low=float(whole - half), high=float(whole + half))


def _checked(values: np.ndarray, ndim: int) -> np.ndarray:
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
  return values


def _counts(
  rng: np.random.Generator, n: int, num_resamples: int
) -> Float[np.ndarray, 'resamples n']:
  """Draws how often each of n items falls into each bootstrap sample."""
  return rng.multinomial(n, np.full(n, 1 / n), size=num_resamples).astype(
    np.float64
  )


def _interval(mean: float, means: np.ndarray) -> Interval:
  low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
  return Interval(mean=float(mean), low=float(low), high=float(high))
