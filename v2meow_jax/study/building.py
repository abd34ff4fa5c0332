"""Builds a study from folders of clips.

Every file of a clip gets the pictures of the first system's file, so that only
the sound differs, a random name and no metadata.
"""

from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import itertools
import json
import os
import pathlib
import secrets
from typing import Any

import numpy as np

import v2meow_jax
from v2meow_jax import media
from v2meow_jax import progress
from v2meow_jax.files import atomic
from v2meow_jax.files import probe
from v2meow_jax.files.films import combine
from v2meow_jax.files.films import remux
from v2meow_jax.study import pages
from v2meow_jax.study import protocol
from v2meow_jax.study import sources

_NUM_SILENT = 8  # ours: enough that one check does not give away the next.
_MAX_CHECKS = 20  # ours: as many as there are comparisons by default.


def build(
  folders: Sequence[str],
  site: str | os.PathLike,
  *,
  title: str = 'Listening study',
  genres: str | os.PathLike | None = None,
  baseline: str | None = None,
  num_comparisons: int = 20,
  num_checks: int = 2,
  min_played: float = 0.9,
  seed: int = 0,
) -> protocol.Study:
  """Makes the folder of a study, whole or not at all.

  Args:
    folders: Folders of mp4 files, one a system, whose name is that of the
      folder; or 'NAME=FOLDER'.
    site: New or empty folder of the study.
    title: Title on the page.
    genres: Json file, {"name of a clip": "its genre"}.
    baseline: System to compare all others with; None: all with all.
    num_comparisons: Number of comparisons of each participant, at most.
    num_checks: Number of attention checks of each participant, at most 20.
    min_played: Share of each clip to play before an answer, in (0, 1].
    seed: Seed of the assignment.

  Returns:
    The study.

  Raises:
    StudyError: Too few systems, no clip that two share, or bad settings.
    OSError: A folder is missing or cannot be written to.
  """
  systems = _systems(folders)
  _check_settings(systems, baseline, num_comparisons, num_checks, min_played)
  protocol.check_seed(seed)
  genre_of = _read_genres(genres)
  site = pathlib.Path(os.path.abspath(site))
  if site.exists() and (not site.is_dir() or any(site.iterdir())):
    raise protocol.StudyError(
      f'{site}: is there already; name a new folder, or remove it with all'
      ' answers in it.'
    )
  with atomic.replacing_folder(site, marker='study.json') as folder:
    temp = pathlib.Path(folder)
    (temp / 'media').mkdir()
    clips, files, left_out, notes = _write_media(
      systems, genre_of, temp / 'media', seed
    )
    if num_checks and not any(clip.silent for clip in clips.values()):
      notes.append(
        'no clip has music in all systems: all attention checks are'
        ' instructions, none is against silence'
      )
    pairs = tuple(
      protocol.StudyPair(clip=clip.name, first=first, second=second)
      for clip in clips.values()
      for first, second in itertools.combinations(clip.files, 2)
      if baseline in (None, first, second)
    )
    if not pairs:
      raise protocol.StudyError(
        'no clip can be compared: '
        + ('; '.join(_sentence(item) for item in left_out) or 'no .mp4 file')
      )
    study = protocol.Study(
      id=secrets.token_hex(8),
      title=title,
      seed=seed,
      systems=tuple(systems),
      clips=clips,
      pairs=pairs,
      num_comparisons=min(num_comparisons, len(pairs)),
      num_checks=num_checks,
      min_played=min_played,
      files=files,
      left_out=tuple(left_out),
      notes=tuple(notes),
      version=v2meow_jax.__version__,
      baseline=baseline,
    )
    (temp / 'study.json').write_text(protocol.to_json(study), 'utf-8')
    pages.write_texts(temp)
    if site.exists():
      site.rmdir()
  return study


def _systems(folders: Sequence[str]) -> dict[str, pathlib.Path]:
  """Finds the folder of each system, by name."""
  systems: dict[str, pathlib.Path] = {}
  for given in folders:
    path, name = pathlib.Path(given), ''
    if not path.exists() and '=' in given:
      name, _, rest = given.partition('=')
      path = pathlib.Path(rest)
    name = name or path.resolve().name
    # It names a folder of the report.
    if '/' in name or name.startswith('.'):
      raise protocol.StudyError(
        f'{name!r} cannot be the name of a system; write NAME=FOLDER with a'
        ' name that has no / and no leading dot.'
      )
    if not path.is_dir():
      raise protocol.StudyError(f'{path}: no such folder; wanted one of mp4s.')
    if name in systems:
      raise protocol.StudyError(
        f'{systems[name]} and {path} are both called {name!r}; write'
        ' NAME=FOLDER.'
      )
    systems[name] = path
  if len(systems) < 2:
    raise protocol.StudyError(
      f'{len(systems)} system given; a comparison needs two folders or more.'
    )
  return systems


