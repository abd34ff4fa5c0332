"""Writes the folder of a run of `v2meow evaluate`."""

from collections.abc import Mapping
from collections.abc import Sequence
import csv
import dataclasses
import io
import pathlib
from typing import Any

from v2meow_jax.evaluation.listening import pairs as pairs_lib
from v2meow_jax.evaluation.metrics import scores as scores_lib
from v2meow_jax.files import atomic
from v2meow_jax.files import paths

REPORT_NAME = 'report.md'
PER_CLIP_NAME = 'per_clip.csv'
_FLAGS = ('saturated', 'singular')


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvaluationReport:
  """Results of a run.

  Attributes:
    scores: Scores; None where no clip could be scored.
    pairs: Scored clips, in the order of `scores.clips`.
    faults: Clips that were left out.
    missing: Reasons why metrics have no figure, by metric.
    silent: Names of scored clips in which nothing can be heard.
    rule: Explanation of how clips were made comparable.
    sections: (heading, markdown) before the figures.
    plots: (caption, file in the folder).
  """

  scores: scores_lib.Scores | None
  pairs: Sequence[pairs_lib.ClipPair]
  faults: Sequence[pairs_lib.Fault]
  missing: Mapping[str, str]
  rule: str
  silent: Sequence[str] = ()
  sections: Sequence[tuple[str, str]] = ()
  plots: Sequence[tuple[str, str]] = ()

  @property
  def is_whole(self) -> bool:
    """Whether all clips and metrics have figures; `fad_inf` is an extra."""
    return not self.faults and all('_inf/' in name for name in self.missing)

  @property
  def summary(self) -> str:
    """Last line of the command."""
    scored = f'{len(self.pairs)} clips'
    clips = {pair.clip for pair in self.pairs}
    if len(clips) < len(self.pairs):
      scored = f'{len(self.pairs)} takes of {len(clips)} clips'
    return (
      f'{scored} scored, {len(self.faults)} left out,'
      f' {len(self.missing)} metrics not computed'
      + (f'; {len(self.silent)} SILENT' if self.silent else '')
    )


def open_folder(folder: pathlib.Path) -> None:
  """Makes the folder of a report; OSError unless files can be written there."""
  try:
    folder.mkdir(parents=True, exist_ok=True)
  except OSError as e:
    raise OSError(
      f'{folder} cannot be written ({e.strerror}); give -o another folder.'
    ) from e
  paths.require_writable(folder)


def write(folder: pathlib.Path, report: EvaluationReport) -> None:
  """Writes `report.md`, `per_clip.csv` and, with figures, `scores.json`."""
  atomic.write_text(folder / PER_CLIP_NAME, per_clip(report))
  if report.scores is None:
    (folder / scores_lib.FILE_NAME).unlink(missing_ok=True)
  else:
    scores_lib.write(folder / scores_lib.FILE_NAME, report.scores)
  atomic.write_text(folder / REPORT_NAME, markdown(report))


def per_clip(report: EvaluationReport) -> str:
  """Formats a line for each clip, scored or not: its file and its figures."""
  metrics = report.scores.metrics if report.scores else {}
  columns = [name for name, score in metrics.items() if score.per_clip]
  sides = ('generated', 'reference')
  facts = [field.name for field in dataclasses.fields(pairs_lib.ClipFile)]
  text = io.StringIO()
  writer = csv.writer(text, lineterminator='\n')
  writer.writerow(
    [
      *('clip', 'left_out', 'prompt', 'seconds_scored'),
      *(f'{side}_{fact}' for side in sides for fact in facts),
      *columns,
    ]
  )
  for i, pair in enumerate(report.pairs):
    writer.writerow(
      [
        *(pair.name, '', pair.prompt or '', pair.seconds),
        *(
          getattr(getattr(pair, side), fact) for side in sides for fact in facts
        ),
        *(metrics[name].per_clip[i] for name in columns),
      ]
    )
  for fault in report.faults:
    writer.writerow([fault.name, fault.reason])
  return text.getvalue()


