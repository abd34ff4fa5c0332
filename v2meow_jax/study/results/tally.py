"""Holds the answers to one question as arrays, and resamples them.

Intervals are percentile bootstrap intervals that draw raters and clips with
replacement, independently, as answers of one rater, and answers on one clip,
are alike (the two-way or 'pigeonhole' bootstrap, Owen 2007,
https://arxiv.org/abs/0712.1111). They err on the wide side: for unrelated
answers the variance is three times too large.
"""

from collections.abc import Sequence

import numpy as np

from v2meow_jax.evaluation.metrics import bootstrap
from v2meow_jax.study import answers
from v2meow_jax.study import protocol

Interval = bootstrap.Interval


class AnswerTable:
  """The comparisons of one question as int[answers] each.

  Attributes:
    rater: Number of the rater.
    pair: Index of the pair in the study.
    clip: Index of the clip.
    first: Index of the first system.
    second: Index of the second system.
    value: Answer, -2 (strongly the first) to 2 (strongly the second).
    shown: Answer as shown, -2 (the left) to 2 (the right).
  """

  def __init__(
    self,
    raters: Sequence[answers.Rater],
    study: protocol.Study,
    question: str,
  ):
    system_of = {name: i for i, name in enumerate(study.systems)}
    clip_of = {name: i for i, name in enumerate(study.clips)}
    rows = [
      (
        number,
        trial.pair,
        clip_of[study.pairs[trial.pair].clip],
        system_of[study.pairs[trial.pair].first],
        system_of[study.pairs[trial.pair].second],
        trial.towards_second(getattr(answer, question)),
        getattr(answer, question),
      )
      for number, rater in enumerate(raters)
      for trial, answer in rater.pairs()
      if trial.kind == protocol.COMPARISON
    ]
    columns = np.array(rows, int).reshape(-1, 7).T
    self.rater, self.pair, self.clip = columns[:3]
    self.first, self.second, self.value, self.shown = columns[3:]
    self.num_raters = len(raters)
    self.num_clips = len(study.clips)
    self.num_systems = len(study.systems)

  def outcomes(self) -> np.ndarray:
    """Returns float[answers, 3]: first won, tie, second won."""
    signs = np.sign(self.value)
    return np.stack([signs < 0, signs == 0, signs > 0], 1).astype(float)

  def won(self, weights: np.ndarray, *, tie: float) -> np.ndarray:
    """Sums wins of row against column, a tie as `tie`: [resamples, k, k]."""
    k = self.num_systems
    wins = np.zeros((len(weights), k * k))
    for winner, loser, sign in (
      (self.first, self.second, -1),
      (self.second, self.first, 1),
    ):
      credit = np.where(self.value == 0, tie, np.sign(self.value) == sign)
      cells = np.zeros((len(self.value), k * k))
      cells[np.arange(len(cells)), winner * k + loser] = credit
      wins += weights @ cells
    return wins.reshape(-1, k, k)

  def ratings(self, num_pairs: int) -> np.ndarray:
    """Returns answers as float[raters, pairs], NaN where there is none."""
    ratings = np.full((self.num_raters, num_pairs), np.nan)
    ratings[self.rater, self.pair] = self.value
    return ratings

  def draw(
    self, num: int, rng: np.random.Generator
  ) -> tuple[np.ndarray, np.ndarray]:
    """Draws numbers of times that each rater and each clip counts.

    Args:
      num: Number of resamples.
      rng: Generator of the draws.

    Returns:
      int[1 + num, raters] and int[1 + num, clips]; the first row is the data:
      ones.
    """
    raters, clips = (
      np.concatenate(
        [
          np.ones((1, n), int),
          rng.multinomial(n, np.full(n, 1 / n), size=num)
          if n
          else np.zeros((num, 0), int),
        ]
      )
      for n in (self.num_raters, self.num_clips)
    )
    return raters, clips


def ratio_interval(parts: np.ndarray, wholes: np.ndarray) -> Interval:
  """Computes the interval of parts / wholes; the first is the data's."""
  # A resample may hold no answer at all.
  kept = wholes > 0
  shares = parts[kept] / wholes[kept]
  return interval(shares[0], shares[1:])


def interval(value: float, resampled: np.ndarray) -> Interval:
  """Computes the interval of a figure from the same figure of resamples."""
  tail = (1 - bootstrap.LEVEL) / 2
  low, high = np.quantile(resampled, [tail, 1 - tail])
  return Interval(mean=float(value), low=float(low), high=float(high))
