"""Videos for the controls, each with its music, a grey twin and a prompt."""

from __future__ import annotations

from collections.abc import Callable
import dataclasses
import itertools
import pathlib
import re

import numpy as np

from v2meow_jax import media
from v2meow_jax import progress as progress_lib
from v2meow_jax.evaluation.controls import judges
from v2meow_jax.evaluation.listening import pairs
from v2meow_jax.files import probe
from v2meow_jax.files import write as media_write
from v2meow_jax.synthetic import held_out

VIDEOS_NAME = 'videos'
# Grey is grey at any size and rate: extractors pick frames by time.
_GREY = np.full((64, 64, 3), 128, np.uint8)
_GREY_RATE_HZ = 25


@dataclasses.dataclass(frozen=True, kw_only=True)
class ControlClip:
  """A video that a system is shown.

  Attributes:
    name: Of the clip.
    video: Path.
    blank: Path of a grey video as long.
    reference: Path of its music; of the video itself where that has it.
    group: Of videos, for the bias of genres.
    prompt: That names `prompt_genre`.
    prompt_genre: Where `truth` is known, another one than the picture's.
    truth: None where nothing is known of the music.
  """

  name: str
  video: pathlib.Path
  blank: pathlib.Path
  reference: pathlib.Path
  group: str
  prompt: str
  prompt_genre: str
  truth: judges.Truth | None = None


def synthetic(
  out: pathlib.Path, *, num: int, seed: int, seconds: float
) -> list[ControlClip]:
  """Held-out scenes of the synthetic world; groups are the looks of genres.

  Args:
    out: Folder of the report, which keeps videos and music.
    num: Scenes.
    seed: Of the world.
    seconds: Of each.

  Returns:
    The clips; what is there of an earlier run is used again.
  """
  folder = out / VIDEOS_NAME / f'seed{seed}_{seconds:g}s'
  folder.mkdir(parents=True, exist_ok=True)
  clips = []
  scenes = held_out.scenes(seed, num, seconds)
  for i, scene in enumerate(
    progress_lib.bar(scenes, unit='clip', desc='videos')
  ):
    genre = held_out.other_genre(i, scene.genre)
    clips.append(
      ControlClip(
        name=f'scene_{i:04d}',
        video=held_out.write_video(scene, folder, blank=False),
        blank=held_out.write_video(scene, folder, blank=True),
        reference=_once(
          folder / f'music_{scene.index}.wav',
          lambda path, scene=scene: media_write.write_audio(
            path, held_out.music(scene)
          ),
        ),
        group=scene.look_genre,
        prompt=held_out.PROMPTS[genre],
        prompt_genre=genre,
        truth=scene,
      )
    )
  return clips


def of_dataset(
  dataset: pathlib.Path, out: pathlib.Path, *, num: int
) -> tuple[list[ControlClip], list[pairs.Fault], int]:
  """Videos with music of one's own; a group is the folder a video lies in.

  Prompts name the genres of `held_out.PROMPTS` in turn.

  Args:
    dataset: A manifest, or a folder with videos in it or in folders inside.
    out: Folder of the report, which keeps the grey videos.
    num: The first so many are taken.

  Returns:
    The clips, a fault for each that cannot be read, and how many videos there
    are.

  Raises:
    ValueError: There is no video, two have one name, or the manifest is wrong.
  """
  folder = out / VIDEOS_NAME / 'grey'
  folder.mkdir(parents=True, exist_ok=True)
  clips, faults = [], []
  genres = itertools.cycle(held_out.PROMPTS)
  videos = _videos(dataset)
  for name, video in progress_lib.bar(videos[:num], unit='clip', desc='videos'):
    try:
      frames = max(1, round(probe.probe_video(video).seconds * _GREY_RATE_HZ))
    except (ValueError, OSError) as e:
      faults.append(pairs.Fault(name=name, reason=' '.join(str(e).split())))
      continue
    genre = next(genres)
    clips.append(
      ControlClip(
        name=name,
        video=video,
        blank=_once(
          folder / f'{frames}_frames.mp4',
          lambda path, frames=frames: media_write.write_video(
            path, itertools.repeat(_GREY, frames), rate_hz=_GREY_RATE_HZ
          ),
        ),
        reference=video,
        group=video.parent.name,
        prompt=held_out.PROMPTS[genre],
        prompt_genre=genre,
      )
    )
  return clips, faults, len(videos)


def _videos(dataset: pathlib.Path) -> list[tuple[str, pathlib.Path]]:
  """(name, path) of each video; no name twice."""
  if dataset.is_file():
    from v2meow_jax.files import manifests

    return [(c.id, pathlib.Path(c.path)) for c in manifests.read(dataset)]
  paths = sorted(
    path
    for path in dataset.rglob('*')
    if path.suffix.lower() in media.VIDEO_SUFFIXES and path.is_file()
  )
  if not paths:
    raise ValueError(
      f'{dataset} holds no video; wanted a manifest or a folder with'
      f' {", ".join(media.VIDEO_SUFFIXES)}.'
    )
  # Fit for the name of a file, whatever the folders are called.
  found: dict[str, pathlib.Path] = {}
  for path in paths:
    name = re.sub(r'[^\w.-]+', '_', path.relative_to(dataset).as_posix())
    if name in found:
      raise ValueError(
        f'{found[name]} and {path} would both be called {name!r} in the report;'
        ' rename one of them.'
      )
    found[name] = path
  return list(found.items())


def _once(
  path: pathlib.Path, write: Callable[[pathlib.Path], None]
) -> pathlib.Path:
  """Writes a file that appears whole or not at all, unless it is there."""
  if not path.exists():
    write(path)
  return path