def markdown(report: EvaluationReport) -> str:
  """Formats the report as markdown."""
  lines = ['# Evaluation', '', f'{report.summary}.', '']
  if report.scores is not None:
    scores = report.scores
    lines[0] += f' of {scores.run}'
    lines += [f'Clips of {scores.dataset}; task: {scores.task}.', '']
  for heading, text in report.sections:
    lines += [f'## {heading}', '', text.rstrip(), '']
  if report.scores is not None:
    lines += ['## Figures', '', figures(scores.metrics, scores.num_silent)]
    lines += [
      'Intervals are of 95 %. `docs/evaluation.md` says what each figure is and'
      ' when it misleads; a figure no better than its `_shuffled` row says'
      ' nothing about the clip it was made for.',
      '',
    ]
    lines += ['## Networks', '', networks(report.scores)]
  if report.missing:
    lines += ['## Not computed', '']
    lines += [f'- `{name}`: {why}' for name, why in report.missing.items()]
    lines += ['']
  lines += ['## Clips', '', report.rule, '', _differences(report.pairs), '']
  if report.silent:
    lines += ['Silent, and scored all the same:', '']
    lines += [f'- `{name}`' for name in report.silent] + ['']
  if report.faults:
    lines += ['Left out:', '']
    lines += [f'- `{f.name}`: {f.reason}' for f in report.faults]
    lines += ['']
  if report.plots:
    lines += ['## Plots', '']
    for caption, file in report.plots:
      lines += [f'{caption}:', '', f'![{caption}]({file})', '']
  if report.scores is not None:
    settings = {
      name: value
      for name, value in report.scores.settings.items()
      if isinstance(value, str | int | float)
    }
    lines += ['## Settings', '']
    lines += [f'- {name}: {value}' for name, value in settings.items()]
    lines += ['', 'All of them, with digests and versions: `scores.json`.', '']
  return '\n'.join(lines)


def figures(
  metrics: Mapping[str, scores_lib.Score], num_silent: int = 0
) -> str:
  """Formats a table of all scores, with a mark if clips are silent."""
  silent = [f'{num_silent} silent'] if num_silent else []
  rows = [('metric', 'value', '95 % interval', 'clips', 'beware')]
  for name, score in metrics.items():
    interval = ''
    if score.low is not None and score.high is not None:
      interval = f'{score.low:.3f} to {score.high:.3f}'
    flags = [flag for flag in _FLAGS if score.details.get(flag)] + silent
    value = f'{score.value:.3f}'
    rows.append(
      (f'`{name}`', value, interval, score.num_clips, ', '.join(flags))
    )
  return table(rows)


def networks(scores: scores_lib.Scores) -> str:
  """Describes each network, one to a line."""
  return ''.join(
    f'- `{n["name"]}`: {n["what"]}\n' for n in scores.settings['networks']
  )


def table(rows: Sequence[Sequence[Any]]) -> str:
  """Formats a markdown table with a header row; ends in a line break."""
  header, *body = [
    [' '.join(str(cell).replace('|', '\\|').split()) for cell in row]
    for row in rows
  ]
  lines = [header, ['---'] * len(header), *body]
  return '\n'.join(f'| {" | ".join(line)} |' for line in lines) + '\n'


def settings_of(report_pairs: Sequence[pairs_lib.ClipPair]) -> dict[str, Any]:
  """Converts pairs to json by name, for `scores.json`."""
  return {pair.name: dataclasses.asdict(pair) for pair in report_pairs}


def _differences(pairs: Sequence[pairs_lib.ClipPair]) -> str:
  """Counts differences of the files in pairs, in one paragraph."""
  counts = {
    'sample rates': sum(
      p.generated.sample_rate_hz != p.reference.sample_rate_hz for p in pairs
    ),
    'numbers of channels': sum(
      p.generated.num_channels != p.reference.num_channels for p in pairs
    ),
    'lengths': sum(p.generated.seconds != p.reference.seconds for p in pairs),
  }
  unlike = ', '.join(f'{what} in {n}' for what, n in counts.items() if n)
  most = max(
    (abs(p.generated.seconds - p.reference.seconds) for p in pairs), default=0.0
  )
  if not unlike:
    return 'Stored rates, channels and lengths are alike in all pairs.'
  return (
    f'Of {len(pairs)} pairs, unlike are: {unlike}.'
    f' At most {most:.3f} s were cut;'
    f' {PER_CLIP_NAME} has each clip.'
  )
