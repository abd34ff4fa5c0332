"""Fixed per-dimension standardisation of features."""

from __future__ import annotations

from collections.abc import Mapping
import dataclasses

import numpy as np

# Standardised values beyond this are clipped: an odd input (a black screen, a
# test tone) must not leave the range that the stages were trained on.
LIMIT = 6.0
# Dimensions that hardly vary in the fitting data are not blown up.
MIN_STD = 1e-3


@dataclasses.dataclass(frozen=True, kw_only=True)
class Moments:
  """Mean and spread of rows that came in pieces.

  Pieces are merged as in Chan, Golub and LeVeque 1983 (Algorithms for computing
  the sample variance), which does not lose digits to a large mean.

  Attributes:
    count: Rows so far.
    mean: float64[dim].
    spread: float64[dim], sum of the squared distances to the mean.
  """

  count: int
  mean: np.ndarray
  spread: np.ndarray

  @classmethod
  def empty(cls, dim: int) -> Moments:
    """Of no rows."""
    return cls(count=0, mean=np.zeros(dim), spread=np.zeros(dim))

  def with_rows(self, rows: np.ndarray) -> Moments:
    """These and those of more rows, float[n, dim]."""
    if not len(rows):
      return self
    rows = np.asarray(rows, np.float64)
    count = self.count + len(rows)
    mean = rows.mean(0)
    apart = mean - self.mean
    return Moments(
      count=count,
      mean=self.mean + apart * (len(rows) / count),
      spread=self.spread
      + ((rows - mean) ** 2).sum(0)
      + apart**2 * (self.count * len(rows) / count),
    )

  def params(self) -> dict[str, np.ndarray]:
    """{'mean': float32[dim], 'std': float32[dim]}, std at least `MIN_STD`."""
    if not self.count:
      raise ValueError('a mean of no rows; give at least one row.')
    std = np.sqrt(self.spread / self.count)
    return {
      'mean': self.mean.astype(np.float32),
      'std': np.maximum(std, MIN_STD).astype(np.float32),
    }


def fit(features: np.ndarray) -> dict[str, np.ndarray]:
  """Mean and standard deviation of each dimension.

  Args:
    features: float[rows, dim].

  Returns:
    See `Moments.params`.
  """
  return Moments.empty(features.shape[-1]).with_rows(features).params()


def apply(features: np.ndarray, params: Mapping[str, np.ndarray]) -> np.ndarray:
  """(features - mean) / std, clipped: float[..., dim] -> float32[..., dim]."""
  scaled = (features - params['mean']) / params['std']
  return np.clip(scaled, -LIMIT, LIMIT).astype(np.float32)
