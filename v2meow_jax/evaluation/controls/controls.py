"""Scores a system under controls: real, blank and contradicted video."""

from collections.abc import Sequence
import dataclasses
import os
import pathlib
from typing import Any

from v2meow_jax import progress as progress_lib
from v2meow_jax.evaluation.controls import control_clips
from v2meow_jax.evaluation.controls import control_scores
from v2meow_jax.evaluation.controls import judges
from v2meow_jax.evaluation.controls import system_pairs
from v2meow_jax.evaluation.listening import analyser as analyser_lib
from v2meow_jax.evaluation.listening import detectors
from v2meow_jax.evaluation.listening import feature_cache
from v2meow_jax.evaluation.listening import genre_probe
from v2meow_jax.evaluation.listening import pairs as pairs_lib
from v2meow_jax.evaluation.metrics import bootstrap
from v2meow_jax.evaluation.metrics import scores as scores_lib
from v2meow_jax.evaluation.reports import comparison
from v2meow_jax.evaluation.reports import metric_table
from v2meow_jax.evaluation.reports import report as report_lib
from v2meow_jax.evaluation.reports import runner
from v2meow_jax.extractors.planning import planner
from v2meow_jax.files import paths
from v2meow_jax.inference import takes as takes_lib
from v2meow_jax.pretrained import network as network_lib

CONTROLS = ('shuffle', 'blank', 'prompt', 'stage2')
SYNTHETIC = 'synthetic'
# Below this number of clips, takes of two seeds never have one seed.
_MOST_CLIPS = 10_000
_MOST_SECONDS = 600  # All frames of a scene are in memory at once.
_MOST_SEED = 2**32 // _MOST_CLIPS - 1  # The seed of a take has 32 bits.
_DETECTORS = (detectors.BEATS, detectors.GENRE)  # The judges' own.


