"""A listening study as data: clips, pairs, questions, trials. READ THIS FIRST.

The protocol is that of V2Meow (section on human evaluation): the same video
under two soundtracks, two questions, a 5-point Likert scale, random order.

A study is a folder, SITE:
  study.json      who made what, which is never served
  media/          clips under random names
  pages/          the texts, to be edited
  answers.sqlite  what participants of `study serve` answered
  booklets.json   who is shown what in an exported copy
  answers/        files that participants of an exported copy sent
"""

from __future__ import annotations

from collections.abc import Mapping
import dataclasses
import json
import os
import pathlib
from typing import Any

FORMAT = 1
QUESTIONS = ('relevance', 'preference')  # paper: visual relevance, music pref.
STRONGEST = 2  # paper: 5 points, -2 (strongly the left) to 2 (the right).
COMPARISON, SILENCE, INSTRUCTED = KINDS = (
  'comparison',
  'silence',
  'instructed',
)


class StudyError(ValueError):
  """A study, or a file of answers, is not what it should be."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Clip:
  """One video under the soundtracks of several systems.

  Attributes:
    name: That the files of all systems share, without suffix.
    genre: Of the manifest; None when it has none.
    seconds: Length of the video.
    files: Token of the served file, by system.
    silent: Token of the video without music, for attention checks; None when
      none was made.
  """

  name: str
  genre: str | None
  seconds: float
  files: Mapping[str, str]
  silent: str | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pair:
  """What is compared: one clip, two systems."""

  clip: str
  first: str
  second: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Trial:
  """What one participant is shown at one position.

  Attributes:
    pair: Index of the pair.
    kind: 'comparison'; 'silence': the first system against no music;
      'instructed': the pair, with the answer that is to be given.
    flipped: The second system, or the silence, is on the left.
    wanted: Of 'instructed': the answer, as shown.
  """

  pair: int
  kind: str
  flipped: bool
  wanted: int | None = None

  def __post_init__(self):
    if self.kind not in KINDS or (self.kind == INSTRUCTED) != (
      self.wanted in (-STRONGEST, STRONGEST)
    ):
      raise StudyError(
        f'a trial is of kind {self.kind!r} and wants {self.wanted!r}; wanted'
        f' one of {KINDS}, and -2 or 2 of {INSTRUCTED!r} alone.'
      )

  def towards_second(self, shown: int) -> int:
    """An answer, -2 (left) to 2 (right), as -2 (first) to 2 (second)."""
    return -shown if self.flipped else shown


@dataclasses.dataclass(frozen=True, kw_only=True)
class Study:
  """All that was decided when the study was built.

  Attributes:
    id: Random; answers carry it.
    title: As shown.
    seed: Of the assignment.
    systems: Names, in the order given.
    clips: By name.
    pairs: In a fixed order; trials refer to the index.
    num_comparisons: That each participant answers.
    num_checks: Attention checks among them, half silent, half instructed.
    min_played: Share of a clip that has to be heard before an answer.
    files: What each served file is: source, digests, level in dBFS.
    left_out: Clips that could not be used: clip, system, reason.
    notes: What to mind when reading results, such as unequal levels.
    version: Of this library.
    baseline: The system that is in every pair; None: all are compared with all.
  """

  id: str
  title: str
  seed: int
  systems: tuple[str, ...]
  clips: Mapping[str, Clip]
  pairs: tuple[Pair, ...]
  num_comparisons: int
  num_checks: int
  min_played: float
  files: Mapping[str, Mapping[str, Any]]
  left_out: tuple[Mapping[str, str], ...]
  notes: tuple[str, ...]
  version: str
  baseline: str | None = None

  def clip(self, trial: Trial) -> Clip:
    """The clip of a trial."""
    return self.clips[self.pairs[trial.pair].clip]

  def shown(self, trial: Trial) -> tuple[str, str]:
    """Tokens of the files on the left and on the right."""
    pair, clip = self.pairs[trial.pair], self.clip(trial)
    first, second = clip.files[pair.first], clip.files[pair.second]
    if trial.kind == SILENCE:
      second = clip.silent or second
    return (second, first) if trial.flipped else (first, second)

  def required_seconds(self, trial: Trial) -> float:
    """How much of each clip has to be heard before an answer counts."""
    return self.min_played * self.clip(trial).seconds


def check_seed(seed: int) -> None:
  """StudyError unless chance can be drawn from it."""
  if seed < 0:
    raise StudyError(f'the seed is {seed}; wanted 0 or more.')


def to_json(study: Study) -> str:
  """The text of study.json."""
  return json.dumps({'format': FORMAT, **dataclasses.asdict(study)}, indent=1)


def load(site: str | os.PathLike) -> Study:
  """Reads SITE/study.json; StudyError says what is wrong with it."""
  path = pathlib.Path(site) / 'study.json'
  if not path.is_file():
    raise StudyError(
      f'{path}: no such file; wanted a folder that `v2meow study build` made.'
    )
  try:
    fields = json.loads(path.read_text('utf-8'))
    if not isinstance(fields, dict):
      raise TypeError('not an object')
    if (found := fields.pop('format')) != FORMAT:
      raise StudyError(
        f'{path}: of format {found!r}; wanted {FORMAT}: read it with the'
        ' version of v2meow_jax that built it, or restore a backup of it.'
      )
    fields['clips'] = {k: Clip(**v) for k, v in fields['clips'].items()}
    fields['pairs'] = tuple(Pair(**p) for p in fields['pairs'])
    for name in ('systems', 'left_out', 'notes'):
      fields[name] = tuple(fields[name])
    return Study(**fields)
  except (KeyError, TypeError, AttributeError, ValueError) as error:
    if isinstance(error, StudyError):
      raise
    reason = str(error)
    if isinstance(error, KeyError):
      reason = f'the field {error} is missing'
    # Built anew it would have another id, and no answer would belong to it.
    raise StudyError(
      f'{path}: damaged ({reason}); restore a backup of it.'
    ) from error
