"""From answers to numbers: win rates, scores, agreement, intervals.

Intervals are percentile bootstrap intervals in which raters and clips are
drawn with replacement, independently of each other: answers of one rater, and
answers on one clip, are alike (the two-way or 'pigeonhole' bootstrap, Owen
2007, https://arxiv.org/abs/0712.1111). It errs on the wide side: where answers
have nothing in common, the variance comes out three times too large.
"""

from __future__ import annotations

from collections.abc import Sequence
import dataclasses

import numpy as np

from v2meow_jax.evaluation import bootstrap
from v2meow_jax.study import agreement
from v2meow_jax.study import answers
from v2meow_jax.study import bradley_terry
from v2meow_jax.study import protocol

_NUM_RESAMPLES = 1000
# ours: a virtual win each way for each pair of systems that was compared, so
# that a system that always won has a finite score.
_PRIOR_WINS = 0.5
Interval = bootstrap.Interval


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
  """How two systems fared against each other.

  Attributes:
    first: A system.
    second: Another.
    genre: Of the clips; None: all.
    num_answers: To one question.
    first_wins: Share of strong or weak preference for the first, as the paper
      counts; None without answers.
    ties: Share of 'no preference'.
    second_wins: As `first_wins`.
  """

  first: str
  second: str
  genre: str | None
  num_answers: int
  first_wins: Interval | None
  ties: Interval | None
  second_wins: Interval | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Result:
  """What the answers to one question say.

  Attributes:
    rows: Of all clips, for each pair of systems that was compared.
    genre_rows: The same for each genre.
    average_wins: By system: mean of its win rates over its opponents, as in
      Table 4 of the paper; None without answers.
    scores: Bradley-Terry, in logits, mean 0, of the answers that prefer a side;
      None when the answers do not link all systems.
    alpha: Krippendorff's, ordinal; None when no pair has two raters.
    num_shared: Pairs with two raters or more.
    left_share: Of the answers that prefer a side, those for the left.
  """

  rows: Sequence[Row]
  genre_rows: Sequence[Row]
  average_wins: dict[str, Interval | None]
  scores: dict[str, Interval] | None
  alpha: float | None
  num_shared: int
  left_share: float | None


def analyse(
  raters: Sequence[answers.Rater],
  study: protocol.Study,
  question: str,
  *,
  seed: int = 0,
) -> Result:
  """Analyses the comparisons of one question; checks are not counted.

  Args:
    raters: Those that are kept.
    study: The study.
    question: 'relevance' or 'preference'.
    seed: Of the intervals; the same seed gives the same.

  Returns:
    The numbers.
  """
  table = _Table(raters, study, question)
  weights = _resamples(table, np.random.default_rng(seed))
  versus = list(dict.fromkeys((p.first, p.second) for p in study.pairs))
  genres = sorted({c.genre for c in study.clips.values() if c.genre})
  chosen = table.shown[table.shown != 0]
  alpha = agreement.krippendorff_alpha(table.ratings(len(study.pairs)))
  shared = np.bincount(table.pair, minlength=1) >= 2
  return Result(
    rows=[_row(table, weights, study, *v, None) for v in versus],
    genre_rows=[
      _row(table, weights, study, *v, genre) for genre in genres for v in versus
    ],
    average_wins=_average_wins(table, weights, study),
    scores=_scores(table, weights, study),
    alpha=None if np.isnan(alpha) else alpha,
    num_shared=int(shared.sum()),
    left_share=float((chosen < 0).mean()) if len(chosen) else None,
  )


