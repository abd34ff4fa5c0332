"""How often a query finds its own partner among others."""

from jaxtyping import Float
from jaxtyping import Int
import numpy as np

from v2meow_jax.evaluation.metrics import bootstrap
from v2meow_jax.evaluation.metrics import scores

_COUNTS = (1, 5, 10)


def ranks(
  similarities: Float[np.ndarray, 'n n'],
) -> Int[np.ndarray, ' n']:
  """Rank of each row's own partner among the columns.

  >>> ranks(np.array([[0.9, 0.1], [0.8, 0.2]])).tolist()
  [1, 2]

  Args:
    similarities: Similarities; entry (i, j) is that of query i with candidate
      j, and the diagonal holds the pairs.

  Returns:
    1 for the most similar of all; candidates that tie with the partner count as
    more similar, so that equal similarities of all give n.
  """
  values = np.asarray(similarities, np.float64)
  if values.ndim != 2 or values.shape[0] != values.shape[1]:
    raise ValueError(
      f'similarities have shape {values.shape}; wanted [n, n], each query with'
      ' each candidate.'
    )
  own = values.diagonal()[:, None]
  return (values >= own).sum(1)


def recall_at(
  similarities: Float[np.ndarray, 'n n'], count: int
) -> bootstrap.Interval:
  """Share of the queries whose partner is among the `count` most similar.

  count / n when similarities say nothing; with a 95 % bootstrap interval over
  the queries.
  """
  found = ranks(similarities) <= count
  return bootstrap.mean_interval(found.astype(np.float64))


def median_rank(similarities: Float[np.ndarray, 'n n']) -> float:
  """Median of the ranks; (n + 1) / 2 when similarities are random."""
  return float(np.median(ranks(similarities)))


def retrieval(
  similarities: Float[np.ndarray, 'n n'], *, seed: int = 0
) -> dict[str, scores.Score]:
  """Computes how well videos find their own music among that of all clips.

  Args:
    similarities: Similarities of each video with each track, as of `ranks`.
    seed: Seed of the intervals.

  Returns:
    'recall_at_<k>' for k of 1, 5 and 10, as far as there are more than k
    clips, with the share of chance as `chance` in its details; and
    'median_rank', whose interval resamples the videos.

  Raises:
    ValueError: Fewer than two clips, or see `ranks`.
  """
  found = ranks(similarities)
  if (num := len(found)) < 2:
    raise ValueError('needs two clips at least')
  results = {
    f'recall_at_{k}': scores.of_clips(found <= k, seed=seed, chance=k / num)
    for k in _COUNTS
    if k < num
  }
  median = bootstrap.median_interval(found.astype(np.float64), seed=seed)
  results['median_rank'] = scores.of_set(
    median, num, found, chance=(num + 1) / 2
  )
  return results
