"""`v2meow study analyse`: reads all answers, writes numbers, report and plots."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import json
import os
import pathlib

import v2meow_jax
from v2meow_jax import media_io
from v2meow_jax.study import analysis
from v2meow_jax.study import answers
from v2meow_jax.study import pages
from v2meow_jax.study import plots
from v2meow_jax.study import protocol
from v2meow_jax.study import screening
from v2meow_jax.study import storage

_TITLES = {'relevance': 'Visual relevance', 'preference': 'Music preference'}
_METHODS = """\
A win is a strong or slight preference, as in the paper; 'no preference' is a
tie. Brackets are 95 % bootstrap intervals in which raters and clips are drawn
anew. Bradley-Terry scores are in logits with a mean of 0, of the answers that
prefer a side, and half a win added each way to pairs of systems that were
compared; a difference of 1 is a chance of 73 % to win where a side is
preferred. Agreement is Krippendorff's alpha on
the five points as ordinal values: 1 is full, 0 is chance. Attention checks
count nowhere but in the choice of raters.
"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Collected:
  """All who answered.

  Attributes:
    kept: Raters that count.
    excluded: Reasons, by code.
    rejected: Reasons, by name of the file.
    num_silent: Participants who joined and answered nothing.
  """

  kept: Sequence[answers.Rater]
  excluded: Mapping[str, Sequence[str]]
  rejected: Mapping[str, str]
  num_silent: int


def write(
  site: str | os.PathLike, *, keep_all: bool = False, seed: int = 0
) -> pathlib.Path:
  """Analyses a study into SITE/report.

  Args:
    site: Folder of the study, with answers.sqlite, answers/*.json, or both.
    keep_all: Count raters that would be left out; they are listed still.
    seed: Of the intervals.

  Returns:
    The report, report.md, beside analysis.json and the plots.

  Raises:
    StudyError: The study or its answers are damaged.
    ImportError: Without matplotlib.
  """
  site = pathlib.Path(site)
  study = protocol.load(site)
  rules = screening.Rules()
  collected = _collect(site, study, rules, keep_all)
  results = {
    question: analysis.analyse(collected.kept, study, question, seed=seed)
    for question in protocol.QUESTIONS
  }
  folder = site / 'report'
  folder.mkdir(exist_ok=True)
  facts = {
    'study': study.id,
    'title': study.title,
    'version': v2meow_jax.__version__,
    'seed': seed,
    'keep_all': keep_all,
    'rules': dataclasses.asdict(rules),
    'num_raters': len(collected.kept),
    'num_answered_nothing': collected.num_silent,
    'excluded': collected.excluded,
    'rejected_files': collected.rejected,
    'left_out_clips': study.left_out,
    'notes': study.notes,
    'results': {q: dataclasses.asdict(r) for q, r in results.items()},
  }
  drawn = plots.draw(folder, study, results, _TITLES)
  _write_text(folder / 'analysis.json', json.dumps(facts, indent=1))
  _write_text(
    folder / 'report.md', _markdown(study, collected, results, drawn, keep_all)
  )
  return folder / 'report.md'


def _collect(
  site: pathlib.Path,
  study: protocol.Study,
  rules: screening.Rules,
  keep_all: bool,
) -> _Collected:
  raters, rejected = [], {}
  if (site / storage.FILE_NAME).exists():
    raters += storage.Storage(site / storage.FILE_NAME, study).raters()
  booklets = pages.read_booklets(site)
  codes = {rater.code for rater in raters}
  for path in sorted((site / 'answers').glob('*.json')):
    try:
      rater = answers.read_file(path, study, booklets)
      if rater.code in codes:
        raise protocol.StudyError(f'the answers of {rater.code} once more')
    except (protocol.StudyError, OSError) as error:
      rejected[path.name] = str(error)
      continue
    codes.add(rater.code)
    raters.append(rater)
  answering = [r for r in raters if r.answers]
  excluded = {
    r.code: found
    for r in answering
    if (found := screening.reasons(r, study, rules))
  }
  return _Collected(
    kept=[r for r in answering if keep_all or r.code not in excluded],
    excluded=excluded,
    rejected=rejected,
    num_silent=len(raters) - len(answering),
  )


def _markdown(
  study: protocol.Study,
  collected: _Collected,
  results: Mapping[str, analysis.Result],
  drawn: Sequence[str],
  keep_all: bool,
) -> str:
  num_answers = sum(
    trial.kind == protocol.COMPARISON
    for rater in collected.kept
    for trial, _ in rater.pairs()
  )
  finished = sum(len(r.answers) == len(r.trials) for r in collected.kept)
  lines = [
    f'# {study.title}',
    '',
    f'{num_answers} comparisons by {len(collected.kept)} raters, of whom'
    f' {finished} finished ({collected.num_silent} more joined and answered'
    f' nothing); {len(study.pairs)} pairs of {len(study.clips)}'
    f' clips and {len(study.systems)} systems. Study {study.id}.',
    '',
    _METHODS,
  ]
  for question, result in results.items():
    lines += [f'## {_TITLES[question]}', '', *_question(result), '']
  lines += [f'![{name}]({name})' for name in drawn]
  left = {
    'Raters left out' + (' (counted all the same)' if keep_all else ''): [
      f'{code}: {"; ".join(found)}'
      for code, found in collected.excluded.items()
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


def _question(result: analysis.Result) -> list[str]:
  lines = _table(
    ('pair', 'genre', 'answers', 'first wins', 'tie', 'second wins'),
    [
      (
        f'{row.first} : {row.second}',
        row.genre or 'all',
        str(row.num_answers),
        *map(_percent, (row.first_wins, row.ties, row.second_wins)),
      )
      for row in (*result.rows, *result.genre_rows)
    ],
  )
  scores = result.scores or {}
  lines += [
    '',
    *_table(
      ('system', 'average win rate', 'Bradley-Terry score'),
      [
        (system, _percent(wins), f'{scores[system]}' if scores else '')
        for system, wins in result.average_wins.items()
      ],
    ),
  ]
  if not scores:
    lines += ['', 'No scores: the answers do not link all systems yet.']
  alpha = 'not defined' if result.alpha is None else f'{result.alpha:.3f}'
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
  return lines


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
  cells = [head, ['---'] * len(head), *rows]
  return [
    f'| {" | ".join(c.replace("|", "/") for c in row)} |' for row in cells
  ]


def _percent(interval: analysis.Interval | None) -> str:
  if interval is None:
    return ''
  mean, low, high = (
    f'{100 * x:.1f}' for x in (interval.mean, interval.low, interval.high)
  )
  return f'{mean} % [{low}, {high}]'


def _write_text(path: pathlib.Path, text: str) -> None:
  with media_io.replacing(path) as temp:
    pathlib.Path(temp).write_text(text, 'utf-8')
