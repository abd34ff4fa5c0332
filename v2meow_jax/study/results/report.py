"""Analyses a study: reads all answers, writes numbers, report and plots."""

from collections.abc import Collection
from collections.abc import Mapping
import dataclasses
import json
import os
import pathlib
from typing import Any
from typing import Literal

import v2meow_jax
from v2meow_jax.evaluation.metrics import bootstrap
from v2meow_jax.files import atomic
from v2meow_jax.study import collecting
from v2meow_jax.study import protocol
from v2meow_jax.study import screening
from v2meow_jax.study.results import analysis
from v2meow_jax.study.results import plots
from v2meow_jax.study.results import report_text
from v2meow_jax.study.results import system_scores


def write(
  site: str | os.PathLike,
  *,
  keep_all: bool = False,
  seed: int = 0,
  baselines: Collection[str] = (),
  dataset: str = 'own clips',
  task: Literal['video', 'video+text'] = 'video',
) -> pathlib.Path:
  """Analyses a study into SITE/report.

  Args:
    site: Folder of the study, with answers.sqlite, answers/*.json, or both.
    keep_all: Whether to count raters that would be left out, and list them.
    seed: Seed of the intervals.
    baselines: Systems to compare the others with; none: the study's own.
    dataset: Data set of the clips, for tables.
    task: Task of the systems, for tables.

  Returns:
    Path of report.md; analysis.json, plots and a SYSTEM/scores.json for each
    system are beside it.

  Raises:
    StudyError: The study or its answers are damaged, a baseline is no system,
      or the seed is negative.
    ImportError: Matplotlib is not installed.
  """
  site = pathlib.Path(site)
  protocol.check_seed(seed)
  study = protocol.load(site)
  baselines = _baselines(study, baselines)
  rules = screening.Rules()
  collected = collecting.collect(site, study, rules, keep_all=keep_all)
  results = {
    question: analysis.analyse(
      collected.kept, study, question, baselines=baselines, seed=seed
    )
    for question in protocol.QUESTIONS
  }
  folder = site / 'report'
  folder.mkdir(exist_ok=True)
  facts = {
    'study': study.id,
    'title': study.title,
    'version': v2meow_jax.__version__,
    'seed': seed,
    'baselines': baselines,
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
  system_scores.write(
    folder,
    study,
    collected.kept,
    results,
    dataset=dataset,
    task=task,
    settings=_settings(study, facts),
  )
  drawn = plots.draw(folder, study, results, report_text.TITLES)
  atomic.write_text(folder / 'analysis.json', json.dumps(facts, indent=1))
  atomic.write_text(
    folder / 'report.md',
    report_text.markdown(
      study,
      collected,
      results,
      baselines=baselines,
      drawn=drawn,
      keep_all=keep_all,
    ),
  )
  return folder / 'report.md'


def _baselines(
  study: protocol.Study, given: Collection[str]
) -> tuple[str, ...]:
  """Returns the given baselines or the study's; StudyError for a bad one."""
  if not given and study.baseline is not None:
    given = (study.baseline,)
  for name in given:
    if name not in study.systems:
      raise protocol.StudyError(
        f'the baseline {name!r} is none of {sorted(study.systems)}.'
      )
  if set(given) == set(study.systems):
    raise protocol.StudyError(
      'all systems are baselines; leave one at least to compare with them.'
    )
  return tuple(dict.fromkeys(given))


def _settings(
  study: protocol.Study, facts: Mapping[str, Any]
) -> dict[str, Any]:
  """Lists settings for scores.json, without codes of participants."""
  left = ('results', 'excluded', 'rejected_files')
  return {
    **{name: value for name, value in facts.items() if name not in left},
    'excluded': list(facts['excluded'].values()),
    'num_rejected_files': len(facts['rejected_files']),
    'rule': report_text.METHODS,
    'systems': study.systems,
    'num_pairs': len(study.pairs),
    'num_comparisons': study.num_comparisons,
    'num_checks': study.num_checks,
    'min_played': study.min_played,
    'assignment_seed': study.seed,
    'study_version': study.version,
    'num_resamples': analysis.NUM_RESAMPLES,
    'level': bootstrap.LEVEL,
  }
