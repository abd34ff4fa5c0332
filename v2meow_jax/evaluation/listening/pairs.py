"""Pairs generated clips with references by the names of their files.

NAME belongs with NAME. Without a generated NAME, NAME_1, NAME_2 and so on
belong with NAME: takes of one clip, as `v2meow generate --takes` names them.
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import json
import os
import pathlib
import re

import numpy as np

from v2meow_jax import media
from v2meow_jax.evaluation.listening import feature_cache
from v2meow_jax.files import atomic
from v2meow_jax.files import copies
from v2meow_jax.files import paths
from v2meow_jax.files import probe
from v2meow_jax.files import read

SUFFIXES = (*media.AUDIO_SUFFIXES, *media.VIDEO_SUFFIXES)
_TAKE = re.compile(r'(?P<clip>.+)_(?P<number>[1-9]\d*)')
# Rate at which a clip is decoded to measure its length.
_LENGTH_RATE_HZ = 16_000


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClipFile:
  """A file with sound.

  Attributes:
    path: Path of the file.
    sha256: Digest of its bytes.
    seconds: Length of its sound, in seconds.
    sample_rate_hz: Stored sample rate, in Hz.
    num_channels: Stored number of channels.
    is_silent: Whether nothing in it can be heard.
  """

  path: str
  sha256: str
  seconds: float
  sample_rate_hz: int
  num_channels: int
  is_silent: bool


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClipPair:
  """A generated clip and its reference.

  Attributes:
    name: Stem of the generated clip.
    generated: Clip to score.
    reference: Clip to score it against.
    prompt: Prompt of the generated clip; None: none.
    take_of: Stem of the reference if that has several takes; None: `name`.
  """

  name: str
  generated: ClipFile
  reference: ClipFile
  prompt: str | None = None
  take_of: str | None = None

  @property
  def clip(self) -> str:
    """Stem of the reference."""
    return self.take_of or self.name

  @property
  def seconds(self) -> float:
    """Length of the shorter clip, to which both are cut."""
    return min(self.generated.seconds, self.reference.seconds)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fault:
  """A clip that is not scored, and why."""

  name: str
  reason: str

  @classmethod
  def of(cls, name: str, error: Exception) -> Fault:
    """Makes the fault of an error."""
    return cls(name=name, reason=' '.join(str(error).split()))


def silent(pairs: Iterable[ClipPair]) -> list[str]:
  """Names of generated clips in which nothing can be heard."""
  return [pair.name for pair in pairs if pair.generated.is_silent]


def reasons(faults: Sequence[Fault]) -> str:
  """Lists the first faults with their reasons, for an error."""
  return '; '.join(f'{fault.name}: {fault.reason}' for fault in faults[:5])


def files(folder: str | os.PathLike) -> tuple[dict[str, pathlib.Path], list]:
  """Lists the media files of a folder by stem.

  Args:
    folder: Folder; files of folders inside do not count.

  Returns:
    Paths by stem, sorted, and a `Fault` for each file whose stem another file
    has too, or whose suffix is none of `SUFFIXES`.

  Raises:
    ValueError: It is no folder, or holds no media file.
  """
  folder = paths.path(folder)
  if not folder.is_dir():
    raise ValueError(f'{folder} is no folder; wanted one of media files.')
  by_stem: dict[str, list[pathlib.Path]] = {}
  faults = []
  for path in sorted(folder.iterdir()):
    if path.name.startswith('.'):
      continue
    if path.is_dir():
      names = map(pathlib.PurePath, paths.inside(path))
      inside = sum(name.suffix.lower() in SUFFIXES for name in names)
      if inside:
        reason = (
          f'a folder in {folder} with {inside} media files: give it by itself'
        )
        faults.append(Fault(name=path.name, reason=reason))
      continue
    if path.suffix.lower() in SUFFIXES:
      by_stem.setdefault(path.stem, []).append(path)
    elif path.suffix.lower() != '.json':  # Sidecars of `v2meow generate`.
      faults.append(
        Fault(name=path.name, reason=f'no media file by its suffix, {folder}')
      )
  if not by_stem:
    raise ValueError(
      f'{folder} holds no media file; wanted some that end in'
      f' {", ".join(SUFFIXES)}.'
    )
  for stem, alike in by_stem.items():
    if len(alike) > 1:
      names = ' and '.join(path.name for path in alike)
      faults.append(
        Fault(
          name=stem, reason=f'several files of this name in {folder}: {names}'
        )
      )
  return {s: p[0] for s, p in by_stem.items() if len(p) == 1}, faults


def pair(
  generated: str | os.PathLike,
  reference: str | os.PathLike,
  cache: feature_cache.FeatureCache,
  prompts: Mapping[str, str] | None = None,
) -> tuple[list[ClipPair], list[Fault]]:
  """Pairs the files of two folders by stem, takes with their clip.

  Args:
    generated: Folder of the clips to score.
    reference: Folder of the true music, or of videos with it.
    cache: Cache of the lengths of clips.
    prompts: Prompts by stem of the reference; None: there were none.

  Returns:
    The pairs, sorted by name, and a fault for each name in no pair: without a
    partner, broken, without sound, without a prompt where others have one, or
    a missing take that other clips have.

  Raises:
    ValueError: A folder holds no media file.
  """
  ours, faults = files(generated)
  theirs, more = files(reference)
  faults = [*faults, *more]
  known = {fault.name for fault in faults}
  partners = _partners(ours, theirs)
  lonely = {*theirs} - {*partners.values()}
  pairs = []
  for name in sorted(({*ours} | lonely) - known):
    try:
      if name in lonely:
        raise ValueError(
          f'missing: {generated} has no clip of this name, nor takes of it'
        )
      if name not in partners:
        raise ValueError(f'extra: {reference} has no clip of this name')
      partner = partners[name]
      if prompts is not None and partner not in prompts:
        raise ValueError(f'no prompt has the id {partner!r}')
      pairs.append(
        ClipPair(
          name=name,
          generated=clip(ours[name], cache),
          reference=clip(theirs[partner], cache),
          prompt=prompts[partner] if prompts is not None else None,
          take_of=None if partner == name else partner,
        )
      )
    except (ValueError, OSError) as e:
      faults.append(Fault.of(name, e))
  for name in sorted(_missing_takes(partners) - known):
    faults.append(
      Fault(name=name, reason='missing: other clips have a take of this number')
    )
  for name in sorted({*(prompts or {})} - {*ours, *theirs}):
    faults.append(
      Fault(name=name, reason='a prompt for a clip that is nowhere')
    )
  return pairs, sorted(faults, key=lambda fault: fault.name)


def _partners(ours: Iterable[str], theirs: Iterable[str]) -> dict[str, str]:
  """Finds the stem of the reference of each generated clip that has one.

  >>> _partners(['a', 'a_1', 'b_1', 'b_2', 'c_1', 'd_1'], ['a', 'b', 'c_1'])
  {'a': 'a', 'b_1': 'b', 'b_2': 'b', 'c_1': 'c_1'}
  """
  ours, theirs = set(ours), set(theirs)
  partners = {}
  for name in sorted(ours):
    take = _TAKE.fullmatch(name)
    if name in theirs:
      partners[name] = name
    elif take and take['clip'] in theirs - ours:
      partners[name] = take['clip']
  return partners


def _missing_takes(partners: Mapping[str, str]) -> set[str]:
  """Lists takes missing from clips that have others of the takes."""
  takes = {name: clip for name, clip in partners.items() if clip != name}
  numbers = {name.removeprefix(f'{clip}_') for name, clip in takes.items()}
  wanted = {f'{clip}_{n}' for clip in takes.values() for n in numbers}
  return wanted - {*partners}


def clip(
  path: str | os.PathLike, cache: feature_cache.FeatureCache
) -> ClipFile:
  """Describes a file, decoding it once; UnsupportedMedia says what is wrong."""
  sha256 = atomic.sha256(path)

  def decode() -> feature_cache.Arrays:
    info = probe.probe(path)
    audio = read.read_audio(path, rate_hz=_LENGTH_RATE_HZ)
    with copies.held(path) as file:
      _check_whole(file, os.fspath(path))
    return {
      'seconds': np.float64(audio.seconds),
      'sample_rate_hz': np.int64(info.sample_rate_hz),
      'num_channels': np.int64(info.num_channels),
      'is_silent': np.bool_(audio.is_silent),
    }

  facts = cache.get({'what': 'clip', 'version': 3, 'sha256': sha256}, decode)
  return ClipFile(
    path=os.fspath(path),
    sha256=sha256,
    seconds=float(facts['seconds']),
    sample_rate_hz=int(facts['sample_rate_hz']),
    num_channels=int(facts['num_channels']),
    is_silent=bool(facts['is_silent']),
  )


def _check_whole(path: pathlib.Path, name: str) -> None:
  """Raises ValueError for a wav of fewer bytes than in its header."""
  with path.open('rb') as file:
    head = file.read(12)
  wanted = 8 + int.from_bytes(head[4:8], 'little')
  # Pipes write 0, or all bits; a last byte may be padding.
  if (head[:4], head[8:]) == (b'RIFF', b'WAVE') and 8 < wanted < 2**32:
    size = paths.size(path)
    if size < wanted - 1:
      raise ValueError(
        f'{name} is cut short: {size} bytes, and its header says {wanted}.'
      )


def read_prompts(path: str | os.PathLike) -> dict[str, str]:
  """Reads prompts by clip from json lines of `id` and `caption`.

  Raises:
    ValueError: A line is wrong, or an id is there twice.
  """
  prompts: dict[str, str] = {}
  try:
    lines = paths.path(path).read_bytes().decode('utf-8').split('\n')
  except (OSError, UnicodeDecodeError) as e:
    raise ValueError(
      f'{path} cannot be read ({e}); wanted json lines of id and caption.'
    ) from e
  for number, line in enumerate(lines, 1):
    if not line.strip():
      continue
    try:
      row = json.loads(line)
    except (ValueError, RecursionError) as e:
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
    if texts[0] in prompts:
      raise ValueError(f'{path}, line {number}: {texts[0]!r} is there twice.')
    prompts[texts[0]] = texts[1]
  return prompts
