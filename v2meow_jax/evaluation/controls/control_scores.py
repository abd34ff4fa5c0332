"""What the controls of a system come to: figures, tables, bias of genres."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
from typing import Any

import numpy as np

from v2meow_jax.evaluation.controls import control_clips
from v2meow_jax.evaluation.controls import genre_bias
from v2meow_jax.evaluation.controls import judges
from v2meow_jax.evaluation.listening import genre_probe
from v2meow_jax.evaluation.listening import listener
from v2meow_jax.evaluation.listening import pairs as pairs_lib
from v2meow_jax.evaluation.metrics import scores
from v2meow_jax.evaluation.reports import report
from v2meow_jax.evaluation.reports import runner
from v2meow_jax.pretrained import network as network_lib

# What is shown, by the ending of its metrics' names.
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

Found = dict[str, scores.Score]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
  """A clip under every condition.

  Attributes:
    clip: What was shown.
    pairs: The take and the reference, by condition.
    heard: Of the takes, by condition.
    reference: What was heard in the reference.
  """

  clip: control_clips.ControlClip
  pairs: dict[str, pairs_lib.Pair]
  heard: dict[str, listener.Heard]
  reference: listener.Heard


@dataclasses.dataclass(frozen=True, kw_only=True)
class Truth:
  """A `judges.Truth` that was heard in the video's own music."""

  genre: str
  tempo_bpm: float
  beat_times: Sequence[float]


def of_rows(
  rows: Sequence[Row],
  probe: genre_probe.GenreProbe,
  *,
  networks: Sequence[network_lib.Network],
  metrics: Sequence[str],
  shuffle: bool,
  seed: int,
) -> tuple[Found, dict[str, str], list[tuple[str, str]]]:
  """All figures of all conditions.

  Args:
    rows: At least one, all of the same conditions.
    probe: The judge of genres.
    networks: That heard the clips.
    metrics: Some of `runner.METRICS`.
    shuffle: Whether the shuffled row is wanted.
    seed: Of the intervals.

  Returns:
    The scores, why others are not there, and (heading, markdown) for a report.
  """
  heard = {
    condition: _judge([row.heard[condition] for row in rows], probe)
    for condition in rows[0].heard
  }
  found: Found = {}
  missing: dict[str, str] = {}
  reference = [row.reference for row in rows]
  for condition, ending in _ENDINGS.items():
    if condition not in heard:
      continue
    made, why = runner.score(
      reference,
      [row.heard[condition] for row in rows],
      networks=networks,
      metrics=metrics,
      prompts=(
        [row.clip.prompt for row in rows] if condition == 'prompt' else None
      ),
      seed=seed,
    )
    # The paper's row is of real video; others have no shuffled row. What is
    # judged against the truth below is not scored against the reference too.
    shuffled = condition == 'real' and shuffle
    kept = {
      name: score
      for name, score in made.items()
      if (shuffled or '_shuffled' not in name) and name not in judges.METRICS
    }
    found |= runner.renamed(kept, ending)
    for name, reason in why.items():
      # What is so for real video need not be said again.
      if missing.get(name) != reason:
        missing[f'{name}{ending and f" ({condition})"}'] = reason
  true = _judge(reference, probe)
  truths = [
    row.clip.truth or _heard_truth(clip)
    for row, clip in zip(rows, true, strict=True)
  ]
  conditions = {_ENDINGS[name]: clips for name, clips in heard.items()}
  known = all(row.clip.truth for row in rows)
  if known:
    conditions['_true_music'] = true
  enough = len(rows) > 1
  if shuffle and not enough:
    missing['shuffle'] = 'needs two clips at least'
  judge = {'digest': probe.digest, 'accuracy': probe.accuracy}
  facts = {
    'truth': 'known' if known else 'as heard in the music of the video',
    'genre_judge': judge,
  }
  found |= judged(
    conditions, truths, shuffle=shuffle and enough, seed=seed, **facts
  )
  if 'prompt' in heard:
    followed = [
      clip.genre == row.clip.prompt_genre
      for clip, row in zip(heard['prompt'], rows, strict=True)
    ]
    found['prompt_following'] = scores.of_clips(
      np.array(followed), seed=seed, genre_judge=judge
    )
  groups = [row.clip.group for row in rows]
  biases = {
    name: genre_bias.bias(
      groups, [c.genre for c in heard[condition]], seed=seed
    )
    for condition, name in _BIASES.items()
    if condition in heard and len(set(groups)) > 1
  }
  found |= biases
  found = {name: found[name] for name in sorted(found, key=_place)}
  text = table(found, [network.name for network in networks])
  if 'prompt' in heard:
    text += (
      '\nShare of prompts that are followed, by the judge of genres:'
      f' {found["prompt_following"]}.\n'
    )
  text += (
    f'\nThe judge of genres is right on {probe.accuracy:.3f} of synthetic music'
    ' that it was not fitted on.\n'
  )
  sections = [
    ('Controls', text),
    ('Genres by group of videos', bias_text(biases)),
  ]
  return found, missing, sections


