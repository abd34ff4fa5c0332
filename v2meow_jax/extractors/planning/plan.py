"""The plan of a soundtrack: beats, sections and energy, as a file one edits."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import json
import math
import os
import re
from typing import Any
from typing import get_args
from typing import Literal

import numpy as np

from v2meow_jax.files import atomic
from v2meow_jax.files import paths

VERSION = 1
# Tempi that music is planned in, beats a minute; a plan may bend beyond.
MIN_BPM, MAX_BPM = 50.0, 200.0
METRES = (2, 3, 4, 5, 6, 7)
TONICS = ('C', 'Db', 'D', 'Eb', 'E', 'F', 'Gb', 'G', 'Ab', 'A', 'Bb', 'B')
MODES = ('major', 'minor')
MAX_PROMPT_CHARACTERS = 2000
_KEY = re.compile(rf'([A-G])([b#])? ({"|".join(MODES)})')

_SHA256 = re.compile('[0-9a-f]{64}')

Source = Literal['picture', 'prior', 'given']

_MOST_BYTES = 64 * 2**20
_MOST_DIGITS = 15
_MAX_MOOD_CHARACTERS = 200
_MAX_LABEL_CHARACTERS = 80
_SHORTEST_BEAT_SECONDS = 0.1
_EPS_SECONDS = 1e-6


@dataclasses.dataclass(frozen=True, kw_only=True)
class Beat:
  """One beat of the music.

  Attributes:
    seconds: Time of the beat in the clip, in seconds.
    downbeat: Whether it is the first of its bar.
    energy: Loudness and density of the music here, from 0 to 1.
  """

  seconds: float
  downbeat: bool
  energy: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Section:
  """A stretch of the music with one character, up to the next section.

  Attributes:
    start_seconds: Start of the section in the clip, in seconds.
    mood: Words for its character.
    energy: Mean energy of its beats, from 0 to 1.
    prompt: Style in words; a prompt of the request wins. None: the picture
      alone decides.
    label: Name of its music: a section with a label of an earlier one begins
      with the music of that (`themes.returns`). None: it stands alone.
    key: Tonic and mode, such as 'Eb minor'; None: that of the plan.
  """

  start_seconds: float
  mood: str
  energy: float
  prompt: str | None = None
  label: str | None = None
  key: str | None = None

  def __post_init__(self):
    if self.key is not None:
      object.__setattr__(self, 'key', named_key(self.key))


@dataclasses.dataclass(frozen=True, kw_only=True)
class MusicPlan:
  """Beats and sections of the music for one clip.

  Attributes:
    seconds: Length of the clip, in seconds.
    tempo_bpm: Tempo where no beat was bent, in beats a minute.
    beats_per_bar: Number of beats in a full bar.
    source: Origin of the tempo: a pulse of the 'picture', a 'prior' by mood and
      prompt, or 'given' by the user.
    beats: Beats in the order of time.
    sections: Sections in the order of time; the first starts at 0.
    end_seconds: Time of the last downbeat, after which the music rings out;
      None: the music goes on to the end of the clip.
    key: Tonic and mode, such as 'Eb minor'; None: any.
    video_sha256: Digest of the file of the clip; None: not known.
    version: Version of this format.
  """

  seconds: float
  tempo_bpm: float
  beats_per_bar: int
  source: Source
  beats: tuple[Beat, ...]
  sections: tuple[Section, ...]
  end_seconds: float | None = None
  key: str | None = None
  video_sha256: str | None = None
  version: int = VERSION

  def __post_init__(self):
    if self.version != VERSION:
      raise ValueError(
        f'the version is {self.version}; wanted {VERSION}: plan the video again'
        ' with this library.'
      )
    _check_number('seconds', self.seconds, _EPS_SECONDS, math.inf)
    _check_number('tempo_bpm', self.tempo_bpm, MIN_BPM, MAX_BPM)
    if self.beats_per_bar not in METRES:
      raise ValueError(
        f'beats_per_bar is {self.beats_per_bar}; wanted one of {METRES}.'
      )
    if self.source not in get_args(Source):
      raise ValueError(
        f'source is {self.source!r}; wanted one of {get_args(Source)}.'
      )
    if self.key is not None:
      object.__setattr__(self, 'key', named_key(self.key))
    digest = self.video_sha256
    if digest is not None and not _SHA256.fullmatch(digest):
      raise ValueError(
        f'video_sha256 is {digest!r:.80}; wanted 64 of the characters'
        ' 0-9 and a-f, or no such field.'
      )
    times = [beat.seconds for beat in self.beats]
    self._check_times('beats', times, _SHORTEST_BEAT_SECONDS)
    starts = [section.start_seconds for section in self.sections]
    self._check_times('sections', starts, _EPS_SECONDS)
    if not starts:
      raise ValueError('sections is empty; wanted one at least, from 0 on.')
    if starts[0] != 0:
      raise ValueError(
        f'the first section starts at {starts[0]}; wanted one that starts at 0.'
      )
    if self.end_seconds is not None:
      _check_number('end_seconds', self.end_seconds, 0.0, self.seconds)
    for kind, items in (('beat', self.beats), ('section', self.sections)):
      for number, item in enumerate(items):
        _check_number(f'energy of {kind} {number}', item.energy, 0.0, 1.0)
    for number, section in enumerate(self.sections):
      _check_text(
        f'mood of section {number}', section.mood, _MAX_MOOD_CHARACTERS
      )
      _check_text(
        f'prompt of section {number}',
        section.prompt or '',
        MAX_PROMPT_CHARACTERS,
      )
      _check_text(
        f'label of section {number}',
        section.label or '',
        _MAX_LABEL_CHARACTERS,
      )

  def _check_times(
    self, name: str, times: Sequence[float], shortest: float
  ) -> None:
    for number, time in enumerate(times):
      _check_number(f'time of {name} {number}', time, 0.0, self.seconds)
      if number and time < times[number - 1] + shortest - _EPS_SECONDS:
        raise ValueError(
          f'{name} {number} is at {time} s, after one at {times[number - 1]} s;'
          f' wanted rising times, {shortest:g} s apart at least.'
        )

  @property
  def beat_times(self) -> np.ndarray:
    """Times of the beats in seconds, float64[num_beats]."""
    return np.array([beat.seconds for beat in self.beats], np.float64)

  def energy_at(self, times: np.ndarray) -> np.ndarray:
    """Energy at times of the clip, between the beats in proportion."""
    if not self.beats:
      starts = [section.start_seconds for section in self.sections]
      at = np.searchsorted(starts, times, 'right') - 1
      return np.array([s.energy for s in self.sections])[np.maximum(at, 0)]
    energies = [beat.energy for beat in self.beats]
    return np.interp(times, self.beat_times, energies)

  def keys_of(self, times: np.ndarray) -> Iterator[tuple[slice, str]]:
    """Stretches of rising times, and the key that each has, if it has one."""
    starts = [section.start_seconds for section in self.sections]
    firsts = np.searchsorted(times, starts)
    stops = [*firsts[1:], len(times)]
    for section, first, stop in zip(self.sections, firsts, stops, strict=True):
      if key := section.key or self.key:
        yield slice(first, stop), key

  def section_at(self, seconds: float) -> Section:
    """The section that holds a time of the clip."""
    started = [s for s in self.sections if s.start_seconds <= seconds + 1e-9]
    return (started or list(self.sections[:1]))[-1]


def named_key(key: str) -> str:
  """The name in plans of a key that a person wrote.

  >>> named_key('f# MINOR')
  'Gb minor'

  Raises:
    ValueError: It is no key.
  """
  named = _KEY.fullmatch(key[:1].upper() + key[1:].lower())
  if named is None:
    raise ValueError(
      f'the key is {key!r:.80}; wanted a tonic such as C, Eb or F#, a blank, and'
      f' {" or ".join(MODES)}.'
    )
  number = TONICS.index(named[1]) + {'b': -1, '#': 1, None: 0}[named[2]]
  return f'{TONICS[number % len(TONICS)]} {named[3]}'


def continued(plan: MusicPlan, seconds: float) -> MusicPlan:
  """A plan for at least `seconds`: beats go on unless the music rings out.

  Windows of a clip reach beyond its end, where their music is cut off.
  """
  beats = list(plan.beats)
  if beats and plan.end_seconds is None:
    downbeats = [beat.downbeat for beat in beats]
    since = downbeats[::-1].index(True) if any(downbeats) else 0
    step = 60 / plan.tempo_bpm
    while beats[-1].seconds + step < seconds:
      since = (since + 1) % plan.beats_per_bar
      last = beats[-1]
      beats.append(
        Beat(
          seconds=last.seconds + step, downbeat=since == 0, energy=last.energy
        )
      )
  return dataclasses.replace(
    plan, seconds=max(seconds, plan.seconds), beats=tuple(beats)
  )


def _check_number(name: str, value: float, low: float, high: float) -> None:
  if not (math.isfinite(value) and low <= value <= high):
    raise ValueError(f'{name} is {value}; wanted {low:g} to {high:g}.')


def _check_text(name: str, text: str, most: int) -> None:
  if len(text) > most or not text.isprintable():
    raise ValueError(
      f'{name} has {len(text)} characters or some that do not print; wanted'
      f' one line of at most {most}.'
    )


def to_content(plan: MusicPlan) -> dict[str, Any]:
  """Inverts `from_content`; a digest that is not known is left out."""
  content = dataclasses.asdict(plan)
  if plan.video_sha256 is None:
    del content['video_sha256']
  return content


def to_json(plan: MusicPlan) -> str:
  """Writes a plan as json with one line for each beat and section."""
  lines = []
  for name, value in to_content(plan).items():
    if isinstance(value, tuple):
      items = ',\n'.join(f'  {_json(item)}' for item in value)
      lines.append(f' "{name}": [\n{items}\n ]' if items else f' "{name}": []')
    else:
      lines.append(f' "{name}": {_json(value)}')
  return '{\n' + ',\n'.join(lines) + '\n}\n'


def _json(value: Any) -> str:
  return json.dumps(value, allow_nan=False, ensure_ascii=False)


def write(path: str | os.PathLike, plan: MusicPlan) -> None:
  """Writes a plan as json, whole or not at all."""
  atomic.write_text(path, to_json(plan))


def read(path: str | os.PathLike) -> MusicPlan:
  """Reads a plan; nothing in the file is trusted.

  Raises:
    ValueError: There is no such file, or it is no plan: a field is missing,
      unknown, of the wrong type or out of range.
    OSError: The file cannot be read.
  """
  path = paths.path(path)
  try:
    size = paths.size(path)
  except FileNotFoundError as e:
    raise ValueError(
      f'there is no plan {os.fspath(path)!r}; write one with `v2meow plan`.'
    ) from e
  if size > _MOST_BYTES:
    raise ValueError(
      f'{path} has {size} bytes; wanted a plan of at most {_MOST_BYTES}.'
    )
  try:
    return from_json(path.read_bytes())
  except ValueError as e:
    raise ValueError(
      f'{path} is no plan: {e} Write one with `v2meow plan`, and correct that.'
    ) from e


def from_json(text: str | bytes) -> MusicPlan:
  """Parses json of `to_json`, perhaps edited; see `read`."""
  try:
    content = json.loads(text, parse_constant=_refuse, parse_int=_whole)
  except RecursionError as e:
    raise ValueError('it is nested too deeply.') from e
  except ValueError as e:
    raise ValueError(f'it is not json ({e}).') from e
  return from_content(content)


def from_content(content: Any) -> MusicPlan:
  """A plan of parsed json; ValueError says what is wrong with it."""
  fields = _fields(MusicPlan, content, 'the plan')
  for name, kind in (('beats', Beat), ('sections', Section)):
    fields[name] = tuple(
      kind(**_fields(kind, item, f'{name} {number}'))
      for number, item in enumerate(fields[name])
    )
  return MusicPlan(**fields)


def _refuse(constant: str) -> None:
  raise ValueError(f'the number {constant} is not finite')


def _whole(digits: str) -> int:
  if len(digits) > _MOST_DIGITS:
    raise ValueError(f'a number of {len(digits)} digits is not wanted')
  return int(digits)


# Types in json for each annotation above.
_TYPES: Mapping[str, tuple[type, ...]] = {
  'float': (int, float),
  'float | None': (int, float, type(None)),
  'int': (int,),
  'bool': (bool,),
  'str': (str,),
  'Source': (str,),
  'str | None': (str, type(None)),
  'tuple[Beat, ...]': (list,),
  'tuple[Section, ...]': (list,),
}


def _fields(kind: type, content: Any, where: str) -> dict[str, Any]:
  """The fields of a dataclass, each known and of its type."""
  known = {field.name: field for field in dataclasses.fields(kind)}
  if not isinstance(content, dict):
    raise ValueError(f'{where} is {type(content).__name__}; wanted an object.')
  needed = {n for n, f in known.items() if f.default is dataclasses.MISSING}
  if missing := needed - set(content):
    raise ValueError(
      f'{where} lacks {", ".join(sorted(missing))}; wanted a value for each.'
    )
  if unknown := sorted(set(content) - set(known)):
    raise ValueError(
      f'{where} has a field {unknown[0]!r:.80}; wanted none but'
      f' {", ".join(known)}.'
    )
  for name, value in content.items():
    wanted = str(known[name].type)
    types = _TYPES[wanted]
    if not isinstance(value, types) or (
      isinstance(value, bool) and bool not in types
    ):
      raise ValueError(f'{name} of {where} is {value!r:.80}; wanted {wanted}.')
  return dict(content)
