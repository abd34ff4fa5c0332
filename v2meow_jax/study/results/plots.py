"""Draws the plots of a study's report."""

from collections.abc import Mapping
from collections.abc import Sequence
import pathlib

import v2meow_jax
from v2meow_jax.study import protocol
from v2meow_jax.study.results import analysis

_COLOURS = ('#1f4f8f', '#c9ced6', '#c2641c')  # First, tie, second.
_DPI = 120
_BAR_INCHES = 0.42


def draw(
  folder: pathlib.Path,
  study: protocol.Study,
  results: Mapping[str, analysis.QuestionResult],
  titles: Mapping[str, str],
) -> list[str]:
  """Draws the plots for which there are answers.

  Args:
    folder: Folder of the png files.
    study: The study.
    results: Results by question.
    titles: Titles by question.

  Returns:
    Names of the files.

  Raises:
    ImportError: Matplotlib is not installed.
  """
  rows = {q: list(r.rows) for q, r in results.items()}
  genre_rows = {q: list(r.genre_rows) for q, r in results.items()}
  drawn = []
  for name, shown in (('win_rates', rows), ('genres', genre_rows)):
    if any(row.num_answers for rows in shown.values() for row in rows):
      _save(_win_rates(shown, titles), folder / f'{name}.png')
      drawn.append(f'{name}.png')
  if all(result.scores for result in results.values()):
    _save(_scores(study, results, titles), folder / 'scores.png')
    drawn.append('scores.png')
  return drawn


def _win_rates(
  shown: Mapping[str, Sequence[analysis.Comparison]], titles: Mapping[str, str]
):
  """Draws stacked bars, one a pair; whiskers at the first system's wins."""
  num = max(map(len, shown.values()))
  figure = _figure(11.0, 1.7 + _BAR_INCHES * num)
  for axes, (question, rows) in zip(
    figure.subplots(1, len(shown), sharey=True), shown.items(), strict=True
  ):
    for y, row in enumerate(rows):
      shares = (row.first_wins, row.ties, row.second_wins)
      parts = [share for share in shares if share is not None]
      if not parts:
        continue
      left = 0.0
      for part, colour in zip(parts, _COLOURS, strict=True):
        axes.barh(y, 100 * part.mean, left=left, color=colour, height=0.7)
        left += 100 * part.mean
      wins = parts[0]
      for width, colour in ((4.0, 'white'), (1.6, 'black')):
        ends = (100 * wins.low, 100 * wins.high)
        axes.plot(ends, (y, y), color=colour, linewidth=width)
    axes.axvline(50, color='black', linewidth=0.7, linestyle=':')
    axes.set_xlim(0, 100)
    axes.set_yticks(range(len(rows)), [_label(row) for row in rows])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlabel('% of answers')
    axes.set_title(titles[question])
    _plain(axes)
  names = ('first wins (line: 95 % interval)', 'no preference', 'second wins')
  handles = [
    figure.axes[0].barh(-9, 0, color=colour, label=name)
    for colour, name in zip(_COLOURS, names, strict=True)
  ]
  figure.legend(handles=handles, loc='outside lower center', ncols=3)
  return figure


def _scores(
  study: protocol.Study,
  results: Mapping[str, analysis.QuestionResult],
  titles: Mapping[str, str],
):
  """Draws a dot and an interval for each system."""
  figure = _figure(11.0, 1.5 + _BAR_INCHES * len(study.systems))
  for axes, (question, result) in zip(
    figure.subplots(1, len(results), sharex=True, sharey=True),
    results.items(),
    strict=True,
  ):
    for y, score in enumerate((result.scores or {}).values()):
      axes.plot((score.low, score.high), (y, y), color=_COLOURS[0])
      axes.plot(score.mean, y, 'o', color=_COLOURS[0])
    axes.axvline(0, color='black', linewidth=0.7, linestyle=':')
    axes.set_yticks(range(len(study.systems)), study.systems)
    axes.set_ylim(len(study.systems) - 0.5, -0.5)
    axes.set_xlabel('Bradley-Terry score, logits')
    axes.set_title(titles[question])
    _plain(axes)
  return figure


def _label(row: analysis.Comparison) -> str:
  genre = f'{row.genre}: ' if row.genre else ''
  return f'{genre}{row.first} vs {row.second} (n = {row.num_answers})'


def _plain(axes) -> None:
  axes.spines[['top', 'right']].set_visible(False)
  axes.tick_params(axis='y', length=0)


def _figure(width: float, height: float):
  try:
    from matplotlib import figure  # pylint: disable=g-import-not-at-top
  except ImportError as error:
    raise ImportError(
      f'The plots of a report need the extra eval: {v2meow_jax.extra_command("eval")}'
    ) from error
  return figure.Figure(figsize=(width, height), layout='constrained')


def _save(figure, path: pathlib.Path) -> None:
  from matplotlib.backends import backend_agg as agg

  agg.FigureCanvasAgg(figure).print_figure(
    str(path), dpi=_DPI, metadata={'Software': None}
  )
