"""Defines a metric's score, and reads and writes a run's `scores.json`."""

# `_checked` reads the types of fields as text.
from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import json
import math
import os
import platform
import statistics
from typing import Any
from typing import Literal

from jaxtyping import Float
import numpy as np

from v2meow_jax.evaluation.metrics import bootstrap
from v2meow_jax.files import atomic
from v2meow_jax.files import paths

VERSION = 1
FILE_NAME = 'scores.json'
TASKS = ('video', 'video+text')
_MOST_BYTES = 256 * 2**20


@dataclasses.dataclass(frozen=True, kw_only=True)
class Score:
  """One figure of one set of clips.

  Attributes:
    value: The figure.
    low: Lower end of its 95 % interval; None where none is known.
    high: Upper end of the interval.
    num_clips: Number of generated clips.
    per_clip: Values of the clips, in the order of `Scores.clips`; empty for a
      metric of the set as a whole.
    details: Facts that a reader needs to trust or compare it, as json: network
      and digest, direction, form, whether it is saturated.
  """

  value: float
  low: float | None = None
  high: float | None = None
  num_clips: int
  per_clip: tuple[float, ...] = ()
  details: Mapping[str, Any] = dataclasses.field(default_factory=dict)

  def __post_init__(self):
    ends = [end for end in (self.low, self.high) if end is not None]
    if not all(map(math.isfinite, (self.value, *ends, *self.per_clip))):
      raise ValueError(
        f'a score of {self.value} [{self.low}, {self.high}] over'
        f' {self.num_clips} clips is not finite; score a failed clip as 0'
        ' instead.'
      )
    if self.num_clips < 1 or len(self.per_clip) not in (0, self.num_clips):
      raise ValueError(
        f'{self.num_clips} clips with {len(self.per_clip)} values per clip;'
        ' wanted a clip at least, and one value for each or none.'
      )

  @property
  def is_mean(self) -> bool:
    """Whether the value is the mean of the values per clip."""
    return bool(self.per_clip) and math.isclose(
      self.value, statistics.fmean(self.per_clip), rel_tol=1e-9, abs_tol=1e-12
    )

  def __str__(self) -> str:
    if self.low is None or self.high is None:
      return f'{self.value:.3f}'
    return f'{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]'


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scores:
  """The metrics of one run.

  Attributes:
    run: Name of the run for a reader: a system, a checkpoint, a baseline.
    dataset: Data set of the clips: 'mv100k', 'musiccaps', 'aist', 'synthetic',
      or a name of one's own.
    task: 'video+text' if the system read prompts.
    clips: Names of the clips, in the order of each score's `per_clip`.
    settings: Settings of the run, as json.
    libraries: Versions by `libraries`.
    metrics: Scores by name; 'fad/vggish' is metric 'fad' of network 'vggish'.
    version: Version of this format.
  """

  run: str
  dataset: str
  task: Literal['video', 'video+text']
  clips: tuple[str, ...]
  settings: Mapping[str, Any]
  libraries: Mapping[str, str]
  metrics: Mapping[str, Score]
  version: int = VERSION

  @property
  def num_silent(self) -> int:
    """Number of generated clips in which nothing can be heard."""
    return len(self.settings.get('silent', ()))

  def __post_init__(self):
    if self.version != VERSION:
      raise ValueError(
        f'scores of version {self.version}; this library reads {VERSION}:'
        ' score the run again.'
      )
    if self.task not in TASKS:
      raise ValueError(f'the task is {self.task!r}; wanted one of {TASKS}.')
    for name, score in self.metrics.items():
      if len(score.per_clip) not in (0, len(self.clips)):
        raise ValueError(
          f'metric {name!r} has {len(score.per_clip)} values per clip and the'
          f' run has {len(self.clips)} clips.'
        )


def of_clips(
  values: Float[np.ndarray, 'clips'], *, seed: int, **details: Any
) -> Score:
  """Scores the mean of one value per clip, with its bootstrap interval.

  Args:
    values: Finite values, one per clip.
    seed: Seed of the resampling.
    **details: Details of the score, as json.

  Returns:
    The score, with the values in `per_clip`.

  Raises:
    ValueError: No values, or values that are not finite.
  """
  values = np.asarray(values, np.float64)
  return of_set(
    bootstrap.mean_interval(values, seed=seed), len(values), values, **details
  )


def of_mismatched(
  grid: Float[np.ndarray, 'clips clips'], *, seed: int, **details: Any
) -> Score:
  """Scores the mean over all mismatched pairs.

  The paper's 'random shuffle' row, in expectation over all derangements.

  Args:
    grid: Values [i, j] of clip i against the target of clip j; two clips at
      least. The diagonal is not used.
    seed: Seed of the resampling.
    **details: Details of the score, as json.

  Returns:
    The score; `per_clip` has the mean over the targets of all others. Two
    clips have no interval.
  """
  interval = bootstrap.shuffled_interval(grid, seed=seed)
  others = (grid.sum(axis=1) - np.diagonal(grid)) / (len(grid) - 1)
  return of_set(interval, len(grid), others, fewest=3, **details)