def run(
  system: Any,
  dataset: str,
  out: str | os.PathLike,
  *,
  networks: Sequence[network_lib.AudioNetwork],
  controls: Sequence[str] = CONTROLS,
  metrics: Sequence[str] = metric_table.DEFAULT,
  num: int = 32,
  seed: int = 0,
  seconds: float = 10.0,
  probe_per_genre: int = judges.PROBE_PER_GENRE,
  run_name: str | None = None,
  num_plots: int = 4,
  cache: str | os.PathLike | None = None,
) -> report_lib.EvaluationReport:
  """Generates for videos under controls, scores, and writes a report.

  Takes are kept in `out`, and a second run uses those that the same system
  made of the same video, prompt and seed.

  Args:
    system: An `inference.system.System`.
    dataset: `SYNTHETIC`, or a folder or manifest of videos with music.
    out: Folder of the report.
    networks: Networks to score with.
    controls: Names in `CONTROLS`.
    metrics: Options of `metric_table`.
    num: Number of clips, at least 2: the first ones of a data set.
    seed: Seed of scenes, takes and intervals.
    seconds: Length of a synthetic scene, in seconds.
    probe_per_genre: Number of scenes of a genre to fit the judge of genres on.
    run_name: Name of the run; None: that of the system.
    num_plots: Number of pairs to draw.
    cache: Folder of cached features; None: one in `out`.

  Returns:
    The report, as written.

  Raises:
    ValueError: An argument is wrong, or no clip could be scored.
    OSError: The report cannot be written.
  """
  metric_table.chosen(metrics)
  unknown = sorted(set(controls) - set(CONTROLS))
  if unknown:
    raise ValueError(
      f'no control is named {", ".join(unknown)}; there are'
      f' {", ".join(CONTROLS)}.'
    )
  for name, value, (low, high) in (
    ('num', num, (2, _MOST_CLIPS - 1)),
    ('seed', seed, (0, _MOST_SEED)),
    ('seconds', seconds, (1, _MOST_SECONDS)),
    ('probe_per_genre', probe_per_genre, (2, _MOST_CLIPS - 1)),
  ):
    if not low <= value <= high:
      raise ValueError(f'--{name} is {value}; wanted {low} to {high}.')
  if 'prompt' in controls:
    _require_words(system)
  out = paths.path(out)
  report_lib.open_folder(out)
  cached = feature_cache.FeatureCache(cache or out / comparison.CACHE_NAME)
  if dataset == SYNTHETIC:
    clips = control_clips.synthetic(out, num=num, seed=seed, seconds=seconds)
    faults, available = [], num
  else:
    clips, faults, available = control_clips.of_dataset(
      paths.path(dataset), out, num=num
    )
  systems = {'real': system}
  systems |= {c: system for c in ('blank', 'prompt') if c in controls}
  blind = takes_lib.without_vision(system) if 'stage2' in controls else None
  systems |= {} if blind is None else {'stage2': blind}
  needed = {*metric_table.detectors_of(metrics), *_DETECTORS}
  analyser = analyser_lib.Analyser(networks, cached, tuple(needed))
  embed = None
  wanted = [metric.needs for metric in metric_table.chosen(metrics)]
  if 'similarities' in wanted and system_pairs.compares(system):
    embed = system_pairs.Embedding(system, cached)
  rows, more = _rows(clips, systems, out, seed, cached, analyser, embed)
  faults = sorted([*faults, *more], key=lambda fault: fault.name)
  if not rows:
    raise ValueError(
      f'{dataset}: none of the clips can be scored: {pairs_lib.reasons(faults)}'
    )
  probe = judges.fit_probe(
    system.codec,
    per_genre=probe_per_genre,
    seconds=seconds,
    seed=seed,
    rows=lambda compute: _probe_rows(
      cached, compute, [system.digest, probe_per_genre, seconds, seed]
    ),
  )
  results, missing, sections = control_scores.of_rows(
    rows,
    probe,
    networks=networks,
    metrics=metrics,
    shuffle='shuffle' in controls,
    seed=seed,
  )
  if 'stage2' in controls and blind is None:
    text = 'Not applicable: stage 2 reads no video.'
    sections.append(('Stage 2 with and without vision', text))
  if available > num:
    text = f'The first {num} of {available} videos were taken.'
    sections.append(('Videos', text))
  real = [
    (row.pairs['real'], row.reference, row.features['real']) for row in rows
  ]
  silent = [
    f'{name} ({condition})'
    for condition in systems
    for name in pairs_lib.silent(row.pairs[condition] for row in rows)
  ]
  report = report_lib.EvaluationReport(
    pairs=[row.pairs['real'] for row in rows],
    faults=faults,
    missing=missing,
    silent=silent,
    rule=runner.RULE,
    sections=sections,
    plots=comparison.draw(
      out, real, control_scores.drawn(results), num_plots, True
    ),
    scores=scores_lib.Scores(
      run=run_name or system.config['name'],
      dataset=SYNTHETIC if dataset == SYNTHETIC else 'own clips',
      task='video',
      clips=tuple(row.clip.name for row in rows),
      settings={
        'system': system.config['name'],
        'system_sha256': system.digest,
        'dataset': dataset,
        'controls': list(controls),
        'metrics': list(metrics),
        'networks': comparison.describe(networks),
        'num': num,
        'num_available': available,
        'seconds': seconds if dataset == SYNTHETIC else None,
        'seed': seed,
        'intervals': bootstrap.SETTINGS,
        'genre_judge_accuracy': probe.accuracy,
        'genre_judge_clips_per_genre': probe_per_genre,
        'rule': runner.RULE,
        'clips': {
          condition: report_lib.settings_of(
            [row.pairs[condition] for row in rows]
          )
          for condition in systems
        },
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


def _require_words(system: Any) -> None:
  """Raises ValueError where prompts say nothing to a system."""
  try:
    system.follows(planner.FROM_PICTURE, 'calm piano')
  except ValueError as e:
    raise ValueError(
      f"the control 'prompt' is not for this system: {e} Give --control"
      ' shuffle,blank.'
    ) from e


def _rows(
  clips: Sequence[control_clips.ControlClip],
  systems: dict[str, Any],
  out: pathlib.Path,
  seed: int,
  cache: feature_cache.FeatureCache,
  analyser: analyser_lib.Analyser,
  embed: system_pairs.Embedding | None,
) -> tuple[list[control_scores.ControlRow], list[pairs_lib.Fault]]:
  """Generates and analyses each clip under every condition, or says why not."""
  takes = {
    condition: takes_lib.Takes(made, out / 'takes' / condition)
    for condition, made in systems.items()
  }
  rows, faults = [], []
  for i, clip in enumerate(
    progress_lib.bar(clips, unit='clip', desc='generating')
  ):
    try:
      reference = pairs_lib.clip(clip.reference, cache)
      pairs, features = {}, {}
      for condition, take in takes.items():
        prompt = clip.prompt if condition == 'prompt' else None
        path = take(
          clip.name,
          clip.blank if condition == 'blank' else clip.video,
          prompt=prompt,
          # One seed for all conditions, so that only the input differs.
          seed=_MOST_CLIPS * seed + i,
        )
        pair = pairs_lib.ClipPair(
          name=clip.name,
          generated=pairs_lib.clip(path, cache),
          reference=reference,
          prompt=prompt,
        )
        pairs[condition] = pair
        features[condition] = analyser(pair.generated, pair.seconds)
      rows.append(
        control_scores.ControlRow(
          clip=clip,
          pairs=pairs,
          features=features,
          reference=analyser(reference, pairs['real'].seconds),
          embedded=embed and embed(clip.video, reference),
        )
      )
    except (ValueError, OSError) as e:
      faults.append(pairs_lib.Fault.of(clip.name, e))
  return rows, faults


def _probe_rows(
  cache: feature_cache.FeatureCache, compute: Any, key: list[Any]
) -> genre_probe.Rows:
  arrays = cache.get(
    {'what': 'genre judge', 'version': 1, 'of': key},
    lambda: dataclasses.asdict(compute()),
  )
  return genre_probe.Rows(**arrays)
