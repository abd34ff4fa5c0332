"""Makes videos for the controls, each with music, a grey twin and a prompt."""

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
from v2meow_jax.files import paths
from v2meow_jax.files import probe
from v2meow_jax.files import write as media_write
from v2meow_jax.synthetic import held_out

VIDEOS_NAME = 'videos'
# Grey is grey at any size and rate: extractors pick frames by time.
_GREY = np.full((64, 64, 3), 128, np.uint8)
_GREY_RATE_HZ = 25


@dataclasses.dataclass(frozen=True, kw_only=True)
class ControlClip:
  """A video to generate music for.

  Attributes:
    name: Name of the clip.
    video: Path of the video.
    blank: Path of a grey video of the same length.
    reference: Path of the true music: a sound file or the video itself.
    group: Group of videos, for the bias of genres.
    prompt: Prompt that names `prompt_genre`.
    prompt_genre: Genre of the prompt; not the picture's if `truth` is known.
    truth: Known music; None: unknown.
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
  """Writes held-out scenes, grouped by the genre of the picture.

  Args:
    out: Folder of the report, which keeps videos and music.
    num: Number of scenes.
    seed: Seed of the world.
    seconds: Length of each scene, in seconds.

  Returns:
    The clips; files of an earlier run are used again.
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
  """Lists the first videos of a data set, grouped by folder.

  Prompts name the genres of `held_out.PROMPTS` in turn.

  Args:
    dataset: Manifest, or folder of videos at any depth.
    out: Folder of the report, which keeps the grey videos.
    num: Largest number of videos.

  Returns:
    The clips, a fault for each that cannot be read, and the number of videos
    in the data set.

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
      faults.append(pairs.Fault.of(name, e))
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
  """Lists (name, path) of each video, every name once."""
  if dataset.is_file():
    from v2meow_jax.files import manifests

    return [(c.id, paths.path(c.path)) for c in manifests.read(dataset)]
  inside = [
    name
    for name in paths.inside(dataset)
    if pathlib.PurePath(name).suffix.lower() in media.VIDEO_SUFFIXES
  ]
  if not inside:
    raise ValueError(
      f'{dataset} holds no video; wanted a manifest or a folder with'
      f' {", ".join(media.VIDEO_SUFFIXES)}.'
    )
  # Names become file names, whatever the folders are called.
  videos: dict[str, pathlib.Path] = {}
  for file in inside:
    path, name = dataset / file, re.sub(r'[^\w.-]+', '_', file)
    if name in videos:
      raise ValueError(
        f'{videos[name]} and {path} would both be called {name!r} in the'
        ' report; rename one of them.'
      )
    videos[name] = path
  return list(videos.items())


def _once(
  path: pathlib.Path, write: Callable[[pathlib.Path], None]
) -> pathlib.Path:
  """Writes a file unless it is there."""
  if not path.exists():
    write(path)
  return path
