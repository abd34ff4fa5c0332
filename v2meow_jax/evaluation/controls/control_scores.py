"""Scores a system under controls: figures, tables, bias of genres."""

from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
from typing import Any

import numpy as np

from v2meow_jax.evaluation.controls import control_clips
from v2meow_jax.evaluation.controls import genre_bias
from v2meow_jax.evaluation.controls import judges
from v2meow_jax.evaluation.listening import analyser
from v2meow_jax.evaluation.listening import detectors
from v2meow_jax.evaluation.listening import genre_probe
from v2meow_jax.evaluation.listening import pairs as pairs_lib
from v2meow_jax.evaluation.metrics import scores
from v2meow_jax.evaluation.reports import metric_table
from v2meow_jax.evaluation.reports import report
from v2meow_jax.evaluation.reports import runner
from v2meow_jax.inference.ranking import ranker as ranker_lib
from v2meow_jax.pretrained import network as network_lib

# Rows of the control table, by the ending of the metrics' names.
ROWS = {
  '': 'real video',
  '_shuffled': 'shuffled: against the truth of every other video',
  '_blank': 'grey video, against the truth of every video',
  '_prompt': 'a prompt of another genre',
  '_stage2_blind': 'stage 2 without vision',
  '_true_music': 'the true music',
}

# Endings of the metrics' names, as in `ROWS`.
_ENDINGS = {
  'real': '',
  'blank': '_blank',
  'prompt': '_prompt',
  'stage2': '_stage2_blind',
}
# Of groups of videos, by condition.
_BIASES = {'real': 'genre_bias', 'prompt': 'genre_bias_prompt'}
# Of the plot of distributions.
_DRAWN = ('tempo_accuracy', 'beat_f', 'genre_accuracy', 'mcc_')


@dataclasses.dataclass(frozen=True, kw_only=True)
class ControlRow:
  """A clip under every condition.

  Attributes:
    clip: Video, music and prompt of the clip.
    pairs: Take and reference by condition.
    features: Features of the takes by condition.
    reference: Features of the reference.
    embedded: Embeddings of the video and of the reference, of a system that
      compares them; None: of no such system, or not asked for.
  """

  clip: control_clips.ControlClip
  pairs: dict[str, pairs_lib.ClipPair]
  features: dict[str, analyser.ClipFeatures]
  reference: analyser.ClipFeatures
  embedded: tuple[np.ndarray, np.ndarray] | None = None


def of_rows(
  rows: Sequence[ControlRow],
  probe: genre_probe.GenreProbe,
  *,
  networks: Sequence[network_lib.AudioNetwork],
  metrics: Sequence[str],
  shuffle: bool,
  seed: int,
) -> tuple[dict[str, scores.Score], dict[str, str], list[tuple[str, str]]]:
  """Computes all figures of all conditions.

  Args:
    rows: Clips, at least one, all under the same conditions.
    probe: Judge of genres.
    networks: Networks that the features are of.
    metrics: Options of `metric_table`.
    shuffle: Whether to add the shuffled row.
    seed: Seed of the intervals.

  Returns:
    Scores by name, reasons why others are missing, and (heading, markdown) for
    a report.
  """
  judged_clips = {
    condition: _judge([row.features[condition] for row in rows], probe)
    for condition in rows[0].features
  }
  results: dict[str, scores.Score] = {}
  missing: dict[str, str] = {}
  reference = [row.reference for row in rows]
  similarities = _similarities(rows)
  for condition, ending in _ENDINGS.items():
    if condition not in judged_clips:
      continue
    # No condition changes the music that videos are compared with.
    names = metrics if condition == 'real' else _of_takes(metrics)
    of_condition, reasons = runner.score(
      reference,
      [row.features[condition] for row in rows],
      networks=networks,
      metrics=names,
      prompts=(
        [row.clip.prompt for row in rows] if condition == 'prompt' else None
      ),
      similarities=similarities,
      seed=seed,
    )
    # Only real video has a shuffled row, as in the paper. Metrics judged
    # against the truth below are not scored against the reference too.
    shuffled = condition == 'real' and shuffle
    kept = {
      name: score
      for name, score in of_condition.items()
      if (shuffled or '_shuffled' not in name) and name not in judges.METRICS
    }
    results |= runner.renamed(kept, ending)
    for name, reason in reasons.items():
      # A reason that holds for real video too is given once.
      if missing.get(name) != reason:
        missing[f'{name}{ending and f" ({condition})"}'] = reason
  true = _judge(reference, probe)
  truths = [
    row.clip.truth or clip for row, clip in zip(rows, true, strict=True)
  ]
  conditions = {_ENDINGS[name]: clips for name, clips in judged_clips.items()}
  known = all(row.clip.truth for row in rows)
  if known:
    conditions['_true_music'] = true
  enough = len(rows) > 1
  if shuffle and not enough:
    missing['shuffle'] = 'needs two clips at least'
  judge = {'digest': probe.digest, 'accuracy': probe.accuracy}
  results |= judged(
    conditions,
    truths,
    shuffle=shuffle and enough,
    seed=seed,
    truth='known' if known else 'as heard in the music of the video',
    genre_judge=judge,
  )
  if 'prompt' in judged_clips:
    followed = [
      clip.genre == row.clip.prompt_genre
      for clip, row in zip(judged_clips['prompt'], rows, strict=True)
    ]
    results['prompt_following'] = scores.of_clips(
      np.array(followed), seed=seed, genre_judge=judge
    )
  groups = [row.clip.group for row in rows]
  biases = {
    name: genre_bias.bias(
      groups, [c.genre for c in judged_clips[condition]], seed=seed
    )
    for condition, name in _BIASES.items()
    if condition in judged_clips and len(set(groups)) > 1
  }
  results |= biases
  results = {name: results[name] for name in sorted(results, key=_place)}
  text = table(results, [network.name for network in networks])
  if 'prompt' in judged_clips:
    text += (
      '\nShare of prompts that are followed, by the judge of genres:'
      f' {results["prompt_following"]}.\n'
    )
  text += (
    f'\nThe judge of genres is right on {probe.accuracy:.3f} of synthetic music'
    ' that it was not fitted on.\n'
  )
  sections = [
    ('Controls', text),
    ('Genres by group of videos', bias_text(biases)),
  ]
  if 'median_rank' in results:
    sections.insert(1, ('Videos that find their music', found_text(results)))
  return results, missing, sections


