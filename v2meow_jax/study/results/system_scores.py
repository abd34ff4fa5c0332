"""Writes a study's win rates as `scores.json` of each system, for tables."""

from collections.abc import Mapping
from collections.abc import Sequence
import contextlib
import pathlib
from typing import Any
from typing import Literal

from v2meow_jax.evaluation.metrics import scores as scores_lib
from v2meow_jax.study import answers
from v2meow_jax.study import protocol
from v2meow_jax.study.results import analysis

# Names in `evaluation/reports/paper_figures.py`.
_METRICS = {'relevance': 'visual_relevance', 'preference': 'music_preference'}


def write(
  folder: pathlib.Path,
  study: protocol.Study,
  raters: Sequence[answers.Rater],
  results: Mapping[str, analysis.QuestionResult],
  *,
  dataset: str,
  task: Literal['video', 'video+text'],
  settings: Mapping[str, Any],
) -> list[pathlib.Path]:
  """Writes FOLDER/SYSTEM/scores.json for each system with answers.

  `visual_relevance` and `music_preference` are win rates against the baselines,
  the same with `_variants` those among the others.

  Args:
    folder: Folder of the report.
    study: The study.
    raters: Raters that count.
    results: Results by question.
    dataset: Data set of the clips, as in `scores.Scores`.
    task: Task of the systems.
    settings: Settings of the analysis.

  Returns:
    The files.

  Raises:
    OSError: The folder of a system cannot be made.
  """
  written = []
  for system in study.systems:
    path = folder / system / scores_lib.FILE_NAME
    metrics = _metrics(study, results, system)
    if not metrics:
      # An earlier analysis, with other baselines or rules, may have written it.
      path.unlink(missing_ok=True)
      with contextlib.suppress(OSError):
        path.parent.rmdir()
      continue
    path.parent.mkdir(exist_ok=True)
    clips = _clips(study, raters, system)
    scores_lib.write(
      path,
      scores_lib.Scores(
        run=system,
        dataset=dataset,
        task=task,
        clips=clips,
        settings={
          **settings,
          'clips': {
            name: study.files.get(study.clips[name].files[system])
            for name in clips
          },
        },
        libraries=scores_lib.libraries(),
        metrics=metrics,
      ),
    )
    written.append(path)
  return written


def _clips(
  study: protocol.Study, raters: Sequence[answers.Rater], system: str
) -> tuple[str, ...]:
  """Lists the clips on which the system was compared."""
  pairs = {
    study.pairs[trial.pair]
    for rater in raters
    for trial, _ in rater.pairs()
    if trial.kind == protocol.COMPARISON
  }
  names = {p.clip for p in pairs if system in (p.first, p.second)}
  return tuple(name for name in study.clips if name in names)


def _metrics(
  study: protocol.Study,
  results: Mapping[str, analysis.QuestionResult],
  system: str,
) -> dict[str, scores_lib.Score]:
  metrics = {}
  for question, result in results.items():
    name = _METRICS[question]
    for metric, rates in (
      (name, result.baseline_wins),
      (f'{name}_variants', result.variant_wins),
    ):
      rate = rates[system]
      if rate is None:
        continue
      metrics[metric] = scores_lib.of_set(
        rate.mean_share,
        rate.num_clips,
        study=study.id,
        against=list(rate.opponents),
        num_answers=rate.num_wins + rate.num_ties + rate.num_losses,
        num_wins=rate.num_wins,
        num_ties=rate.num_ties,
        num_losses=rate.num_losses,
        num_raters=rate.num_raters,
        resampled=(
          f'{analysis.NUM_RESAMPLES} bootstrap resamples of raters and clips'
        ),
      )
  return metrics
