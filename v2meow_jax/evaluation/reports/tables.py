"""Prints our runs in the tables of papers, beside their figures."""

from collections.abc import Sequence
import os

from v2meow_jax.evaluation.metrics import scores
from v2meow_jax.evaluation.reports import muvi_figures
from v2meow_jax.evaluation.reports import paper_figures

# Tables of each paper, by the name of its system.
PAPERS = {'v2meow': paper_figures.TABLES, 'muvi': muvi_figures.TABLES}


def main(paths: Sequence[str | os.PathLike], paper: str = 'v2meow') -> str:
  """Prints the tables of a paper as markdown, with the runs at these paths.

  Args:
    paths: Paths of `scores.json` files or of their folders; none: the paper's
      figures alone.
    paper: Name of one of `PAPERS`.

  Returns:
    Text that ends in a line break.

  Raises:
    ValueError: A file holds no scores.
    OSError: There is no such file.
  """
  return markdown([scores.read(path) for path in paths], paper)


def markdown(runs: Sequence[scores.Scores], paper: str = 'v2meow') -> str:
  """Prints the tables of a paper with these runs."""
  return '\n'.join(table_markdown(table, runs) for table in PAPERS[paper])


def table_markdown(
  table: paper_figures.Table, runs: Sequence[scores.Scores]
) -> str:
  """Prints one table: the paper's rows, then a row for each run in it.

  A run is in the tables of its data set. A run of clips that no table has is
  wherever its task fits and it has a figure, with a mark. A cell is blank
  where the run has no such metric. Mismatched pairs, if any, have a second
  row.

  Args:
    table: Table of one of `PAPERS`.
    runs: Runs of ours.

  Returns:
    Markdown that ends in a line break.
  """
  titles = ['method', *(column.title for column in table.columns)]
  rows = [titles, ['---'] * len(titles), *table.rows]
  foreign = False
  for run in runs:
    if not _belongs(table, run):
      continue
    own_clips = run.dataset == table.dataset
    foreign |= not own_clips
    silent = f', {run.num_silent} silent' if run.num_silent else ''
    name = f'**{run.run}** ({run.dataset}, {len(run.clips)} clips{silent})'
    name += '' if own_clips else ' †'
    rows.append([name, *(_cell(column, run) for column in table.columns)])
    shuffled = [_cell(column, run, '_shuffled') for column in table.columns]
    if any(shuffled):
      rows.append([f'{name}, random shuffle', *shuffled])
  lines = [f'## Table {table.name}: {table.title}', '']
  lines += [f'| {" | ".join(map(_escaped, row))} |' for row in rows]
  lines += ['', f'Published figures: {table.source}. {table.note}']
  if foreign:
    lines += ['', '† Of other clips than the paper had: not to be compared.']
  return '\n'.join([*lines, ''])


def _belongs(table: paper_figures.Table, run: scores.Scores) -> bool:
  known = {other.dataset for tables in PAPERS.values() for other in tables}
  if run.dataset in known:
    return run.dataset == table.dataset and run.task in table.tasks
  has_figure = any(_cell(column, run) for column in table.columns)
  return run.task in table.tasks and has_figure


def _cell(
  column: paper_figures.Column, run: scores.Scores, suffix: str = ''
) -> str:
  """Lists the run's figures for a column; blank without any."""
  figures = []
  for pattern in column.metrics:
    metric, slash, network = pattern.partition('/')
    wanted = f'{metric}{suffix}{slash}'
    for name, score in run.metrics.items():
      if network == '*' and name.startswith(wanted):
        figures.append(f'{_figure(column, run, score)} `{name}`')
      elif name == f'{wanted}{network}':
        figures.append(_figure(column, run, score))
  return '<br>'.join(figures)


def _figure(
  column: paper_figures.Column, run: scores.Scores, score: scores.Score
) -> str:
  """Formats value, deviation, interval and flags."""
  scale, digits = (100.0, 1) if column.percent else (1.0, 3)
  text = f'{scale * score.value:.{digits}f}'
  if column.deviation in run.metrics:
    text += f' ({scale * run.metrics[column.deviation].value:.{digits}f})'
  if score.low is not None and score.high is not None:
    text += (
      f' [{scale * score.low:.{digits}f}, {scale * score.high:.{digits}f}]'
    )
  marks = [m for m in ('saturated', 'singular') if score.details.get(m)]
  return ' '.join([text, *(f'*{mark}*' for mark in marks)])


def _escaped(cell: str) -> str:
  """Puts a cell on one line and escapes bars."""
  return ' '.join(cell.replace('|', '\\|').split())