def of_all_pairs(
  grid: Float[np.ndarray, 'clips targets'], *, seed: int, **details: Any
) -> Score:
  """Scores the mean of every clip against every target."""
  interval = bootstrap.grid_interval(grid, seed=seed)
  return of_set(interval, len(grid), grid.mean(axis=1), **details)


def of_set(
  interval: bootstrap.Interval,
  num_clips: int,
  per_clip: Sequence[float] | Float[np.ndarray, 'clips'] = (),
  /,
  *,
  fewest: int = 2,
  **details: Any,
) -> Score:
  """Scores a set of clips by a figure and its interval.

  Args:
    interval: Figure and interval over all clips.
    num_clips: Number of clips.
    per_clip: Values of the clips, if any.
    fewest: Number of clips below which resampling has nothing to vary, so that
      the interval is left out.
    **details: Details of the score, as json.

  Returns:
    The score.
  """
  known = num_clips >= fewest
  return Score(
    value=interval.mean,
    low=interval.low if known else None,
    high=interval.high if known else None,
    num_clips=num_clips,
    per_clip=tuple(np.asarray(per_clip, np.float64).tolist()),
    details=details,
  )


def require_pairs(reference: Sequence[Any], generated: Sequence[Any]) -> None:
  """Raises ValueError unless both sides have as many clips, one at least."""
  if len(reference) != len(generated) or not len(generated):
    raise ValueError(
      f'{len(reference)} reference clips with {len(generated)} generated ones;'
      ' wanted pairs, and one at least.'
    )


def libraries() -> dict[str, str]:
  """Lists the machine, and versions of all that figures depend on."""
  from importlib import metadata

  versions = {
    'python': platform.python_version(),
    'machine': f'{platform.system()} {platform.machine()}',
    'cpu_count': str(os.cpu_count()),
  }
  for name in (
    'v2meow_jax',
    'jax',
    'jaxlib',
    'flax',
    'numpy',
    'scipy',
    'av',
    'soundfile',
    'soxr',
    'librosa',
    'scikit-learn',
    'mir_eval',
    'torch',
    'transformers',
    'tensorflow',
    'ai-edge-litert',
  ):
    try:
      versions[name] = metadata.version(name)
    except metadata.PackageNotFoundError:
      versions[name] = 'not installed'
  return versions


def write(path: str | os.PathLike, scores: Scores) -> None:
  """Writes `scores.json`, whole or not at all.

  Args:
    path: Path of the file, in a folder that exists.
    scores: Scores of one run.

  Raises:
    TypeError: Settings or details are no json.
    ValueError: A number is not finite.
  """
  text = json.dumps(dataclasses.asdict(scores), indent=2, allow_nan=False)
  atomic.write_text(path, text + '\n')


def read(path: str | os.PathLike) -> Scores:
  """Reads a `scores.json`; nothing in the file is trusted.

  Args:
    path: Path of the file, or of its folder.

  Returns:
    The scores.

  Raises:
    ValueError: A field is missing, unknown or of the wrong type.
    OSError: There is no such file.
  """
  path = paths.path(path)
  path = path / FILE_NAME if path.is_dir() else path
  if not path.is_file():
    raise FileNotFoundError(
      f'there is no {path}; wanted a folder that `v2meow evaluate` wrote, or'
      ' its scores.json.'
    )
  with path.open('rb') as file:
    text = file.read(_MOST_BYTES + 1)
  if len(text) > _MOST_BYTES:
    raise ValueError(f'{path} is larger than {_MOST_BYTES} bytes.')
  try:
    content = json.loads(text, parse_constant=_refuse)
    fields = _checked(Scores, content, 'the file')
    fields['metrics'] = {
      name: Score(**_checked(Score, score, f'metric {name!r}'))
      for name, score in fields['metrics'].items()
    }
    return Scores(**fields)
  except (ValueError, RecursionError) as e:
    raise ValueError(
      f'{path} holds no scores: {e}; score the run again.'
    ) from e


# Types in json for each annotation above.
_TYPES = {
  'str': str,
  "Literal['video', 'video+text']": str,
  'int': int,
  'float': int | float,
  'float | None': int | float | None,
  'tuple[str, ...]': str,
  'tuple[float, ...]': int | float,
}


def _refuse(constant: str) -> None:
  raise ValueError(f'the number {constant} is not finite')


def _checked(kind: type, content: Any, where: str) -> dict[str, Any]:
  """Returns the fields of a dataclass, each there and of its type."""
  known = {field.name: field for field in dataclasses.fields(kind)}
  if not isinstance(content, dict) or set(content) != set(known):
    got = sorted(content) if isinstance(content, dict) else type(content)
    raise ValueError(f'{where} has {got}; wanted {sorted(known)}')
  checked = {}
  for name, value in content.items():
    wanted = str(known[name].type)
    if wanted.startswith('Mapping'):
      fits = isinstance(value, dict)
    elif wanted.startswith('tuple'):
      fits = isinstance(value, list) and all(
        isinstance(item, _TYPES[wanted]) for item in value
      )
      value = tuple(value) if fits else value
    else:
      fits = isinstance(value, _TYPES[wanted]) and not isinstance(value, bool)
    if not fits:
      raise ValueError(f'{name} of {where} is {value!r:.80}; wanted {wanted}')
    checked[name] = value
  return checked
