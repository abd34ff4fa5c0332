"""Scores a folder of clips against another, and writes the report."""

from collections.abc import Sequence
import dataclasses
import os
import pathlib
from typing import Any
from typing import Literal

from v2meow_jax import progress as progress_lib
from v2meow_jax.evaluation.listening import analyser as analyser_lib
from v2meow_jax.evaluation.listening import detectors
from v2meow_jax.evaluation.listening import feature_cache
from v2meow_jax.evaluation.listening import networks as networks_lib
from v2meow_jax.evaluation.listening import pairs as pairs_lib
from v2meow_jax.evaluation.metrics import bootstrap
from v2meow_jax.evaluation.metrics import scores as scores_lib
from v2meow_jax.evaluation.metrics import take_scores
from v2meow_jax.evaluation.reports import metric_table
from v2meow_jax.evaluation.reports import plots
from v2meow_jax.evaluation.reports import report as report_lib
from v2meow_jax.evaluation.reports import runner
from v2meow_jax.files import paths
from v2meow_jax.pretrained import network as network_lib

CACHE_NAME = 'cache'
PLOTS_NAME = 'plots'


def compare(
  generated: str | os.PathLike,
  reference: str | os.PathLike,
  out: str | os.PathLike,
  *,
  networks: Sequence[network_lib.AudioNetwork],
  prompts: str | os.PathLike | None = None,
  metrics: Sequence[str] = metric_table.DEFAULT,
  run: str | None = None,
  dataset: str = 'own clips',
  seed: int = 0,
  num_plots: int = 4,
  cache: str | os.PathLike | None = None,
) -> report_lib.EvaluationReport:
  """Scores the clips of one folder against those of another, pair by pair.

  Features are cached: an interrupted run continues, and a run with other
  metrics computes no feature twice.

  Args:
    generated: Folder of the clips to score.
    reference: Folder of the true music, or of videos with it.
    out: Folder of the report; made if needed.
    networks: Networks to score with.
    prompts: File of prompts, see `pairs.read_prompts`; None: there were none.
    metrics: Options of `metric_table`.
    run: Name of the run; None: that of the folder.
    dataset: Name of the data set, see `scores.Scores`.
    seed: Seed of the intervals.
    num_plots: Number of pairs to draw.
    cache: Folder of cached features; None: one in `out`.

  Returns:
    The report, as written.

  Raises:
    ValueError: An argument is wrong, or a folder has nothing to score.
    OSError: The report cannot be written.
  """
  needed = metric_table.detectors_of(metrics)
  out = paths.path(out)
  report_lib.open_folder(out)
  features = feature_cache.FeatureCache(cache or out / CACHE_NAME)
  texts = pairs_lib.read_prompts(prompts) if prompts else None
  pairs, faults = pairs_lib.pair(generated, reference, features, texts)
  if not pairs:
    raise ValueError(
      f'no clip of {generated} can be scored against {reference}:'
      f' {len(faults)} are left out, such as {pairs_lib.reasons(faults)}.'
      ' Clips are paired by their names without the ending; NAME_1, NAME_2 and'
      ' so on are takes of NAME.'
    )
  analysed, more = runner.analyse(
    analyser_lib.Analyser(networks, features, needed),
    progress_lib.bar(pairs, unit='clip', desc='listening'),
  )
  faults = sorted([*faults, *more], key=lambda fault: fault.name)
  report = report_lib.EvaluationReport(
    scores=None, pairs=(), faults=faults, missing={}, rule=runner.RULE
  )
  if analysed:
    pairs, *sides = zip(*analysed, strict=True)
    results, missing = runner.score(
      *sides,
      networks=networks,
      metrics=metrics,
      prompts=None if texts is None else [pair.prompt for pair in pairs],
      seed=seed,
    )
    clips = [pair.clip for pair in pairs]
    silent = pairs_lib.silent(pairs)
    results = take_scores.over_clips(results, clips, seed=seed)
    task: Literal['video', 'video+text'] = 'video+text' if texts else 'video'
    report = dataclasses.replace(
      report,
      pairs=pairs,
      missing=missing,
      silent=silent,
      rule=runner.RULE + take_scores.rule(clips),
      plots=draw(out, analysed, results, num_plots, detectors.BEATS in needed),
      scores=scores_lib.Scores(
        run=run or pathlib.PurePath(paths.absolute(generated)).name,
        dataset=dataset,
        task=task,
        clips=tuple(pair.name for pair in pairs),
        settings={
          'generated': os.fspath(generated),
          'reference': os.fspath(reference),
          'prompts': os.fspath(prompts) if prompts else None,
          'metrics': list(metrics),
          'networks': describe(networks),
          'seed': seed,
          'intervals': bootstrap.SETTINGS,
          'rule': runner.RULE,
          'clips': report_lib.settings_of(pairs),
          'silent': silent,
          'left_out': [dataclasses.asdict(fault) for fault in faults],
          'not_computed': missing,
        },
        libraries=scores_lib.libraries(),
        metrics=results,
      ),
    )
  report_lib.write(out, report)
  return report


def describe(
  networks: Sequence[network_lib.AudioNetwork],
) -> list[dict[str, Any]]:
  """Describes networks for `scores.json`."""
  return [
    {
      'name': network.name,
      'what': networks_lib.describe(network.name),
      'digest': network.digest,
      'output': network.output,
      'sample_rate_hz': network.sample_rate_hz,
    }
    for network in networks
  ]


def draw(
  out: pathlib.Path,
  analysed: Sequence[runner.AnalysedPair],
  metrics: dict[str, scores_lib.Score],
  num_plots: int,
  beats: bool,
) -> list[tuple[str, str]]:
  """Draws the plots of a report.

  Args:
    out: Folder of the report.
    analysed: Pairs with their features, by `runner.analyse`.
    metrics: Scores by name.
    num_plots: Number of pairs to draw.
    beats: Whether the features have beats.

  Returns:
    Caption and file, relative to `out`.
  """
  folder = out / PLOTS_NAME
  folder.mkdir(parents=True, exist_ok=True)
  drawn = []
  if plots.distributions(folder / 'distributions.png', metrics):
    caption = 'Values per clip; line: mean, dashed: mean of mismatched pairs'
    drawn.append((caption, f'{PLOTS_NAME}/distributions.png'))
  # The first take of each clip.
  firsts = {pair.clip: (pair, *sides) for pair, *sides in analysed[::-1]}
  shown = list(firsts.values())[::-1][:num_plots]
  for number, (pair, *sides) in enumerate(shown):
    file = f'spectrograms_{number}.png'
    sounds = plots.sides(pair)
    plots.spectrograms(folder / file, sounds, title=pair.name)
    drawn.append((f'Spectrograms of {pair.name}', f'{PLOTS_NAME}/{file}'))
    if beats:
      file = f'beats_{number}.png'
      name = detectors.BEATS.name
      rhythms = {
        kind: detectors.rhythm(side.arrays[name])
        for kind, side in zip(sounds, sides, strict=True)
      }
      plots.beats(folder / file, sounds, rhythms, title=pair.name)
      drawn.append((f'Beats of {pair.name}', f'{PLOTS_NAME}/{file}'))
  return drawn
