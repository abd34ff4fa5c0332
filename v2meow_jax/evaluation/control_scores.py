"""What the controls of a system come to: figures, tables, bias of genres."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses

import numpy as np

from v2meow_jax.evaluation import bootstrap
from v2meow_jax.evaluation import genre_bias
from v2meow_jax.evaluation import judges
from v2meow_jax.evaluation import report
from v2meow_jax.evaluation import scores

# What is shown, by the ending of its metrics' names.
ROWS = {
  '': 'real video',
  '_shuffled': 'shuffled: against the truth of every other video',
  '_blank': 'grey video, against the truth of every video',
  '_prompt': 'a prompt of another genre',
  '_stage2_blind': 'stage 2 without vision',
  '_true_music': 'the true music',
}

Found = dict[str, scores.Score]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Truth:
  """A `judges.Truth` that was heard in the video's own music."""

  genre: str
  tempo_bpm: float
  beat_times: Sequence[float]


def judged(
  heard: Mapping[str, Sequence[judges.Heard]],
  truths: Sequence[judges.Truth],
  *,
  shuffle: bool,
  seed: int,
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

  Returns:
    '<metric><ending>'.
  """
  found: Found = {}
  for ending, clips in heard.items():
    for metric, grid in judges.grids(clips, truths).items():
      if ending == '_blank':
        interval = bootstrap.grid_interval(grid, seed=seed)
        score = scores.of_set(interval, len(grid))
      else:
        score = scores.of_clips(np.diagonal(grid), seed=seed)
      found[metric + ending] = score
      if shuffle and not ending:
        interval = bootstrap.shuffled_interval(grid, seed=seed)
        found[f'{metric}_shuffled'] = scores.of_set(interval, len(grid))
  return found


def table(found: Mapping[str, scores.Score], networks: Sequence[str]) -> str:
  """The control table: a row for each condition that has a figure."""
  metrics = [(metric, '') for metric in judges.METRICS]
  for network in networks:
    metrics += [('mcc_audio', f'/{network}'), ('fad', f'/{network}')]
  metrics = [m for m in metrics if ''.join(m) in found]
  rows: list[list[str]] = [
    ['shown', *(metric + network for metric, network in metrics)]
  ]
  for ending, title in ROWS.items():
    cells = [
      str(found.get(f'{metric}{ending}{network}', ''))
      for metric, network in metrics
    ]
    if any(cells):
      rows.append([title, *cells])
  return report.table(rows)


def bias_text(
  groups: Sequence[str], genres: Mapping[str, Sequence[str]], seed: int
) -> str:
  """Genres by group of videos, one table for each kind of generation.

  Args:
    groups: Of each clip's video.
    genres: Judged, one per clip, by what the generations are.
    seed: Of the chance level.

  Returns:
    Markdown.
  """
  parts = []
  for title, judged_genres in genres.items():
    found = genre_bias.bias(groups, judged_genres, seed=seed)
    rows = [['group of videos', *found.genres]]
    rows += [
      [group, *(str(n or '') for n in counts)]
      for group, counts in zip(found.groups, found.counts, strict=True)
    ]
    parts.append(
      f'Music {title}, number of clips by judged genre. Distance of a group'
      f' from all clips: {found.distance:.3f} (by chance {found.chance:.3f}).'
      f'\n\n{report.table(rows)}'
    )
  return '\n'.join(parts)