def _place(name: str) -> tuple[int, bool]:
  """Real video first, and in each condition what is judged."""
  metric = name.partition('/')[0]
  endings = list(ROWS)
  place = next(
    (i for i, e in enumerate(endings) if e and metric.endswith(e)), 0
  )
  metric = metric.removesuffix(endings[place])
  judged_here = metric in judges.METRICS or metric == 'prompt_following'
  return place, not judged_here


def drawn(found: Mapping[str, scores.Score]) -> Found:
  """The scores that a plot of distributions is good for, metric by metric."""
  return {
    name: found[name]
    for name in sorted(found)
    if name.startswith(_DRAWN) and '_true_music' not in name
  }


def judged(
  heard: Mapping[str, Sequence[judges.Heard]],
  truths: Sequence[judges.Truth],
  *,
  shuffle: bool,
  seed: int,
  **facts: Any,
) -> Found:
  """`judges.METRICS` of every condition.

  Shuffled, generations meet the truths of all other videos, which is the mean
  over all derangements of the videos: generation sees nothing but the video.
  Blank, each meets the truth of every video.

  Args:
    heard: By the condition's ending of `ROWS`; '' is there.
    truths: One per clip.
    shuffle: Whether the shuffled row is wanted.
    seed: Of the intervals.
    **facts: Details of each score, as json.

  Returns:
    '<metric><ending>'.
  """
  found: Found = {}
  for ending, clips in heard.items():
    for metric, grid in judges.grids(clips, truths).items():
      found[metric + ending] = (
        scores.of_all_pairs(grid, seed=seed, **facts)
        if ending == '_blank'
        else scores.of_clips(np.diagonal(grid), seed=seed, **facts)
      )
      if shuffle and not ending:
        found[f'{metric}_shuffled'] = scores.of_mismatched(
          grid, seed=seed, **facts
        )
  return found


def table(found: Mapping[str, scores.Score], networks: Sequence[str]) -> str:
  """The control table: a row for each condition that has a figure."""
  metrics = [(metric, '') for metric in judges.METRICS]
  for network in networks:
    metrics += [('mcc_audio', f'/{network}'), ('fad', f'/{network}')]
  metrics = [m for m in metrics if _cell(found.get(''.join(m)))]
  rows: list[list[str]] = [
    ['shown', *(metric + network for metric, network in metrics)]
  ]
  for ending, title in ROWS.items():
    cells = [
      _cell(found.get(f'{metric}{ending}{network}'))
      for metric, network in metrics
    ]
    if any(cells):
      rows.append([title, *cells])
  return report.table(rows)


def _cell(score: scores.Score | None) -> str:
  # A distance of too few rows is large whatever was generated: it is among all
  # figures, with its flag, and no headline.
  if score is None or score.details.get('singular'):
    return ''
  return str(score)


def bias_text(biases: Mapping[str, scores.Score]) -> str:
  """Genres by group of videos as markdown, a table for each `genre_bias`."""
  parts = [] if biases else ['Needs two groups of videos: two folders.\n']
  for name, found in biases.items():
    facts = found.details
    rows = [['group of videos', *facts['genres']]]
    rows += [
      [group, *(str(n or '') for n in counts)]
      for group, counts in zip(facts['groups'], facts['counts'], strict=True)
    ]
    title = 'with' if name.endswith('_prompt') else 'without'
    parts.append(
      f'Music {title} a prompt, number of clips by judged genre. Distance of a'
      f' group from all clips: {found} (by chance {facts["chance"]:.3f}).'
      f'\n\n{report.table(rows)}'
    )
  return '\n'.join(parts)


def _heard_truth(clip: judges.Heard) -> Truth:
  return Truth(
    genre=clip.genre,
    tempo_bpm=clip.beats.tempo_bpm or 0.0,
    beat_times=clip.beats.times.tolist(),
  )


def _judge(
  heard: Sequence[listener.Heard], probe: genre_probe.GenreProbe
) -> list[judges.Heard]:
  genres = probe.predict_rows(np.stack([h.genre_features for h in heard]))
  return [
    judges.Heard(genre=genre, beats=h.timing.beats)
    for genre, h in zip(genres, heard, strict=True)
  ]
