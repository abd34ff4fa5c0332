"""A sound of several channels."""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class Channels:
  """A sound of several channels, in pieces of a length of its own.

  Attributes:
    samples: float32[channels, samples].
    piece: Number of samples of a piece.
    rate_hz: Sample rate, in Hz.
  """

  samples: np.ndarray
  piece: int = 777
  rate_hz: int = 16_000

  @property
  def num_channels(self):
    return len(self.samples)

  @property
  def has_equal_channels(self):
    return self.num_channels == 1

  @property
  def num_samples(self):
    return self.samples.shape[1]

  def pieces(self):
    for start in range(0, self.num_samples, self.piece):
      yield self.samples[:, start : start + self.piece]
