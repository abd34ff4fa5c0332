"""Standardises features with fixed moments per dimension."""

from __future__ import annotations

from collections.abc import Mapping
import dataclasses

import numpy as np

# Standardised values are clipped to this: an odd input (a black screen, a test
# tone) must not leave the range that the stages were trained on.
LIMIT = 6.0
# Smallest standard deviation: dimensions that hardly vary are not amplified.
MIN_STD = 1e-3


@dataclasses.dataclass(frozen=True, kw_only=True)
class Moments:
  """Mean and spread of rows, accumulated in pieces.

  Merges pieces as in Chan, Golub and LeVeque 1983 (Algorithms for computing the
  sample variance), which does not lose digits to a large mean.

  Attributes:
    count: Number of rows so far.
    mean: Mean of the rows, float64[dim].
    spread: Sum of the squared distances to the mean, float64[dim].
  """

  count: int
  mean: np.ndarray
  spread: np.ndarray

  @classmethod
  def empty(cls, dim: int) -> Moments:
    """Creates the moments of no rows."""
    return cls(count=0, mean=np.zeros(dim), spread=np.zeros(dim))

  def with_rows(self, rows: np.ndarray) -> Moments:
    """Adds rows, float[n, dim]."""
    if not len(rows):
      return self
    rows = np.asarray(rows, np.float64)
    mean = rows.mean(0)
    return self.merged(
      Moments(count=len(rows), mean=mean, spread=((rows - mean) ** 2).sum(0))
    )

  def merged(self, other: Moments) -> Moments:
    """Adds the rows of other moments."""
    count = self.count + other.count
    if not other.count:
      return self
    shift = other.mean - self.mean
    return Moments(
      count=count,
      mean=self.mean + shift * (other.count / count),
      spread=self.spread
      + other.spread
      + shift**2 * (self.count * other.count / count),
    )

  def params(self) -> dict[str, np.ndarray]:
    """Returns {'mean', 'std'}, float32[dim] each, std at least `MIN_STD`."""
    if not self.count:
      raise ValueError('there are no rows to average; give at least one row.')
    std = np.sqrt(self.spread / self.count)
    return {
      'mean': self.mean.astype(np.float32),
      'std': np.maximum(std, MIN_STD).astype(np.float32),
    }


def fit(features: np.ndarray) -> dict[str, np.ndarray]:
  """Fits `Moments.params` to features, float[rows, dim]."""
  return Moments.empty(features.shape[-1]).with_rows(features).params()


def apply(features: np.ndarray, params: Mapping[str, np.ndarray]) -> np.ndarray:
  """Computes (features - mean) / std, clipped, float32[..., dim]."""
  scaled = (features - params['mean']) / params['std']
  return np.clip(scaled, -LIMIT, LIMIT).astype(np.float32)
