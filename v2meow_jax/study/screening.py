"""Which raters are left out, and why."""

from __future__ import annotations

import collections
import dataclasses

from v2meow_jax.study import answers
from v2meow_jax.study import protocol


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rules:
  """When a rater is left out; all numbers are ours.

  Attributes:
    max_failed_checks: Attention checks that may be failed.
    max_same_share: Share of equal answers, as shown, over both questions,
      from which a rater is taken to press one button.
    min_for_same: Comparisons below which that is not judged.
    max_fast_share: Share of answers that may have come sooner than both clips
      take to play.
  """

  max_failed_checks: int = 0
  max_same_share: float = 0.95
  min_for_same: int = 6
  max_fast_share: float = 0.25


def failed(trial: protocol.Trial, answer: answers.Answer) -> bool:
  """Whether an attention check was failed; a comparison never is.

  Instructed: any answer but the one asked for. Silence: no music is said to be
  the music that one would rather hear, also by who cannot bear the music.
  """
  if trial.kind == protocol.INSTRUCTED:
    return {answer.relevance, answer.preference} != {trial.wanted}
  if trial.kind == protocol.SILENCE:
    return trial.towards_second(answer.preference) > 0
  return False


def reasons(
  rater: answers.Rater, study: protocol.Study, rules: Rules
) -> list[str]:
  """Why a rater is left out; empty: is kept.

  Args:
    rater: With at least one answer.
    study: The study.
    rules: When to leave out.

  Returns:
    Short sentences with the numbers.
  """
  found = []
  pairs = list(rater.pairs())
  checks = [t for t, _ in pairs if t.kind != protocol.COMPARISON]
  num_failed = sum(failed(t, a) for t, a in pairs)
  if num_failed > rules.max_failed_checks:
    found.append(f'failed {num_failed} of {len(checks)} attention checks')
  given = [
    value
    for trial, answer in pairs
    if trial.kind == protocol.COMPARISON
    for value in (answer.relevance, answer.preference)
  ]
  if len(given) >= 2 * rules.min_for_same:
    ((value, most),) = collections.Counter(given).most_common(1)
    if most >= rules.max_same_share * len(given):
      found.append(
        f'gave the same answer ({value:+d} as shown) {most} of'
        f' {len(given)} times'
      )
  num_fast = sum(
    answer.seconds < 2 * study.required_seconds(trial)
    for trial, answer in pairs
  )
  if num_fast > rules.max_fast_share * len(pairs):
    found.append(
      f'answered {num_fast} of {len(pairs)} times before both clips can have'
      ' been played'
    )
  return found
