"""Music of any length that nobody holds in memory."""

import numpy as np

RATE_HZ = 16_000


class Hum:
  """Mono music of any length that nobody holds in memory."""

  rate_hz, num_channels, has_equal_channels = RATE_HZ, 1, True

  def __init__(self, seconds):
    self.num_samples = round(seconds * RATE_HZ)

  def pieces(self):
    for start in range(0, self.num_samples, 50_000):
      size = min(50_000, self.num_samples - start)
      times = np.arange(start, start + size) / RATE_HZ
      wave = np.sin(2 * np.pi * 200 * times) * np.exp(-5 * (times % 0.5))
      yield 0.9 * wave[None].astype(np.float32)
