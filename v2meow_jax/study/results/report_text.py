"""Formats the report of a study as markdown."""

from collections.abc import Mapping
from collections.abc import Sequence

from v2meow_jax.study import collecting
from v2meow_jax.study import protocol
from v2meow_jax.study.results import analysis

TITLES = {'relevance': 'Visual relevance', 'preference': 'Music preference'}
METHODS = """\
A win is a strong or slight preference, as in the paper; 'no preference' is a
tie, which nobody wins. Brackets are 95 % bootstrap intervals in which raters
and clips are drawn anew. Win rates of a system are means over its opponents.
Bradley-Terry scores are in logits with a mean of 0, of the answers that prefer
a side, and half a win added each way to pairs of systems that were compared; a
difference of 1 is a chance of 73 % to win where a side is preferred. Agreement
is Krippendorff's alpha on the five points as ordinal values: 1 is full, 0 is
chance. Attention checks count nowhere but in the choice of raters.
"""


def markdown(
  study: protocol.Study,
  collected: collecting.Collected,
  results: Mapping[str, analysis.QuestionResult],
  *,
  baselines: Sequence[str],
  drawn: Sequence[str],
  keep_all: bool,
) -> str:
  """Formats the report.

  Args:
    study: The study.
    collected: All answers.
    results: Results by question.
    baselines: Baselines of `results`.
    drawn: File names of plots.
    keep_all: Whether excluded raters count all the same.

  Returns:
    Text that ends in a line break.
  """
  num_answers = sum(
    trial.kind == protocol.COMPARISON
    for rater in collected.kept
    for trial, _ in rater.pairs()
  )
  finished = sum(len(r.answers) == len(r.trials) for r in collected.kept)
  aside = [f'{collected.num_silent} more joined and answered nothing']
  if collected.excluded:
    would = 'would be ' if keep_all else ''
    aside.append(f'{len(collected.excluded)} {would}left out, see below')
  if collected.rejected:
    aside.append(f'files rejected: {len(collected.rejected)}, see below')
  lines = [
    f'# {study.title}',
    '',
    f'{num_answers} comparisons by {len(collected.kept)} raters, of whom'
    f' {finished} finished ({"; ".join(aside)}); {len(study.pairs)} pairs of'
    f' {len(study.clips)} clips and {len(study.systems)} systems. Study {study.id}.',
    '',
    METHODS,
  ]
  if baselines:
    lines += [
      f'Baselines: {", ".join(baselines)}. Their own rates against baselines are'
      ' those against all others, as in the paper.',
      '',
    ]
  for name in drawn:
    lines += [f'![{name}]({name})', '']
  for question, result in results.items():
    lines += [f'## {TITLES[question]}', '']
    lines += [*_question(result, bool(baselines)), '']
  left = {
    'Raters left out' + (' (counted all the same)' if keep_all else ''): [
      f'{code}: {"; ".join(reasons)}'
      for code, reasons in collected.excluded.items()
    ],
    'Files that are no answers to this study': [
      f'{name}: {reason}' for name, reason in collected.rejected.items()
    ],
    'Clips left out': [
      f'{i["clip"]} of {i["system"]}: {i["reason"]}' for i in study.left_out
    ],
    'To mind': list(study.notes),
  }
  for heading, items in left.items():
    lines += ['', f'## {heading}', '', *(f'- {i}' for i in items or ['none'])]
  return '\n'.join(lines) + '\n'


def _question(
  result: analysis.QuestionResult, has_baselines: bool
) -> list[str]:
  scores = result.scores or {}
  columns = {'average win rate': result.average_wins}
  if has_baselines:
    columns['against baselines'] = result.baseline_wins
    columns['among the others'] = result.variant_wins
  lines = _table(
    ('system', *columns, 'Bradley-Terry score'),
    [
      (
        system,
        *(_percent(_share(rates[system])) for rates in columns.values()),
        f'{scores[system]}' if scores else '',
      )
      for system in result.average_wins
    ],
  )
  if not scores:
    lines += ['', 'No scores: the answers do not link all systems yet.']
  alpha = 'not defined' if result.alpha is None else str(result.alpha)
  lines += [
    '',
    f'Agreement: alpha {alpha}, over {result.num_shared} pairs with'
    ' two raters or more.',
  ]
  if result.left_share is not None:
    lines[-1] += (
      f' Of the answers that prefer a side, {result.left_share:.0%} prefer the'
      ' left.'
    )
  outcomes = ('answers', 'first wins', 'tie', 'second wins')
  lines += [
    '',
    *_table(('pair', *outcomes), [_outcomes(row) for row in result.rows]),
  ]
  if result.genre_rows:
    lines += [
      '',
      *_table(
        ('genre', 'pair', *outcomes),
        [(row.genre or '', *_outcomes(row)) for row in result.genre_rows],
      ),
    ]
  return lines


def _outcomes(row: analysis.Comparison) -> tuple[str, ...]:
  return (
    f'{row.first} vs {row.second}',
    str(row.num_answers),
    *map(_percent, (row.first_wins, row.ties, row.second_wins)),
  )


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
  cells = [head, ['---'] * len(head), *rows]
  return [
    f'| {" | ".join(c.replace("|", "/") for c in row)} |' for row in cells
  ]


def _share(rate: analysis.WinRate | None) -> analysis.Interval | None:
  return None if rate is None else rate.mean_share


def _percent(interval: analysis.Interval | None) -> str:
  if interval is None:
    return ''
  mean, low, high = (
    f'{100 * x:.1f}' for x in (interval.mean, interval.low, interval.high)
  )
  return f'{mean} % [{low}, {high}]'
