"""What of a picture its music attends to, and what would change it: arrays.

Attention says where a network looked, not what it made of it (Jain & Wallace
2019, https://arxiv.org/abs/1902.10186). Influence is the effect of taking an
input away: how far the distribution of the next code moves. Both are of a
teacher-forced pass over the music as it was drawn, so what the past of the
music has already told counts for the past and not for the picture.
"""

from __future__ import annotations

import dataclasses
import math

from jaxtyping import Float
from jaxtyping import Int
import numpy as np

# Bins are pairs of seconds in a table, so this bounds memory and the sidecar.
MAX_BINS = 600


@dataclasses.dataclass(frozen=True, kw_only=True)
class Influence:
  """Of the streams that a stage reads on the stream that it writes, by name.

  Attributes:
    bin_seconds: Length of a bin; the last may be cut short by the clip's end.
    attention: float64[bins of music, bins of picture]; share of the attention
      of a bin of music; a stream of one vector per clip has one bin. A row,
      summed over bins and streams, is 1, or less for a stage without an
      encoder, which also attends to its own past.
    without_stream: float64[bins of music]; nats per code, when all of the
      stream is blank.
    without_bin: float64[bins of music, bins of picture]; nats per code, when a
      bin of the stream is blank. Streams that have times.
    cells: float64[frames, cells]; share of the attention of all of the music,
      for streams that are pictures in tokens.
  """

  bin_seconds: float
  attention: dict[str, np.ndarray]
  without_stream: dict[str, np.ndarray]
  without_bin: dict[str, np.ndarray]
  cells: dict[str, np.ndarray]


def count_bins(seconds: float, bin_seconds: float) -> int:
  """Bins that cover a clip.

  >>> count_bins(10.0, 1.0), count_bins(10.2, 1.0)
  (10, 11)

  Args:
    seconds: Of the clip.
    bin_seconds: Length of a bin.

  Returns:
    At least 1.

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
      f' {MAX_BINS} are told apart: wanted bins of'
      f' {math.ceil(seconds / MAX_BINS)} s or more.'
    )
  return num_bins


def bin_of(
  times: Float[np.ndarray, 'n'], bin_seconds: float, num_bins: int
) -> Int[np.ndarray, 'n']:
  """Bin of each time; what lies beyond the last bin is counted to it."""
  bins = np.floor(np.asarray(times) / bin_seconds + 1e-9).astype(int)
  return np.minimum(bins, num_bins - 1)


def sum_by_bins(
  values: Float[np.ndarray, 'n m'],
  rows: Int[np.ndarray, 'n'],
  columns: Int[np.ndarray, 'm'],
  shape: tuple[int, int],
) -> Float[np.ndarray, 'rows columns']:
  """Sums of the entries that share a bin of rows and a bin of columns."""
  sums = np.zeros(shape)
  np.add.at(sums, (rows[:, None], columns[None, :]), values)
  return sums


def kl_divergence(
  log_p: Float[np.ndarray, '*n codes'], log_q: Float[np.ndarray, '*n codes']
) -> Float[np.ndarray, '*n']:
  """KL(p || q) in nats: what it costs to expect q where p is so.

  >>> half, sure = np.log([0.5, 0.5]), np.log([1.0, 1e-300])
  >>> round(float(kl_divergence(sure, half)), 4)
  0.6931

  Args:
    log_p: Logarithms of probabilities.
    log_q: Likewise.

  Returns:
    At least 0.
  """
  log_p, log_q = np.float64(log_p), np.float64(log_q)
  return np.maximum((np.exp(log_p) * (log_p - log_q)).sum(-1), 0.0)


def near_share(
  table: Float[np.ndarray, 'bins bins'], reach: int = 1
) -> tuple[float, float]:
  """How much of a table lies near its diagonal, and how much would by chance.

  >>> near_share(np.eye(4), reach=0)
  (1.0, 0.25)

  Args:
    table: At least 0; rows are bins of music, columns bins of picture.
    reach: Bins at most so far apart are near.

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
