"""A manifest: one clip a line, as json."""

from __future__ import annotations

import dataclasses
import json
import os
import re
from typing import Any

import tensorflow as tf

SPLITS = ('train', 'validation')
_ID = re.compile(r'[A-Za-z0-9._-]{1,128}')
_MOST_ERRORS = 20


@dataclasses.dataclass(frozen=True, kw_only=True)
class Clip:
  """One line of a manifest.

  Attributes:
    id: Unique; letters, digits, dot, underscore, dash.
    path: Of the media file; in the manifest, relative to its folder.
    split: 'train' or 'validation'.
  """

  id: str
  path: str
  split: str = 'train'


def read(path: str) -> list[Clip]:
  """The clips of a manifest: json lines with `id`, `path` and `split`.

  `split` is 'train' when absent; other keys (captions, ground truth) are for
  other readers.

  Args:
    path: Of the manifest.

  Returns:
    The clips, in the order of the lines.

  Raises:
    ValueError: Names every line that is wrong, and how.
  """
  with tf.io.gfile.GFile(path) as f:
    lines = f.read().splitlines()
  folder = os.path.dirname(path)
  clips: dict[str, Clip] = {}
  errors = []
  for number, line in enumerate(lines, 1):
    if not line.strip():
      continue
    try:
      clip = _clip(json.loads(line), folder)
      if clip.id in clips:
        raise ValueError(f'the id {clip.id!r} is there twice')
      clips[clip.id] = clip
    except ValueError as e:
      errors.append(f'line {number}: {e}')
  if errors:
    shown = '; '.join(errors[:_MOST_ERRORS])
    raise ValueError(f'manifest {path}: {len(errors)} bad lines: {shown}.')
  if not clips:
    raise ValueError(f'manifest {path} holds no clips.')
  return list(clips.values())


def _clip(row: Any, folder: str) -> Clip:
  if not isinstance(row, dict):
    raise ValueError('wanted a json object')
  for key in ('id', 'path'):
    if not isinstance(row.get(key), str) or not row[key]:
      raise ValueError(f'wanted a string {key!r}, got {row.get(key)!r}')
  if not _ID.fullmatch(row['id']):
    raise ValueError(
      f'the id {row["id"]!r} is not 1-128 letters, digits, dots, underscores'
      ' or dashes'
    )
  split = row.get('split', SPLITS[0])
  if split not in SPLITS:
    raise ValueError(f'the split is {split!r}; wanted one of {list(SPLITS)}')
  return Clip(id=row['id'], path=os.path.join(folder, row['path']), split=split)
