"""Parses what participants send; nothing in it is trusted."""

from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import json
import pathlib
from typing import Any

from v2meow_jax.study import protocol

MAX_FILE_BYTES = 1_000_000
_MAX_SECONDS = 1e7  # A page open over a holiday; more is made up.
_MAX_CODE = 32


@dataclasses.dataclass(frozen=True, kw_only=True)
class Answer:
  """One answer to both questions, as shown.

  Attributes:
    relevance: Relevance, -2 (strongly the left) to 2 (strongly the right).
    preference: Preference, on the same scale.
    played: Seconds played of the left and of the right clip.
    seconds: Seconds between showing the page and the answer.
  """

  relevance: int
  preference: int
  played: tuple[float, float]
  seconds: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rater:
  """A participant with trials and answers.

  Attributes:
    code: Code by which the participant may ask to be taken out.
    trials: All trials.
    answers: Answers to the first trials, in order.
  """

  code: str
  trials: Sequence[protocol.Trial]
  answers: Sequence[Answer]

  def pairs(self) -> Iterator[tuple[protocol.Trial, Answer]]:
    """Pairs trials with answers, as far as there are answers."""
    return zip(self.trials, self.answers, strict=False)


def parse(
  fields: Any, trial: protocol.Trial, study: protocol.Study, seconds: float
) -> Answer:
  """Parses an answer from json.

  Args:
    fields: Fields sent: relevance, preference, played.
    trial: Trial that it answers.
    study: The study.
    seconds: Time that the answer took, in seconds.

  Returns:
    The answer.

  Raises:
    StudyError: A field is missing, of another type, or out of range, or the
      clips were not played.
  """
  wanted = (*protocol.QUESTIONS, 'played')
  if not isinstance(fields, Mapping) or set(fields) != set(wanted):
    raise protocol.StudyError(f'an answer has {", ".join(wanted)}, and no more')
  for question in protocol.QUESTIONS:
    value = fields[question]
    if type(value) is not int or abs(value) > protocol.STRONGEST:
      raise protocol.StudyError(f'{question} is a whole number from -2 to 2')
  played = fields['played']
  if not isinstance(played, list) or len(played) != 2:
    raise protocol.StudyError('played is a list of two numbers')
  required = study.required_seconds(trial)
  if min(_seconds(p, 'played') for p in played) < required:
    raise protocol.StudyError('both clips have to be played first')
  return Answer(
    relevance=fields['relevance'],
    preference=fields['preference'],
    played=(float(played[0]), float(played[1])),
    seconds=_seconds(seconds, 'seconds'),
  )


def read_file(
  path: pathlib.Path,
  study: protocol.Study,
  booklets: Sequence[Sequence[protocol.Trial]],
) -> Rater:
  """Reads a file that a participant of an exported copy saved and sent.

  Args:
    path: Path of a json file.
    study: The study.
    booklets: Trials of each booklet, by `pages.read_booklets`.

  Returns:
    The participant.

  Raises:
    StudyError: It is no such file, or of another study, or damaged.
  """
  if path.stat().st_size > MAX_FILE_BYTES:
    raise protocol.StudyError(f'larger than {MAX_FILE_BYTES} bytes')
  try:
    # NaN and the like become strings, which are bad values.
    fields = json.loads(path.read_bytes(), parse_constant=lambda name: name)
  except (ValueError, RecursionError) as error:
    raise protocol.StudyError('not json') from error
  wanted = {'format', 'study', 'booklet', 'code', 'consent', 'answers'}
  if not isinstance(fields, dict) or set(fields) != wanted:
    raise protocol.StudyError(f'wanted the fields {sorted(wanted)}')
  if fields['format'] != protocol.FORMAT or fields['study'] != study.id:
    raise protocol.StudyError('of another study')
  code, number, given = fields['code'], fields['booklet'], fields['answers']
  if not isinstance(code, str) or not code.isalnum() or len(code) > _MAX_CODE:
    raise protocol.StudyError('code is not a short word')
  if type(number) is not int or not 0 <= number < len(booklets):
    raise protocol.StudyError(f'there is no booklet {number!r:.20}')
  trials = booklets[number]
  if not isinstance(given, list) or len(given) > len(trials):
    raise protocol.StudyError('answers is not a list, or longer than asked')
  parsed = []
  for trial, answer in zip(trials, given, strict=False):
    if not isinstance(answer, dict) or 'seconds' not in answer:
      raise protocol.StudyError('an answer has no seconds')
    rest = {k: v for k, v in answer.items() if k != 'seconds'}
    parsed.append(parse(rest, trial, study, answer['seconds']))
  return Rater(code=code, trials=trials, answers=parsed)


def _seconds(value: Any, name: str) -> float:
  if isinstance(value, bool) or not isinstance(value, int | float):
    raise protocol.StudyError(f'{name} is in seconds')
  if not 0 <= value < _MAX_SECONDS:  # Nor is NaN.
    raise protocol.StudyError(f'{name} is from 0 to {_MAX_SECONDS:.0f} seconds')
  return float(value)
