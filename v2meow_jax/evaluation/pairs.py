"""Pairs of a generated clip and its reference, by the names of their files."""

from __future__ import annotations

from collections.abc import Mapping
import dataclasses
import json
import os
import pathlib

import numpy as np

from v2meow_jax import media_io
from v2meow_jax.evaluation import feature_cache
from v2meow_jax.weights import store

SUFFIXES = (
  *('.wav', '.flac', '.mp3', '.ogg', '.opus', '.m4a', '.aac', '.aiff'),
  *('.mp4', '.mov', '.mkv', '.webm', '.avi'),
)
# Decoded once at this rate to learn how long a clip is.
_LENGTH_RATE_HZ = 16_000


@dataclasses.dataclass(frozen=True, kw_only=True)
class Clip:
  """The sound of one file.

  Attributes:
    path: Of the file.
    sha256: Of its bytes.
    seconds: Of its sound.
    sample_rate_hz: As stored.
    num_channels: As stored.
  """

  path: str
  sha256: str
  seconds: float
  sample_rate_hz: int
  num_channels: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pair:
  """What is scored.

  Attributes:
    name: The stem that both files share.
    generated: The clip that is scored.
    reference: What it is scored against.
    prompt: It was made with; None: none.
  """

  name: str
  generated: Clip
  reference: Clip
  prompt: str | None = None

  @property
  def seconds(self) -> float:
    """What both are cut to: the length of the shorter one."""
    return min(self.generated.seconds, self.reference.seconds)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fault:
  """A clip that is not scored, and why."""

  name: str
  reason: str


def files(folder: str | os.PathLike) -> tuple[dict[str, pathlib.Path], list]:
  """The media files of a folder by stem.

  Args:
    folder: Its own files count, not those of folders inside.

  Returns:
    Paths by stem, sorted, and a `Fault` for each file that cannot stand for a
    stem: another one has the same, or its suffix is none of `SUFFIXES`.

  Raises:
    ValueError: It is no folder, or holds no media file.
  """
  folder = pathlib.Path(folder)
  if not folder.is_dir():
    raise ValueError(f'{folder} is no folder; wanted one of media files.')
  found: dict[str, list[pathlib.Path]] = {}
  faults = []
  for path in sorted(folder.iterdir()):
    if path.name.startswith('.') or not path.is_file():
      continue
    if path.suffix.lower() in SUFFIXES:
      found.setdefault(path.stem, []).append(path)
    elif path.suffix.lower() != '.json':  # `v2meow generate` puts it beside.
      faults.append(
        Fault(name=path.name, reason=f'no media file by its suffix, {folder}')
      )
  if not found:
    raise ValueError(
      f'{folder} holds no media file; wanted some that end in'
      f' {", ".join(SUFFIXES)}.'
    )
  for stem, paths in found.items():
    if len(paths) > 1:
      names = ' and '.join(path.name for path in paths)
      faults.append(
        Fault(
          name=stem, reason=f'several files of this name in {folder}: {names}'
        )
      )
  return {s: p[0] for s, p in found.items() if len(p) == 1}, faults


def pair(
  generated: str | os.PathLike,
  reference: str | os.PathLike,
  cache: feature_cache.FeatureCache,
  prompts: Mapping[str, str] | None = None,
) -> tuple[list[Pair], list[Fault]]:
  """Pairs the files of two folders by stem.

  Args:
    generated: Folder of the clips that are scored.
    reference: Folder of the true music, or of videos with it.
    cache: Knows the length of a clip once it was decoded.
    prompts: By stem; None: there were none.

  Returns:
    The pairs, sorted by name, and what is in no pair: without a partner,
    broken, without sound, or without a prompt where others have one.

  Raises:
    ValueError: A folder holds no media file.
  """
  (made, faults), (true, more) = files(generated), files(reference)
  faults = [*faults, *more]
  known = {fault.name for fault in faults}
  pairs = []
  for name in sorted({*made, *true} - known):
    try:
      if name not in true:
        raise ValueError(f'extra: {reference} has no clip of this name')
      if name not in made:
        raise ValueError(f'missing: {generated} has no clip of this name')
      if prompts is not None and name not in prompts:
        raise ValueError('the file of prompts has none for it')
      pairs.append(
        Pair(
          name=name,
          generated=clip(made[name], cache),
          reference=clip(true[name], cache),
          prompt=prompts[name] if prompts is not None else None,
        )
      )
    except (ValueError, OSError) as e:
      faults.append(Fault(name=name, reason=' '.join(str(e).split())))
  for name in sorted({*(prompts or {})} - {*made, *true}):
    faults.append(
      Fault(name=name, reason='a prompt for a clip that is nowhere')
    )
  return pairs, sorted(faults, key=lambda fault: fault.name)


def clip(path: str | os.PathLike, cache: feature_cache.FeatureCache) -> Clip:
  """Decodes a file unless that was done; UnsupportedMedia says what is wrong."""
  sha256 = store.sha256(pathlib.Path(path))

  def look() -> feature_cache.Arrays:
    info = media_io.probe(path)
    audio = media_io.read_audio(path, rate_hz=_LENGTH_RATE_HZ)
    return {
      'seconds': np.float64(audio.seconds),
      'sample_rate_hz': np.int64(info.sample_rate_hz),
      'num_channels': np.int64(info.num_channels),
    }

  found = cache.get({'what': 'clip', 'version': 1, 'sha256': sha256}, look)
  return Clip(
    path=os.fspath(path),
    sha256=sha256,
    seconds=float(found['seconds']),
    sample_rate_hz=int(found['sample_rate_hz']),
    num_channels=int(found['num_channels']),
  )


def read_prompts(path: str | os.PathLike) -> dict[str, str]:
  """Prompts by clip, from json lines of `id` and `caption`, as a manifest has.

  Raises:
    ValueError: Names the first line that is wrong.
  """
  found: dict[str, str] = {}
  lines = pathlib.Path(path).read_text(encoding='utf-8').split('\n')
  for number, line in enumerate(lines, 1):
    if not line.strip():
      continue
    try:
      row = json.loads(line)
    except ValueError as e:
      raise ValueError(f'{path}, line {number}: no json ({e}).') from e
    texts = [
      row.get(key) if isinstance(row, dict) else None
      for key in ('id', 'caption')
    ]
    if not all(isinstance(text, str) and text for text in texts):
      raise ValueError(
        f'{path}, line {number}: wanted {{"id": ..., "caption": ...}}, two'
        f' strings; got {line[:80]!r}.'
      )
    if texts[0] in found:
      raise ValueError(f'{path}, line {number}: {texts[0]!r} is there twice.')
    found[texts[0]] = texts[1]
  return found
