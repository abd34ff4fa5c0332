"""Fits Bradley-Terry scores: a number a system, from wins in pairs."""

import numpy as np

_MAX_STEPS = 1000
_MAX_STEP = 0.5
_TOLERANCE = 1e-10


def scores(wins: np.ndarray) -> np.ndarray:
  """Computes maximum likelihood scores of Bradley and Terry's model (1952).

  P(i wins against j) = 1 / (1 + exp(score_j - score_i)), given that one of them
  wins: in the model of Davidson (1970), which has ties, this is so whatever the
  share of ties, so that they are left out.

  >>> wins = np.array([[0.0, 30.0], [10.0, 0.0]])
  >>> np.round(np.exp(scores(wins)[0] - scores(wins)[1]), 6)
  np.float64(3.0)

  Args:
    wins: Wins [i, j] of i against j, float[..., k, k]; the diagonal is not
      used.

  Returns:
    Scores in logits with a mean of 0, float[..., k].

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
  k = wins.shape[-1]
  games = wins + np.swapaxes(wins, -1, -2)
  logits = np.zeros(wins.shape[:-1])
  for _ in range(_MAX_STEPS):
    chance = 1 / (1 + np.exp(logits[..., None, :] - logits[..., :, None]))
    gradient = (wins - games * chance).sum(-1)
    curvature = games * chance * (1 - chance)
    # Adding one number to all scores changes nothing: 1 / k holds their sum.
    hessian = curvature.sum(-1)[..., None] * np.eye(k) - curvature + 1 / k
    step = np.linalg.solve(hessian, gradient[..., None])[..., 0]
    size = np.abs(step).max(-1, keepdims=True)
    # While no difference of scores moves by more than 1, the curvature of the
    # logistic changes so little that each step of Newton's raises the
    # likelihood (Bach 2010, https://arxiv.org/abs/0910.4627).
    logits = logits + step * np.minimum(1, _MAX_STEP / np.maximum(size, 1e-300))
    if not size.size or size.max() < _TOLERANCE:
      break
  return logits


def _is_connected(wins: np.ndarray) -> np.ndarray | np.bool:
  """Checks for a path of wins from each system to each other: bool[...]."""
  k = wins.shape[-1]
  beats = (wins > 0) | np.eye(k, dtype=bool)
  for _ in range(k.bit_length()):
    beats = np.matmul(beats.astype(float), beats.astype(float)) > 0
  return beats.all((-1, -2))
