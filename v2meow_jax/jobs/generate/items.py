"""Reads what a batch is to make: a list of videos, or a folder of them."""

from collections.abc import Callable
from collections.abc import Mapping
import dataclasses
import hashlib
import json
import math
import os
import pathlib
import re
from typing import Any

from v2meow_jax import media
from v2meow_jax.extractors.planning import planner
from v2meow_jax.files import manifests
from v2meow_jax.files import paths
from v2meow_jax.inference import requests as requests_lib
from v2meow_jax.inference import soundtrack
from v2meow_jax.inference.finish import options as finish_options

# Of each of these, a request has one at most.
_EITHER = (
  ('prompt', 'style_audio'),
  ('plan', 'no_plan'),
  ('plan', 'bpm'),
  ('plan', 'key'),
  ('no_plan', 'bpm'),
  ('no_plan', 'key'),
  ('no_plan', 'best_of'),
)
# Options that are paths.
FILES = ('style_audio', 'plan')
_WANTED_LIST = (
  'wanted json lines or a .csv with id and path, or a folder of videos'
)
_REFUSED = {
  'takes': 'give each take a row with an id and a seed of its own',
  'rows': 'it holds for a whole batch: --rows',
  'system': 'it holds for a whole batch: --system',
  'output': 'OUT/ID with the suffix of --format is what is written',
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Item:
  """A video of a batch, and how its music is to be made.

  Attributes:
    id: Name of the item, and of what is written for it.
    where: Place in the manifest, such as 'line 3'.
    files: Paths of what is read, by 'video', 'style_audio' and 'plan'.
    options: Options of `v2meow generate`, by name; those of its row, and of the
      command line where the row has none.
  """

  id: str
  where: str
  files: Mapping[str, str]
  options: Mapping[str, Any]

  @property
  def wishes(self) -> planner.Wishes | None:
    """What its plan is to be like, where it has no file of one; None: no plan."""
    if self.options.get('no_plan'):
      return None
    return planner.Wishes(
      bpm=self.options.get('bpm'), key=self.options.get('key')
    )

  def digest(self, settings: Mapping[str, Any]) -> str:
    """Hex digest of all that acts on the sound but the content of its files."""
    facts = [dict(self.options), sorted(self.files), dict(settings)]
    text = json.dumps(facts, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def read(
  manifest: str, defaults: Mapping[str, Any], *, skip_bad_rows: bool = False
) -> tuple[list[Item], list[str]]:
  """Reads all items of a batch, before any work.

  Args:
    manifest: File in json lines or .csv with the columns `id`, `path` and
      names of `options`, or a folder of videos; here or in a bucket.
    defaults: Options for rows that say nothing; see `options`.
    skip_bad_rows: Whether to go on without rows that cannot be used.

  Returns:
    The items in their order, and what is wrong with the rows left out.

  Raises:
    ValueError: Names every row that is wrong, and how; or there are no items.
  """
  path = paths.path(manifest)
  if not path.exists():
    raise ValueError(f'there is no manifest {manifest!r}; {_WANTED_LIST}.')
  of_folder = path.is_dir()
  if not of_folder and path.suffix.lower() in media.VIDEO_SUFFIXES:
    raise ValueError(
      f'{manifest} is a video, not a list of them; {_WANTED_LIST}; `v2meow'
      ' generate` makes music for one.'
    )
  folder = os.fspath(path if of_folder else path.parent)
  # A default is wrong by itself, not in each row.
  said = _said(defaults)
  checked_options(said)
  for name in FILES:
    if name in said and not paths.path(said[name]).exists():
      raise ValueError(f'--{name}: there is no file {said[name]!r}.')
  items: dict[str, Item] = {}
  errors = []
  for where, row in _folder_rows(path) if of_folder else _rows(path):
    try:
      item = _item(where, row, folder, defaults)
      twin = items.get(item.id.lower())
      if twin and twin.id == item.id:
        raise ValueError(f'the id {item.id!r} is there twice')
      if twin:
        raise ValueError(
          f'the id {item.id!r} differs from {twin.id!r} ({twin.where}) in case'
          ' alone, and some file systems keep one file for both; change one'
        )
      items[item.id.lower()] = item
    except ValueError as e:
      errors.append(f'{where}: {e}')
  if not skip_bad_rows:
    manifests.require_none(path, errors)
  if not items:
    raise ValueError(f'{manifest} holds no item; {_WANTED_LIST}.')
  return list(items.values()), errors


def _rows(path: pathlib.Path):
  return ((f'line {number}', row) for number, row in manifests.rows(path))


def _folder_rows(path: pathlib.Path):
  for name in sorted(paths.sizes(path)):
    stem, suffix = os.path.splitext(name)
    if suffix.lower() in media.VIDEO_SUFFIXES:
      plain = re.sub(r'[^A-Za-z0-9._-]', '_', stem)
      yield name, {'id': plain, 'path': name}


def _item(
  where: str, row: Any, folder: str, defaults: Mapping[str, Any]
) -> Item:
  if isinstance(row, ValueError):
    raise row
  if not isinstance(row, dict):
    raise ValueError('wanted a json object')
  for name in ('id', 'path'):
    if not isinstance(row.get(name), str) or not row[name]:
      raise ValueError(f'wanted a string {name!r}, got {row.get(name)!r}')
  manifests.check_id(row['id'])
  if row['id'].startswith('.'):
    raise ValueError(f'the id {row["id"]!r} begins with a dot')
  said = _said({k: v for k, v in row.items() if k not in ('id', 'path')})
  files = {n: paths.join(folder, said[n]) for n in FILES if n in said}
  options = _said(defaults)
  for name, value in row.items():
    if (
      OPTIONS.get(name) is _flag
      and name not in said
      and value not in ('', None)
    ):
      options.pop(name, None)  # The row switches off what holds for others.
  for pair in _EITHER:
    if said.keys() & set(pair):
      options = {k: v for k, v in options.items() if k not in pair}
  options |= {**said, **files}
  checked_options(options)
  return Item(
    id=row['id'],
    where=where,
    files={
      'video': paths.join(folder, row['path']),
      **{n: options[n] for n in FILES if n in options},
    },
    options={k: v for k, v in options.items() if k not in FILES},
  )


def _said(row: Mapping[str, Any]) -> dict[str, Any]:
  """What a row says: its values in their types, without empty ones.

  Raises:
    ValueError: It has unknown columns, or values of other types; names them all.
  """
  options, errors = {}, []
  for name, value in row.items():
    try:
      options[name] = _value(name, value)
    except ValueError as e:
      errors.append(str(e))
  if errors:
    raise ValueError('; '.join(errors))
  # What is empty or switched off is not said.
  return {k: v for k, v in options.items() if v is not None and v is not False}


def _value(name: str, value: Any) -> Any:
  """A value in the type of its column; None where it is empty."""
  if name in _REFUSED:
    raise ValueError(f'{name!r} is not possible here: {_REFUSED[name]}')
  if name not in OPTIONS:
    raise ValueError(
      f'the column {name!r} is unknown; wanted id, path and some of'
      f' {", ".join(OPTIONS)}'
    )
  if value is None or value == '':
    return None
  try:
    return OPTIONS[name](value)
  except (TypeError, ValueError) as e:
    raise ValueError(f'{name} is {value!r}; wanted {_WANTED[name]}') from e


def checked_options(options: Mapping[str, Any]) -> None:
  """Raises ValueError unless options can be used together, whatever the system."""
  from v2meow_jax.models.sampling import options as options_lib  # Brings JAX.

  for names in _EITHER:
    both = [name for name in names if name in options]
    if len(both) > 1:
      raise ValueError(f'{" and ".join(both)} are both given; choose one')
  requests_lib.clean_prompt(options.get('prompt'))
  requests_lib.clean_prompt(options.get('negative'))
  planner.Wishes(bpm=options.get('bpm'), key=options.get('key'))
  seed = options.get('seed', 0)
  if not 0 <= seed < soundtrack.MAX_SEED:
    raise ValueError(f'seed is {seed}; wanted 0 to {soundtrack.MAX_SEED - 1}')
  finish_options.of_options(options)
  finish_options.check_best_of(options.get('best_of', 1), has_plan=True)
  start, end = options.get('start', 0.0), options.get('end', math.inf)
  if not 0 <= start < end:
    raise ValueError(
      f'start is {start:g} and end {end:g}; wanted 0 <= start < end'
    )
  for fields in soundtrack.samplings(options):
    options_lib.Sampling(**fields)


def _text(value: Any) -> str:
  if not isinstance(value, str):
    raise TypeError
  return value


def _whole(value: Any) -> int:
  if isinstance(value, bool | float):
    raise TypeError
  return int(value)


def _number(value: Any) -> float:
  if isinstance(value, bool):
    raise TypeError
  return float(value)


def _loudness(value: Any) -> float | str:
  return value if value == finish_options.AS_IS else _number(value)


def _numbers(value: Any) -> list[float]:
  several = value.split() if isinstance(value, str) else value
  return [
    _number(v) for v in (several if isinstance(several, list) else [several])
  ]


def _flag(value: Any) -> bool:
  text = str(value).lower()
  if text not in ('true', 'false', '1', '0'):
    raise ValueError
  return text in ('true', '1')


_KINDS: Mapping[str, tuple[Callable[[Any], Any], str]] = {
  'prompt': (_text, 'text'),
  'negative': (_text, 'text'),
  'style_audio': (_text, 'a path'),
  'plan': (_text, 'a path'),
  'seed': (_whole, 'a whole number'),
  'bpm': (_number, 'a number'),
  'key': (_text, "a key, such as 'Eb minor'"),
  'no_plan': (_flag, 'true or false'),
  'temperature': (_numbers, 'a number, or one for each stage'),
  'top_k': (_whole, 'a whole number'),
  'top_p': (_number, 'a number'),
  'max_run': (_whole, 'a whole number'),
  'style_guidance': (_number, 'a number'),
  'video_guidance': (_number, 'a number'),
  'start': (_number, 'seconds'),
  'end': (_number, 'seconds'),
  'best_of': (_whole, 'a whole number'),
  'keep_audio': (_flag, 'true or false'),
  'audio_level': (_number, 'decibels'),
  'duck': (_number, 'decibels'),
  'loudness': (_loudness, 'LUFS, or as_is'),
  'fade_in': (_number, 'seconds'),
  'fade_out': (_number, 'seconds'),
  'rate': (_whole, 'Hz'),
  'channels': (_whole, '1 or 2'),
  'steps': (_whole, 'a whole number'),
}
# Options of `v2meow generate` that a row or the command line may give.
OPTIONS = {name: kind for name, (kind, _) in _KINDS.items()}
_WANTED = {name: wanted for name, (_, wanted) in _KINDS.items()}
