"""Defines a listening study: clips, pairs, questions, trials. READ THIS FIRST.

The protocol is that of V2Meow (section on human evaluation): the same video
under two soundtracks, two questions, a 5-point Likert scale, random order.

A study is a folder, SITE:
  study.json      systems of the files, never served
  media/          clips under random names
  pages/          texts, to be edited
  answers.sqlite  answers of participants of `study serve`
  booklets.json   trials of an exported copy
  answers/        files that participants of an exported copy sent
"""

from collections.abc import Mapping
import dataclasses
import json
import os
import pathlib
from typing import Any

FORMAT = 1
_DAMAGE = (
  *(KeyError, TypeError, AttributeError),
  *(ValueError, RecursionError),
)
QUESTIONS = ('relevance', 'preference')  # paper: visual relevance, music pref.
STRONGEST = 2  # paper: 5 points, -2 (strongly the left) to 2 (the right).
COMPARISON, SILENCE, INSTRUCTED = KINDS = (
  'comparison',
  'silence',
  'instructed',
)


class StudyError(ValueError):
  """A study, or a file of answers, is damaged or does not fit."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class StudyClip:
  """One video under the soundtracks of several systems.

  Attributes:
    name: Name shared by the files of all systems, without suffix.
    genre: Genre in the manifest, if any.
    seconds: Length of the video, in seconds.
    files: Token of the served file, by system.
    silent: Token of the video without music, for attention checks; None: there
      is none.
  """

  name: str
  genre: str | None
  seconds: float
  files: Mapping[str, str]
  silent: str | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class StudyPair:
  """Two systems to compare on one clip."""

  clip: str
  first: str
  second: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Trial:
  """One page of a participant.

  Attributes:
    pair: Index of the pair.
    kind: 'comparison'; 'silence': the first system against no music;
      'instructed': the pair, with an instruction which answer to give.
    flipped: Whether the second system, or the silence, is on the left.
    wanted: Instructed answer, as shown; None for other kinds.
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
    """Turns -2 (left) to 2 (right) into -2 (first) to 2 (second)."""
    return -shown if self.flipped else shown


@dataclasses.dataclass(frozen=True, kw_only=True)
class Study:
  """A study as built.

  Attributes:
    id: Random name, repeated in all answers.
    title: Title on the page.
    seed: Seed of the assignment.
    systems: Names of the systems, in the order given.
    clips: Clips by name.
    pairs: Pairs in a fixed order; trials refer to the index.
    num_comparisons: Number of comparisons of each participant.
    num_checks: Number of attention checks, half silent, half instructed.
    min_played: Share of a clip to play before an answer.
    files: Source, digests and level in dBFS of each served file.
    left_out: Clip, system and reason of clips that could not be used.
    notes: Caveats for the results, such as unequal levels.
    version: Version of this library.
    baseline: System in every pair; None: all are compared with all.
  """

  id: str
  title: str
  seed: int
  systems: tuple[str, ...]
  clips: Mapping[str, StudyClip]
  pairs: tuple[StudyPair, ...]
  num_comparisons: int
  num_checks: int
  min_played: float
  files: Mapping[str, Mapping[str, Any]]
  left_out: tuple[Mapping[str, str], ...]
  notes: tuple[str, ...]
  version: str
  baseline: str | None = None

  def clip(self, trial: Trial) -> StudyClip:
    """Finds the clip of a trial."""
    return self.clips[self.pairs[trial.pair].clip]

  def shown(self, trial: Trial) -> tuple[str, str]:
    """Finds the tokens of the files on the left and on the right."""
    pair, clip = self.pairs[trial.pair], self.clip(trial)
    first, second = clip.files[pair.first], clip.files[pair.second]
    if trial.kind == SILENCE:
      second = clip.silent or second
    return (second, first) if trial.flipped else (first, second)

  def required_seconds(self, trial: Trial) -> float:
    """Computes the seconds of each clip to play before an answer counts."""
    return self.min_played * self.clip(trial).seconds


def check_seed(seed: int) -> None:
  """Raises StudyError for a negative seed."""
  if seed < 0:
    raise StudyError(f'the seed is {seed}; wanted 0 or more.')


def to_json(study: Study) -> str:
  """Formats a study as the text of study.json."""
  return json.dumps({'format': FORMAT, **dataclasses.asdict(study)}, indent=1)


def load(site: str | os.PathLike) -> Study:
  """Reads SITE/study.json; StudyError if it is damaged."""
  path = pathlib.Path(site) / 'study.json'
  if not path.is_file():
    raise StudyError(
      f'{path}: no such file; wanted a folder that `v2meow study build` made.'
    )
  try:
    fields = json.loads(path.read_text('utf-8'))
    if not isinstance(fields, dict):
      raise TypeError('not an object')
    if (format_ := fields.pop('format')) != FORMAT:
      raise StudyError(
        f'{path}: of format {format_!r}; wanted {FORMAT}: read it with the'
        ' version of v2meow_jax that built it, or restore a backup of it.'
      )
    fields['clips'] = {k: StudyClip(**v) for k, v in fields['clips'].items()}
    fields['pairs'] = tuple(StudyPair(**p) for p in fields['pairs'])
    for name in ('systems', 'left_out', 'notes'):
      fields[name] = tuple(fields[name])
    return Study(**fields)
  except _DAMAGE as error:
    if isinstance(error, StudyError):
      raise
    reason = str(error)
    if isinstance(error, KeyError):
      reason = f'the field {error} is missing'
    # A new build would have another id, which no answer has.
    raise StudyError(
      f'{path}: damaged ({reason}); restore a backup of it.'
    ) from error
