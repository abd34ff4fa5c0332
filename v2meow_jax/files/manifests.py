"""Reads manifests: one clip a line, as json, or rows of other lists as they are."""

import codecs
import collections
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
import csv
import dataclasses
import hashlib
import io
import json
import os
import pathlib
import re
from typing import Any

from etils import epath

from v2meow_jax.files import paths

SPLITS = ('train', 'validation')
_ID = re.compile(r'[A-Za-z0-9._-]{1,128}')
_MOST_ERRORS = 20
_EXAMPLE = '{"id": "my", "path": "my.mp4"}'


@dataclasses.dataclass(frozen=True, kw_only=True)
class ManifestClip:
  """One line of a manifest.

  Attributes:
    id: Unique name; letters, digits, dot, underscore, dash.
    path: Path of the media file, here or in a bucket; in the manifest, relative
      to its folder unless it is absolute or has a scheme such as gs://.
    split: 'train' or 'validation'.
    caption: Description of the music, if the manifest has one.
    plan: Plan that the music follows, as `v2meow plan` writes it, if the
      manifest has one.
  """

  id: str
  path: str
  split: str = 'train'
  caption: str | None = None
  plan: Mapping[str, Any] | None = None


def digest(clips: Iterable[ManifestClip]) -> str:
  """Hex SHA-256 of ids and captions in their order, wherever the files lie."""
  rows = [[clip.id, clip.caption] for clip in clips]
  return hashlib.sha256(json.dumps(rows).encode()).hexdigest()


def read(
  path: epath.PathLike | Sequence[epath.PathLike], split: str | None = None
) -> list[ManifestClip]:
  """Reads a manifest: json lines of `id`, `path`, `split`, `caption`, `plan`.

  `split` defaults to 'train', `caption` and `plan` are optional, and other keys
  (ground truth) are ignored.

  Args:
    path: Path of the manifest, here or in a bucket, or of several, which are read one after the
      other and may use an id again.
    split: Split to read; None: all.

  Returns:
    The clips, in the order of the lines.

  Raises:
    ValueError: Names every line that is wrong, and how; or there are no clips.
  """
  if isinstance(path, (list, tuple)):
    return [clip for one in path for clip in read(one, split)]
  path = paths.path(path)  # pyright: ignore[reportArgumentType]
  clips: dict[str, ManifestClip] = {}
  errors = []
  for number, row in rows(path):
    try:
      clip = _clip(row, os.fspath(path.parent))
      if clip.id in clips:
        raise ValueError(f'the id {clip.id!r} is there twice')
      clips[clip.id] = clip
    except ValueError as e:
      errors.append(f'line {number}: {e}')
  require_none(path, errors)
  chosen = [c for c in clips.values() if split in (None, c.split)]
  if not chosen:
    counts = dict(collections.Counter(c.split for c in clips.values()))
    wanted = 'clips' if split is None else f'clips of split {split!r}'
    raise ValueError(f'manifest {path} holds no {wanted}; it has {counts}.')
  return chosen


def rows(path: pathlib.Path) -> Iterator[tuple[int, Any]]:
  """Reads the rows of a list of clips, as they are; blank ones do not count.

  Args:
    path: File in json lines, or in .csv with the names of columns first.

  Yields:
    Number of the line, and the row: what a line of json says, or what the
    columns say, as text. A row that cannot be read is a `ValueError`.
  """
  text = _text(path)
  if path.suffix.lower() == '.csv':
    yield from _csv_rows(text)
    return
  for number, line in enumerate(text.split('\n'), 1):
    if line.strip():
      try:
        yield number, json.loads(line)
      except (ValueError, RecursionError) as e:
        reason = f'it is no JSON ({e}); wanted an object, such as {_EXAMPLE}'
        yield number, ValueError(reason)


def _csv_rows(text: str) -> Iterator[tuple[int, Any]]:
  table = csv.reader(io.StringIO(text, newline=''), strict=True)
  names: list[str] = []
  while True:
    number = table.line_num + 1
    try:
      cells = next(table)
    except StopIteration:
      return
    except csv.Error as e:
      yield number, ValueError(str(e))
      continue
    if not any(map(str.strip, cells)):
      continue
    if not names:
      names = [cell.strip() for cell in cells]
    elif len(cells) != len(names):
      yield number, ValueError(f'{len(cells)} cells; wanted {len(names)}')
    else:
      yield number, dict(zip(names, cells, strict=True))


def require_none(path: pathlib.Path, errors: Sequence[str]) -> None:
  """Raises ValueError with the errors in the lines of a manifest, if any."""
  if errors:
    shown = '; '.join(e.rstrip('.') for e in errors[:_MOST_ERRORS])
    raise ValueError(f'manifest {path}: {len(errors)} bad line(s): {shown}.')


def check_id(name: str) -> None:
  """Raises ValueError unless an id is a plain name of a file."""
  if not _ID.fullmatch(name):
    raise ValueError(
      f'the id {name!r} is not 1-128 letters, digits, dots, underscores or'
      ' dashes'
    )


def check_there(path: epath.PathLike) -> None:
  """Raises ValueError where there is no manifest."""
  if not paths.path(path).exists():
    raise ValueError(
      f'there is no manifest {os.fspath(path)!r}; wanted json lines of id, path'
      ' and split, as `v2meow data synth` writes them.'
    )
  if paths.path(path).is_dir():
    raise ValueError(
      f'{os.fspath(path)!r} is a folder; wanted a manifest, json lines of id, path'
      f' and split, such as {paths.join(path, "manifest.jsonl")!r}.'
    )


def _text(path: pathlib.Path) -> str:
  """Content of a manifest in UTF-8, whose byte-order mark does not count."""
  check_there(path)
  data = path.read_bytes()
  try:
    return data.decode('utf-8-sig')
  except UnicodeDecodeError as e:
    is_utf16 = data[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
    encoding = 'UTF-16' if is_utf16 else f'not UTF-8 at byte {e.start}'
    source = 'UTF-16' if is_utf16 else 'ITS_ENCODING'
    raise ValueError(
      f'manifest {path} is {encoding}; wanted UTF-8: iconv -f {source} -t UTF-8'
      f' {path} > new.jsonl'
    ) from e


def _clip(row: Any, folder: str) -> ManifestClip:
  if isinstance(row, ValueError):
    raise row
  if not isinstance(row, dict):
    raise ValueError('wanted a json object')
  for key in ('id', 'path'):
    if not isinstance(row.get(key), str) or not row[key]:
      raise ValueError(f'wanted a string {key!r}, got {row.get(key)!r}')
  check_id(row['id'])
  split = row.get('split', SPLITS[0])
  if split not in SPLITS:
    raise ValueError(f'the split is {split!r}; wanted one of {list(SPLITS)}')
  caption = row.get('caption')
  if not isinstance(caption, str | None):
    raise ValueError(f'wanted a string as caption, got {caption!r}')
  plan = row.get('plan')
  if not isinstance(plan, dict | None):
    raise ValueError('wanted an object as plan, as `v2meow plan` writes it')
  return ManifestClip(
    id=row['id'],
    path=paths.join(folder, row['path']),
    split=split,
    caption=caption,
    plan=plan,
  )
