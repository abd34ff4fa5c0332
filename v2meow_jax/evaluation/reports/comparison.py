"""`v2meow evaluate --generated DIR --reference DIR`: folders to a report."""

from __future__ import annotations

from collections.abc import Sequence
import dataclasses
import os
import pathlib
from typing import Any
from typing import Literal

from v2meow_jax import progress as progress_lib
from v2meow_jax.evaluation.listening import feature_cache
from v2meow_jax.evaluation.listening import listener as listener_lib
from v2meow_jax.evaluation.listening import networks as networks_lib
from v2meow_jax.evaluation.listening import pairs as pairs_lib
from v2meow_jax.evaluation.metrics import bootstrap
from v2meow_jax.evaluation.metrics import scores as scores_lib
from v2meow_jax.evaluation.metrics import take_scores
from v2meow_jax.evaluation.reports import plots
from v2meow_jax.evaluation.reports import report as report_lib
from v2meow_jax.evaluation.reports import runner
from v2meow_jax.pretrained import network as network_lib

CACHE_NAME = 'cache'
PLOTS_NAME = 'plots'


def compare(
  generated: str | os.PathLike,
  reference: str | os.PathLike,
  out: str | os.PathLike,
  *,
  networks: Sequence[network_lib.Network],
  prompts: str | os.PathLike | None = None,
  metrics: Sequence[str] = runner.DEFAULT_METRICS,
  run: str | None = None,
  dataset: str = 'own clips',
  seed: int = 0,
  num_plots: int = 4,
  cache: str | os.PathLike | None = None,
) -> report_lib.Report:
  """Scores the clips of one folder against those of another, pair by pair.

  What was heard is kept, so that a run goes on where it was interrupted and a
  second one with other metrics hears nothing twice.

  Args:
    generated: Folder of the clips that are scored.
    reference: Folder of the true music, or of videos with it.
    out: Folder of the report; made if it is not there.
    networks: That listen.
    prompts: File of prompts, see `pairs.read_prompts`; None: there were none.
    metrics: Some of `runner.METRICS`.
    run: Name of the run; None: that of the folder.
    dataset: See `scores.Scores`.
    seed: Of the intervals.
    num_plots: Pairs whose spectrograms and beats are drawn, the first ones.
    cache: Folder of what was heard; None: in the report's.

  Returns:
    What was written.

  Raises:
    ValueError: An argument, or nothing to score at all in a folder.
    OSError: The report cannot be written.
  """
  runner.check_metrics(metrics)
  out = pathlib.Path(out)
  report_lib.open_folder(out)
  kept = feature_cache.FeatureCache(cache or out / CACHE_NAME)
  texts = pairs_lib.read_prompts(prompts) if prompts else None
  pairs, faults = pairs_lib.pair(generated, reference, kept, texts)
  if not pairs:
    reasons = '; '.join(f'{f.name}: {f.reason}' for f in faults[:5])
    raise ValueError(
      f'no clip of {generated} can be scored against {reference}:'
      f' {len(faults)} are left out, such as {reasons}.'
      ' Clips are paired by their names without the ending; NAME_1, NAME_2 and'
      ' so on are takes of NAME.'
    )
  listener = listener_lib.Listener(networks, kept, beats='beats' in metrics)
  heard, more = runner.listen(
    listener, progress_lib.bar(pairs, unit='clip', desc='listening')
  )
  faults = sorted([*faults, *more], key=lambda fault: fault.name)
  made = report_lib.Report(
    scores=None, pairs=(), faults=faults, missing={}, rule=runner.RULE
  )
  if heard:
    pairs, true, new = zip(*heard, strict=True)
    found, missing = runner.score(
      true,
      new,
      networks=networks,
      metrics=metrics,
      prompts=None if texts is None else [pair.prompt for pair in pairs],
      seed=seed,
    )
    clips = [pair.clip for pair in pairs]
    found = take_scores.over_clips(found, clips, seed=seed)
    task: Literal['video', 'video+text'] = 'video+text' if texts else 'video'
    made = dataclasses.replace(
      made,
      pairs=pairs,
      missing=missing,
      rule=runner.RULE + take_scores.rule(clips),
      plots=draw(out, heard, found, num_plots, 'beats' in metrics),
      scores=scores_lib.Scores(
        run=run or pathlib.Path(generated).resolve().name,
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
          'left_out': [dataclasses.asdict(fault) for fault in faults],
          'not_computed': missing,
        },
        libraries=scores_lib.libraries(),
        metrics=found,
      ),
    )
  report_lib.write(out, made)
  return made


def describe(networks: Sequence[network_lib.Network]) -> list[dict[str, Any]]:
  """The networks, as `scores.json` has them."""
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
  heard: Sequence[tuple[pairs_lib.Pair, Any, Any]],
  found: dict[str, scores_lib.Score],
  num_plots: int,
  beats: bool,
) -> list[tuple[str, str]]:
  """Draws the plots of a report.

  Args:
    out: Folder of the report.
    heard: See `runner.listen`.
    found: The scores.
    num_plots: Pairs that are drawn.
    beats: Whether beats were listened for.

  Returns:
    Caption and file, relative to `out`.
  """
  folder = out / PLOTS_NAME
  folder.mkdir(parents=True, exist_ok=True)
  made = []
  if plots.distributions(folder / 'distributions.png', found):
    caption = 'Values per clip; line: mean, dashed: mean of mismatched pairs'
    made.append((caption, f'{PLOTS_NAME}/distributions.png'))
  # Of takes of a clip, one.
  firsts = {pair.take_of or pair.name: (pair, *_) for pair, *_ in heard[::-1]}
  shown = list(firsts.values())[::-1][:num_plots]
  for number, (pair, true, new) in enumerate(shown):
    file = f'spectrograms_{number}.png'
    plots.spectrograms(folder / file, pair)
    made.append((f'Spectrograms of {pair.name}', f'{PLOTS_NAME}/{file}'))
    if beats:
      file = f'beats_{number}.png'
      plots.beats(folder / file, pair, true, new)
      made.append((f'Beats of {pair.name}', f'{PLOTS_NAME}/{file}'))
  return made