class _Table:
  """The comparisons of one question as arrays, one entry an answer."""

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
    """float[answers, 3]: first won, tie, second won."""
    signs = np.sign(self.value)
    return np.stack([signs < 0, signs == 0, signs > 0], 1).astype(float)

  def won(self, weights: np.ndarray, *, tie: float) -> np.ndarray:
    """float[resamples, k, k]: wins of row against column, a tie as `tie`."""
    k = self.num_systems
    found = np.zeros((len(weights), k * k))
    for winner, loser, sign in (
      (self.first, self.second, -1),
      (self.second, self.first, 1),
    ):
      credit = np.where(self.value == 0, tie, np.sign(self.value) == sign)
      cells = np.zeros((len(self.value), k * k))
      cells[np.arange(len(cells)), winner * k + loser] = credit
      found += weights @ cells
    return found.reshape(-1, k, k)

  def ratings(self, num_pairs: int) -> np.ndarray:
    """float[raters, pairs], NaN where there is none."""
    ratings = np.full((self.num_raters, num_pairs), np.nan)
    ratings[self.rater, self.pair] = self.value
    return ratings


def _resamples(table: _Table, rng: np.random.Generator) -> np.ndarray:
  """[1 + resamples, answers]: how often each is drawn; first, once each."""
  weights = np.ones((1, len(table.value)))
  if not weights.size:
    return weights
  raters, clips = (
    rng.multinomial(n, np.full(n, 1 / n), size=_NUM_RESAMPLES)
    for n in (table.num_raters, table.num_clips)
  )
  drawn = raters[:, table.rater] * clips[:, table.clip]
  return np.concatenate([weights, drawn])


def _row(
  table: _Table,
  weights: np.ndarray,
  study: protocol.Study,
  first: str,
  second: str,
  genre: str | None,
) -> Row:
  in_genre = np.array(
    [genre in (None, c.genre) for c in study.clips.values()], bool
  )
  chosen = (
    (table.first == study.systems.index(first))
    & (table.second == study.systems.index(second))
    & in_genre[table.clip]
  )
  sums = weights[:, chosen] @ table.outcomes()[chosen]
  won, ties, lost = (
    _interval(part, sums.sum(1)) if chosen.any() else None for part in sums.T
  )
  return Row(
    first=first,
    second=second,
    genre=genre,
    num_answers=int(chosen.sum()),
    first_wins=won,
    ties=ties,
    second_wins=lost,
  )


def _average_wins(
  table: _Table, weights: np.ndarray, study: protocol.Study
) -> dict[str, Interval | None]:
  """Mean over opponents of the share of wins, ties not counted as won."""
  wins = table.won(weights, tie=0.0)
  games = table.won(weights, tie=0.5)
  games += games.swapaxes(1, 2)
  played = games > 0
  rates = np.divide(wins, games, out=np.zeros_like(wins), where=played)
  return {
    system: _interval(rates[:, i].sum(1), played[:, i].sum(1))
    if played[0, i].any()
    else None
    for i, system in enumerate(study.systems)
  }


def _scores(
  table: _Table, weights: np.ndarray, study: protocol.Study
) -> dict[str, Interval] | None:
  # Given that a side was preferred, Davidson's model with ties (1970) is that of
  # Bradley and Terry; a tie as half a win each would draw all scores together.
  wins = table.won(weights, tie=0.0)
  games = table.won(weights[:1], tie=0.5)[0]
  compared = (games + games.T) > 0
  try:
    scores = bradley_terry.scores(wins + _PRIOR_WINS * compared)
  except ValueError:
    return None
  return {
    system: _quantiles(scores[0, i], scores[1:, i])
    for i, system in enumerate(study.systems)
  }


def _interval(parts: np.ndarray, wholes: np.ndarray) -> Interval:
  """Of parts / wholes; the first is the data, the others resamples."""
  # A resample may hold no answer at all.
  kept = wholes > 0
  shares = parts[kept] / wholes[kept]
  return _quantiles(shares[0], shares[1:])


def _quantiles(value: float, resampled: np.ndarray) -> Interval:
  tail = (1 - bootstrap.LEVEL) / 2
  low, high = np.quantile(resampled, [tail, 1 - tail])
  return Interval(mean=float(value), low=float(low), high=float(high))
