"""A codec without a network, whose levels are binary digits."""

import numpy as np

from v2meow_jax import specs


class BitCodec:
  """Successive approximation: level n adds or subtracts 2^-(n+1)."""

  sample_rate_hz = 16_000
  stream = specs.TokenSpec(
    name='acoustic', codebook_size=2, num_codebooks=8, rate_hz=16_000.0
  )

  def encode(self, waveform):
    left, codes = np.array(waveform), []
    for level in range(8):
      up = left >= 0
      codes.append(up.astype(np.int32))
      left -= np.where(up, 1, -1) * 2.0 ** -(level + 1)
    return np.stack(codes, axis=-1)

  def decode(self, codes):
    steps = 2.0 ** -(np.arange(codes.shape[-1]) + 1.0)
    return ((2 * np.asarray(codes) - 1) @ steps).astype(np.float32)
