"""Decides which raters are left out, and why."""

import collections
import dataclasses

from v2meow_jax.study import answers
from v2meow_jax.study import protocol


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rules:
  """Rules for leaving out raters; all numbers are ours.

  Attributes:
    max_failed_checks: Largest number of failed attention checks.
    max_same_share: Share of equal answers, as shown, over both questions, at
      which a rater seems to press one button.
    min_for_same: Fewest comparisons for that rule.
    max_fast_share: Largest share of answers sooner than both clips can be
      played.
  """

  max_failed_checks: int = 0
  max_same_share: float = 0.95
  min_for_same: int = 6
  max_fast_share: float = 0.25


def failed(trial: protocol.Trial, answer: answers.Answer) -> bool:
  """Checks for a failed attention check; a comparison never fails.

  Instructed: any answer but the instructed one. Silence: a preference for no
  music, even by someone who dislikes the music.
  """
  if trial.kind == protocol.INSTRUCTED:
    return {answer.relevance, answer.preference} != {trial.wanted}
  if trial.kind == protocol.SILENCE:
    return trial.towards_second(answer.preference) > 0
  return False


def reasons(
  rater: answers.Rater, study: protocol.Study, rules: Rules
) -> list[str]:
  """Lists reasons for leaving out a rater, as short sentences with numbers.

  Args:
    rater: Rater with at least one answer.
    study: The study.
    rules: Rules for leaving out.

  Returns:
    Reasons; empty for a rater to keep.
  """
  broken = []
  pairs = list(rater.pairs())
  checks = [t for t, _ in pairs if t.kind != protocol.COMPARISON]
  num_failed = sum(failed(t, a) for t, a in pairs)
  if num_failed > rules.max_failed_checks:
    broken.append(f'failed {num_failed} of {len(checks)} attention checks')
  given = [
    value
    for trial, answer in pairs
    if trial.kind == protocol.COMPARISON
    for value in (answer.relevance, answer.preference)
  ]
  if len(given) >= 2 * rules.min_for_same:
    ((value, most),) = collections.Counter(given).most_common(1)
    if most >= rules.max_same_share * len(given):
      broken.append(
        f'gave the same answer ({value:+d} as shown) {most} of'
        f' {len(given)} times'
      )
  num_fast = sum(
    answer.seconds < 2 * study.required_seconds(trial)
    for trial, answer in pairs
  )
  if num_fast > rules.max_fast_share * len(pairs):
    broken.append(
      f'answered {num_fast} of {len(pairs)} times before both clips can have'
      ' been played'
    )
  return broken
