"""Computes attention to, and influence of, a picture on its music by time.

Attention says where a network looked, not how it used it (Jain & Wallace 2019,
https://arxiv.org/abs/1902.10186). Influence is the effect of taking an input
away: how far the distribution of the next code moves, or the velocity of a flow.
Both are of a teacher-forced pass over the music as drawn, so what the past of the music
already implies counts for the past and not for the picture.
"""

import dataclasses
import math
from typing import Literal

from jaxtyping import Float
from jaxtyping import Int
import numpy as np

# Bins are pairs of seconds in a table, so this bounds memory and the sidecar.
MAX_BINS = 600
Blank = Literal['zero', 'mean']
# Divergence of the next code; mean square by which a velocity moves, in
# variances of the target.
NATS, MOVES = 'nats per code', 'variances of a latent'


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
  """Settings of the measurement.

  Attributes:
    bin_seconds: Length of the bins of music and of picture, in seconds. Each
      bin that a window sees of each stream costs one pass of the network.
    layer: Decoder layer whose attention is read, from 0; None: the mean of all.
    blank: Replacement of a continuous stream that is taken away: 'zero', the
      mean of the training data for standardised streams, or 'mean', the mean
      of the clip, so that only the course in time is taken away. A stream of
      one vector per clip always becomes zeros, as dropped in training, and one
      of tokens the commonest code of the clip at each place.
  """

  bin_seconds: float = 1.0
  layer: int | None = None
  blank: Blank = 'zero'

  def __post_init__(self):
    if self.blank not in ('zero', 'mean'):
      raise ValueError(f"blank is {self.blank!r}; wanted 'zero' or 'mean'.")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Influence:
  """Attention and influence of a stage's input streams, by name.

  Attributes:
    bin_seconds: Length of a bin, in seconds; the last may be shorter.
    attention: Share of the attention of a bin of music, float64[bins of music,
      bins of picture]; a stream of one vector per clip has one bin. A row,
      summed over bins and streams, is 1, or less for a stage without an
      encoder, which also attends to its own past.
    without_stream: Influence of the whole stream, float64[bins of music].
    without_bin: Influence of each bin of a stream with times, float64[bins of
      music, bins of picture].
    cells: Share of the attention of all music, for pictures in tokens,
      float64[frames, cells].
    unit: Unit of the influence: `NATS` of a stage that writes codes, `MOVES` of
      one that follows a flow, which attends to no stream.
    gates: Weight of each patch in its frame, for streams of patches that an
      adaptor joins, float64[frames, patches].
  """

  bin_seconds: float
  attention: dict[str, np.ndarray]
  without_stream: dict[str, np.ndarray]
  without_bin: dict[str, np.ndarray]
  cells: dict[str, np.ndarray]
  unit: str = NATS
  gates: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)


def count_bins(seconds: float, bin_seconds: float) -> int:
  """Counts the bins that cover a clip.

  >>> count_bins(10.0, 1.0), count_bins(10.2, 1.0)
  (10, 11)

  Args:
    seconds: Length of the clip, in seconds.
    bin_seconds: Length of a bin, in seconds.

  Returns:
    Number of bins, at least 1.

  Raises:
    ValueError: `bin_seconds` is not above 0, or there are too many bins.
  """
  if not (math.isfinite(bin_seconds) and bin_seconds > 0):
    raise ValueError(
      f'bin_seconds is {bin_seconds}; wanted a number above 0, such as 1.'
    )
  num_bins = max(1, math.ceil(seconds / bin_seconds - 1e-9))
  if num_bins > MAX_BINS:
    raise ValueError(
      f'{seconds:.1f} s in bins of {bin_seconds} s are {num_bins} bins; at most'
      f' {MAX_BINS} are possible: wanted bins of'
      f' {math.ceil(seconds / MAX_BINS)} s or more.'
    )
  return num_bins


def bin_of(
  times: Float[np.ndarray, 'n'], bin_seconds: float, num_bins: int
) -> Int[np.ndarray, 'n']:
  """Finds the bin of each time; times beyond the last bin are in the last."""
  bins = np.floor(np.asarray(times) / bin_seconds + 1e-9).astype(int)
  return np.minimum(bins, num_bins - 1)


def sum_by_bins(
  values: Float[np.ndarray, 'n m'],
  rows: Int[np.ndarray, 'n'],
  columns: Int[np.ndarray, 'm'],
  shape: tuple[int, int],
) -> Float[np.ndarray, 'rows columns']:
  """Sums the entries that share a bin of rows and a bin of columns."""
  sums = np.zeros(shape)
  np.add.at(sums, (rows[:, None], columns[None, :]), values)
  return sums


def kl_divergence(
  log_p: Float[np.ndarray, '*n codes'], log_q: Float[np.ndarray, '*n codes']
) -> Float[np.ndarray, '*n']:
  """Computes KL(p || q) in nats.

  >>> half, sure = np.log([0.5, 0.5]), np.log([1.0, 1e-300])
  >>> round(float(kl_divergence(sure, half)), 4)
  0.6931

  Args:
    log_p: Logarithms of the probabilities p.
    log_q: Logarithms of the probabilities q.

  Returns:
    The divergence, at least 0.
  """
  log_p, log_q = np.float64(log_p), np.float64(log_q)
  return np.maximum((np.exp(log_p) * (log_p - log_q)).sum(-1), 0.0)


def near_share(
  table: Float[np.ndarray, 'bins bins'], reach: int = 1
) -> tuple[float, float]:
  """Computes the share of a table near its diagonal, and that by chance.

  >>> near_share(np.eye(4), reach=0)
  (1.0, 0.25)

  Args:
    table: Values >= 0 by bin of music (rows) and bin of picture (columns).
    reach: Largest distance of near bins.

  Returns:
    The share, and its mean over all orders of the columns; 0 and 0 when the
    table is empty.
  """
  bins = np.arange(len(table))
  near = np.abs(bins[:, None] - bins) <= reach
  total = table.sum()
  if total <= 0:
    return 0.0, 0.0
  chance = table.sum(1) @ near.mean(1)
  return float((table * near).sum() / total), float(chance / total)