def _check_settings(
  systems: Mapping[str, pathlib.Path],
  baseline: str | None,
  num_comparisons: int,
  num_checks: int,
  min_played: float,
) -> None:
  if baseline is not None and baseline not in systems:
    raise protocol.StudyError(
      f'the baseline {baseline!r} is none of {sorted(systems)}.'
    )
  if (
    num_comparisons < 1
    or not 0 <= num_checks <= _MAX_CHECKS
    or not 0 < min_played <= 1
  ):
    raise protocol.StudyError(
      f'{num_comparisons} comparisons, {num_checks} checks, {min_played} to be'
      f' played; wanted 1 or more, 0 to {_MAX_CHECKS}, and a share in (0, 1].'
    )


def _read_genres(path: str | os.PathLike | None) -> dict[str, str]:
  if path is None:
    return {}
  try:
    genres = json.loads(pathlib.Path(path).read_text('utf-8'))
  except (ValueError, RecursionError) as error:
    raise protocol.StudyError(f'{path}: not json ({error}).') from error
  if not isinstance(genres, dict) or not all(
    isinstance(genre, str) and genre for genre in genres.values()
  ):
    raise protocol.StudyError(
      f'{path}: wanted {{"name of a clip": "its genre", ...}}.'
    )
  return genres


def _write_media(
  systems: Mapping[str, pathlib.Path],
  genre_of: Mapping[str, str],
  folder: pathlib.Path,
  seed: int,
):
  """Writes the media; returns clips, files, left-out clips and notes."""
  by_system = {
    system: {p.stem: p for p in sorted(path.glob('*.mp4')) if p.is_file()}
    for system, path in systems.items()
  }
  names = sorted(set().union(*by_system.values()))
  clips: dict[str, protocol.StudyClip] = {}
  # Clips on which no system is silent.
  pictures: dict[str, sources.Source] = {}
  files: dict[str, dict[str, Any]] = {}
  left_out, notes = [], []
  for name in progress.bar(names, desc='clips', unit='clip'):
    usable: dict[str, sources.Source] = {}
    tokens: dict[str, str] = {}
    first = None
    for system in systems:
      try:
        if name not in by_system[system]:
          raise protocol.StudyError('there is no such file')
        source = sources.examine(by_system[system][name], first)
        first = first or source
        tokens[system] = _write(folder, source, first, files)
        usable[system] = source
      except (probe.UnsupportedMedia, protocol.StudyError) as error:
        reason = ' '.join(str(error).split())
        left_out.append({'clip': name, 'system': system, 'reason': reason})
    if first is None or len(tokens) < 2:
      for token in tokens.values():
        del files[token]
        (folder / f'{token}.mp4').unlink()
      continue
    notes += sources.level_notes(name, usable)
    if not any(source.is_silent for source in usable.values()):
      pictures[name] = first
    clips[name] = protocol.StudyClip(
      name=name,
      genre=genre_of.get(name),
      seconds=first.seconds,
      files=tokens,
      silent=None,
    )
  order = np.random.default_rng(seed).permutation(len(pictures))[:_NUM_SILENT]
  for name in [list(pictures)[i] for i in order]:
    token = _write(folder, None, pictures[name], files)
    clips[name] = dataclasses.replace(clips[name], silent=token)
  if genre_of:
    notes += [
      f'{n}: a genre, but no clip' for n in sorted({*genre_of} - {*names})
    ]
    notes += [f'{n}: no genre' for n in sorted({*clips} - {*genre_of})]
  return clips, files, left_out, notes


def _write(
  folder: pathlib.Path,
  source: sources.Source | None,
  pictures: sources.Source,
  files: dict[str, dict[str, Any]],
) -> str:
  """Writes a file under a random name; without a source, one of silence."""
  token = secrets.token_hex(16)
  path = folder / f'{token}.mp4'
  if source is None:
    rate_hz = 48_000
    none = np.zeros(round(pictures.seconds * rate_hz), np.float32)
    remux.replace_sound(
      pictures.path, media.Audio(samples=none, rate_hz=rate_hz), path
    )
  else:
    combine.combine(pictures.path, source.path, path)
  # The time of writing would reveal the system.
  os.utime(path, (0, 0))
  files[token] = {
    'source': str(source.path.resolve()) if source else 'silence',
    'source_sha256': atomic.sha256(source.path) if source else None,
    'sha256': atomic.sha256(path),
    'level_dbfs': round(source.level_dbfs, 1) if source else None,
  }
  return token


def _sentence(item: Mapping[str, str]) -> str:
  return f'{item["clip"]} of {item["system"]}: {item["reason"]}'
