"""Computes win rates, scores, agreement and the intervals of `tally`."""

from collections.abc import Collection
from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses

import numpy as np

from v2meow_jax.study import answers
from v2meow_jax.study import protocol
from v2meow_jax.study.results import agreement
from v2meow_jax.study.results import bradley_terry
from v2meow_jax.study.results import tally

NUM_RESAMPLES = 1000
# ours: half a win each way for each compared pair of systems, so that a system
# that always won has a finite score.
PRIOR_WINS = 0.5
Interval = tally.Interval


@dataclasses.dataclass(frozen=True, kw_only=True)
class Comparison:
  """Outcomes of two systems against each other.

  Attributes:
    first: Name of the first system.
    second: Name of the second system.
    genre: Genre of the clips; None: all.
    num_answers: Number of answers to one question.
    first_wins: Share of strong or slight preference for the first, as the
      paper counts; None without answers.
    ties: Share of 'no preference'.
    second_wins: Share of strong or slight preference for the second.
  """

  first: str
  second: str
  genre: str | None
  num_answers: int
  first_wins: Interval | None
  ties: Interval | None
  second_wins: Interval | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class WinRate:
  """Wins of a system against some others.

  Attributes:
    mean_share: Mean over opponents of the share of answers won; a tie is no
      win.
    opponents: Systems that it was compared with.
    num_clips: Number of clips compared.
    num_raters: Number of raters.
    num_wins: Number of answers that prefer it.
    num_ties: Number of answers without a preference.
    num_losses: Number of answers that prefer the opponent.
  """

  mean_share: Interval
  opponents: tuple[str, ...]
  num_clips: int
  num_raters: int
  num_wins: int
  num_ties: int
  num_losses: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class QuestionResult:
  """Results of one question.

  Attributes:
    rows: Comparisons of pairs of systems on all clips.
    genre_rows: Comparisons of pairs of systems on each genre.
    average_wins: Wins by system against all others; None without answers.
    baseline_wins: Wins by system against the baselines, and of a baseline
      against the others, as in Table 1 of the paper; None without answers or
      baselines.
    variant_wins: Wins by system against all others but baselines, as in Table
      4; None for a baseline.
    scores: Bradley-Terry scores in logits, mean 0, of the answers that prefer a
      side; None when the answers do not link all systems.
    alpha: Krippendorff's alpha, ordinal; None when no pair has two raters, or
      all answers are equal.
    num_shared: Number of pairs with two raters or more.
    left_share: Share of the left among answers that prefer a side.
  """

  rows: Sequence[Comparison]
  genre_rows: Sequence[Comparison]
  average_wins: dict[str, WinRate | None]
  baseline_wins: dict[str, WinRate | None]
  variant_wins: dict[str, WinRate | None]
  scores: dict[str, Interval] | None
  alpha: Interval | None
  num_shared: int
  left_share: float | None


def analyse(
  raters: Sequence[answers.Rater],
  study: protocol.Study,
  question: str,
  *,
  baselines: Collection[str] = (),
  seed: int = 0,
) -> QuestionResult:
  """Analyses the comparisons of one question; checks are not counted.

  Args:
    raters: Raters that count.
    study: The study.
    question: 'relevance' or 'preference'.
    baselines: Systems to compare the others with.
    seed: Seed of the intervals.

  Returns:
    The results.
  """
  table = tally.AnswerTable(raters, study, question)
  of_raters, of_clips = table.draw(NUM_RESAMPLES, np.random.default_rng(seed))
  # Number of draws of each answer.
  weights = (of_raters[:, table.rater] * of_clips[:, table.clip]).astype(float)
  versus = list(dict.fromkeys((p.first, p.second) for p in study.pairs))
  genres = sorted({c.genre for c in study.clips.values() if c.genre})
  chosen = table.shown[table.shown != 0]
  shared = np.bincount(table.pair, minlength=1) >= 2
  systems = study.systems
  variants = [s for s in systems if s not in baselines]

  def win_rates(of_baseline: Collection[str], of_variant: Collection[str]):
    opponents = {
      s: of_variant if s in variants else of_baseline for s in systems
    }
    return _win_rates(table, weights, study, opponents)

  return QuestionResult(
    rows=[_row(table, weights, study, *v, None) for v in versus],
    genre_rows=[
      _row(table, weights, study, *v, genre) for genre in genres for v in versus
    ],
    average_wins=win_rates(systems, systems),
    baseline_wins=win_rates(variants if baselines else (), baselines),
    variant_wins=win_rates((), variants),
    scores=_scores(table, weights, study),
    alpha=_alpha(table, of_raters, of_clips, study),
    num_shared=int(shared.sum()),
    left_share=float((chosen < 0).mean()) if len(chosen) else None,
  )