def _similarities(rows: Sequence[ControlRow]) -> np.ndarray | None:
  both = [row.embedded for row in rows if row.embedded is not None]
  if len(both) < len(rows):
    return None
  videos, music = zip(*both, strict=True)
  return ranker_lib.similarities(videos, music)


def _of_takes(names: Sequence[str]) -> list[str]:
  rows = metric_table.chosen(names)
  return list({m.option: None for m in rows if m.needs != 'similarities'})


def _place(name: str) -> tuple[int, bool]:
  """Sorts real video first, and in each condition the judged metrics."""
  metric = name.partition('/')[0]
  endings = list(ROWS)
  place = next(
    (i for i, e in enumerate(endings) if e and metric.endswith(e)), 0
  )
  metric = metric.removesuffix(endings[place])
  judged_here = metric in judges.METRICS or metric == 'prompt_following'
  return place, not judged_here


def drawn(metrics: Mapping[str, scores.Score]) -> dict[str, scores.Score]:
  """Selects the scores for the plot of distributions, sorted by name."""
  return {
    name: metrics[name]
    for name in sorted(metrics)
    if name.startswith(_DRAWN) and '_true_music' not in name
  }


def judged(
  clips: Mapping[str, Sequence[judges.JudgedClip]],
  truths: Sequence[judges.Truth],
  *,
  shuffle: bool,
  seed: int,
  **details: Any,
) -> dict[str, scores.Score]:
  """Computes `judges.METRICS` of every condition.

  Shuffled generations are scored against the truths of all other videos, which
  is the mean over all derangements of the videos, as generation depends on the
  video alone; those of blank videos against the truths of all videos.

  Args:
    clips: Judged clips, by the condition's ending in `ROWS`.
    truths: Truth of each clip.
    shuffle: Whether to add the shuffled row.
    seed: Seed of the intervals.
    **details: Details of each score, as json.

  Returns:
    Scores by '<metric><ending>'.
  """
  results: dict[str, scores.Score] = {}
  for ending, judged_clips in clips.items():
    for metric, grid in judges.grids(judged_clips, truths).items():
      results[metric + ending] = (
        scores.of_all_pairs(grid, seed=seed, **details)
        if ending == '_blank'
        else scores.of_clips(np.diagonal(grid), seed=seed, **details)
      )
      if shuffle and not ending:
        results[f'{metric}_shuffled'] = scores.of_mismatched(
          grid, seed=seed, **details
        )
  return results


def table(results: Mapping[str, scores.Score], networks: Sequence[str]) -> str:
  """Formats a row for each condition that has a figure."""
  metrics = [(metric, '') for metric in judges.METRICS]
  for network in networks:
    metrics += [('mcc_audio', f'/{network}'), ('fad', f'/{network}')]
  metrics = [m for m in metrics if _cell(results.get(''.join(m)))]
  rows: list[list[str]] = [
    ['shown', *(metric + network for metric, network in metrics)]
  ]
  for ending, title in ROWS.items():
    cells = [
      _cell(results.get(f'{metric}{ending}{network}'))
      for metric, network in metrics
    ]
    if any(cells):
      rows.append([title, *cells])
  return report.table(rows)


def found_text(results: Mapping[str, scores.Score]) -> str:
  """Formats how often videos find their own music, and chance."""
  names = [n for n in results if n.startswith('recall_at_')] + ['median_rank']
  rows = [('figure', 'of this system', 'by chance')]
  rows += [
    (name, str(results[name]), f'{results[name].details["chance"]:.3f}')
    for name in names
  ]
  return report.table(rows)


def _cell(score: scores.Score | None) -> str:
  # A distance of too few rows is large whatever was generated: it is listed
  # among all figures, with its flag, and is no headline.
  if score is None or score.details.get('singular'):
    return ''
  return str(score)


def bias_text(biases: Mapping[str, scores.Score]) -> str:
  """Formats genres by group of videos, a table for each `genre_bias`."""
  parts = [] if biases else ['Needs two groups of videos: two folders.\n']
  for name, bias in biases.items():
    details = bias.details
    rows = [['group of videos', *details['genres']]]
    rows += [
      [group, *(str(n or '') for n in counts)]
      for group, counts in zip(
        details['groups'], details['counts'], strict=True
      )
    ]
    title = 'with' if name.endswith('_prompt') else 'without'
    parts.append(
      f'Music {title} a prompt, number of clips by judged genre. Distance of a'
      f' group from all clips: {bias} (by chance {details["chance"]:.3f}).'
      f'\n\n{report.table(rows)}'
    )
  return '\n'.join(parts)


def _judge(
  clips: Sequence[analyser.ClipFeatures], probe: genre_probe.GenreProbe
) -> list[judges.JudgedClip]:
  genre, beats = detectors.GENRE.name, detectors.BEATS.name
  rows = np.stack([clip.arrays[genre]['features'] for clip in clips])
  return [
    judges.JudgedClip(
      genre=genre, beats=detectors.rhythm(clip.arrays[beats]).beats
    )
    for genre, clip in zip(probe.predict(rows), clips, strict=True)
  ]
