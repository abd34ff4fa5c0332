"""Fixed per-dimension standardisation of features."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

# Standardised values beyond this are clipped: an odd input (a black screen, a
# test tone) must not leave the range that the stages were trained on.
LIMIT = 6.0
# Dimensions that hardly vary in the fitting data are not blown up.
MIN_STD = 1e-3


def fit(features: np.ndarray) -> dict[str, np.ndarray]:
  """Mean and standard deviation of each dimension.

  Args:
    features: float[rows, dim].

  Returns:
    {'mean': float32[dim], 'std': float32[dim]}, std at least `MIN_STD`.
  """
  features = np.asarray(features, np.float64)
  return {
    'mean': features.mean(0).astype(np.float32),
    'std': np.maximum(features.std(0), MIN_STD).astype(np.float32),
  }


def apply(features: np.ndarray, params: Mapping[str, np.ndarray]) -> np.ndarray:
  """(features - mean) / std, clipped: float[..., dim] -> float32[..., dim]."""
  scaled = (features - params['mean']) / params['std']
  return np.clip(scaled, -LIMIT, LIMIT).astype(np.float32)


def check_dim(name: str, wanted: int, got: int) -> None:
  """Raises ValueError when an extractor cannot give the stream's width."""
  if wanted != got:
    raise ValueError(
      f'stream {name!r} has dim {wanted}, but its extractor gives {got}; set'
      f' dim={got} in the stream or use another extractor.'
    )