def _row(
  table: tally.AnswerTable,
  weights: np.ndarray,
  study: protocol.Study,
  first: str,
  second: str,
  genre: str | None,
) -> Comparison:
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
    tally.ratio_interval(part, sums.sum(1)) if chosen.any() else None
    for part in sums.T
  )
  return Comparison(
    first=first,
    second=second,
    genre=genre,
    num_answers=int(chosen.sum()),
    first_wins=won,
    ties=ties,
    second_wins=lost,
  )


def _win_rates(
  table: tally.AnswerTable,
  weights: np.ndarray,
  study: protocol.Study,
  opponents: Mapping[str, Collection[str]],
) -> dict[str, WinRate | None]:
  """Computes wins of each system against its compared opponents."""
  wins = table.won(weights, tie=0.0)
  games = table.won(weights, tie=0.5)
  games += games.swapaxes(1, 2)
  rates = np.divide(wins, games, out=np.zeros_like(wins), where=games > 0)
  win_rates: dict[str, WinRate | None] = {}
  for i, system in enumerate(study.systems):
    met = [
      j
      for j, other in enumerate(study.systems)
      if other in opponents[system] and games[0, i, j]
    ]
    win_rates[system] = None
    if not met:
      continue
    chosen = (table.first == i) & np.isin(table.second, met)
    chosen |= (table.second == i) & np.isin(table.first, met)
    towards = np.sign(table.value) * np.where(table.second == i, 1, -1)
    win_rates[system] = WinRate(
      mean_share=tally.ratio_interval(
        rates[:, i, met].sum(1), (games[:, i, met] > 0).sum(1)
      ),
      opponents=tuple(study.systems[j] for j in met),
      num_clips=len(np.unique(table.clip[chosen])),
      num_raters=len(np.unique(table.rater[chosen])),
      num_wins=int((towards[chosen] > 0).sum()),
      num_ties=int((towards[chosen] == 0).sum()),
      num_losses=int((towards[chosen] < 0).sum()),
    )
  return win_rates


def _scores(
  table: tally.AnswerTable, weights: np.ndarray, study: protocol.Study
) -> dict[str, Interval] | None:
  # Given a preference, Davidson's model with ties (1970) is that of Bradley and
  # Terry; a tie as half a win each would draw all scores together.
  wins = table.won(weights, tie=0.0)
  games = table.won(weights[:1], tie=0.5)[0]
  compared = (games + games.T) > 0
  try:
    scores = bradley_terry.scores(wins + PRIOR_WINS * compared)
  except ValueError:
    return None
  return {
    system: tally.interval(scores[0, i], scores[1:, i])
    for i, system in enumerate(study.systems)
  }


def _alpha(
  table: tally.AnswerTable,
  of_raters: np.ndarray,
  of_clips: np.ndarray,
  study: protocol.Study,
) -> Interval | None:
  # A drawn clip brings all of its pairs.
  clips = list(study.clips)
  of_pairs = of_clips[:, [clips.index(p.clip) for p in study.pairs]]
  ratings = table.ratings(len(study.pairs))
  alphas = np.array(
    [
      agreement.krippendorff_alpha(ratings, raters=raters, units=units)
      for raters, units in zip(of_raters, of_pairs, strict=True)
    ]
  )
  if np.isnan(alphas[0]):
    return None
  return tally.interval(alphas[0], alphas[1:][~np.isnan(alphas[1:])])
