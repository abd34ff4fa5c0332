"""Normal numbers for networks of full size, of which most are repeated.

To draw hundreds of millions of numbers takes longer than the network does.
"""

import numpy as np

# A prime: no row of a matrix is a row above it.
PERIOD = 1_000_003


class Noise:
  """Draws normal numbers; large arrays are a stretch of them, again and again.

  Args:
    seed: Seed of the numbers, and of where the stretch of each array begins.
  """

  def __init__(self, seed: int = 0):
    self._rng = np.random.default_rng(seed)
    self._stretch: np.ndarray | None = None

  def __call__(
    self, shape: tuple[int, ...], mean: float = 0.0, deviation: float = 1.0
  ) -> np.ndarray:
    """float32 of a shape, with a mean and a standard deviation."""
    deviation, mean = np.float32(deviation), np.float32(mean)
    size = int(np.prod(shape))
    if size <= PERIOD:
      drawn = self._rng.standard_normal(shape, np.float32)
      return drawn * deviation + mean
    if self._stretch is None:
      self._stretch = self._rng.standard_normal(PERIOD, np.float32)
    first = self._rng.integers(PERIOD)
    turned = np.roll(self._stretch, -first) * deviation + mean
    return np.resize(turned, shape)
