"""Bradley-Terry scores: one number a system, from who won against whom."""

from __future__ import annotations

import numpy as np

_MAX_STEPS = 100_000
_TOLERANCE = 1e-10


def scores(wins: np.ndarray) -> np.ndarray:
  """Maximum likelihood scores, by minorisation and maximisation.

  P(i wins against j) = 1 / (1 + exp(score_j - score_i)); a tie is half a win
  for each. The steps are those of Hunter 2004, "MM algorithms for generalized
  Bradley-Terry models" (https://doi.org/10.1214/aos/1079120141).

  >>> wins = np.array([[0.0, 30.0], [10.0, 0.0]])
  >>> np.round(np.exp(scores(wins)[0] - scores(wins)[1]), 6)
  np.float64(3.0)

  Args:
    wins: float[..., k, k]; `wins[i, j]` is how often i won against j, in
      possibly fractional counts; the diagonal is not used.

  Returns:
    float[..., k], in logits, with a mean of 0.

  Raises:
    ValueError: The systems fall into two groups of which one never won against
      the other, so that no finite scores are the likeliest (Ford 1957).
  """
  wins = np.array(wins, float) * (1.0 - np.eye(np.shape(wins)[-1]))
  if not _is_connected(wins).all():
    raise ValueError(
      'some systems never won, directly or through others, against some others;'
      ' their scores have no finite estimate: collect more answers.'
    )
  games = wins + np.swapaxes(wins, -1, -2)
  total = wins.sum(-1)
  logits = np.zeros(wins.shape[:-1])
  for _ in range(_MAX_STEPS):
    strengths = np.exp(logits)
    shared = games / (strengths[..., :, None] + strengths[..., None, :])
    new = np.log(total) - np.log(shared.sum(-1))
    new -= new.mean(-1, keepdims=True)
    gap = np.abs(new - logits).max()
    logits = new
    if gap < _TOLERANCE:
      break
  return logits


def _is_connected(wins: np.ndarray) -> np.ndarray | np.bool:
  """bool[...]: from each system to each other there is a path of wins."""
  k = wins.shape[-1]
  beats = (wins > 0) | np.eye(k, dtype=bool)
  for _ in range(k.bit_length()):
    beats = np.matmul(beats.astype(float), beats.astype(float)) > 0
  return beats.all((-1, -2))
