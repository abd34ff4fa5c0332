"""Fits the tiny system's streams to clips, and saves their parameters."""

import pathlib

import numpy as np

from v2meow_jax import parts as parts_lib
from v2meow_jax import progress as progress_lib
from v2meow_jax import stages
from v2meow_jax.extractors import vocabulary
from v2meow_jax.extractors.embedded import fitted
from v2meow_jax.files import manifests
from v2meow_jax.files import paths
from v2meow_jax.files import read
from v2meow_jax.files import tensors


def fit(
  manifest: str, output: str, num: int, seed: int, sounds: str | None = None
) -> pathlib.Path:
  """Fits the training-free streams to `num` training clips of a manifest.

  Clips are spread evenly over the split; returns `output`, a .safetensors.

  Args:
    manifest: Manifest of videos with music.
    output: Target, .safetensors.
    num: Number of clips of each manifest.
    seed: Seed of the clusters.
    sounds: Manifest of music alone, which is heard beside that of the videos.

  Raises:
    ValueError: There are no training clips with captions.
  """
  if num < 1:
    raise ValueError(f'num is {num}; wanted at least 1 clip to fit to.')
  videos, captions = _chosen(manifest, num)
  clips = videos
  if sounds is not None:
    music, others = _chosen(sounds, num)
    clips, captions = videos + music, captions + others
  max_side = parts_lib.video_reading(())['max_side']
  with progress_lib.bar(
    total=len(videos) + len(clips), unit='clip', desc='fit'
  ) as bar:

    def advance(part: str, count: int) -> None:
      bar.set_postfix_str(part, refresh=False)
      bar.update()

    params = fitted.fit(
      (read.read_video(c.path, max_side=max_side) for c in videos),
      (read.read_audio(c.path) for c in clips),
      stages.TINY,
      seed=seed,
      progress=advance,
    )
  examples = [
    fitted.clip_features(params, read.read_audio(c.path), c.caption)
    for c in clips
  ]
  stacked = {
    f'example/{k}': np.stack([e[k] for e in examples]) for k in examples[0]
  }
  out = paths.path(output)
  params['style/vocabulary'] = vocabulary.of_texts(captions)
  out.parent.mkdir(parents=True, exist_ok=True)
  tensors.write(out, tensors.unflatten({**params, **stacked}), None)
  return out


def _chosen(
  manifest: str, num: int
) -> tuple[list[manifests.ManifestClip], list[str]]:
  """Up to `num` training clips with captions, and all captions there are."""
  clips = [c for c in manifests.read(manifest, 'train') if c.caption]
  if not clips:
    raise ValueError(f"{manifest} has no clip of split 'train' with a caption.")
  places = np.linspace(0, len(clips) - 1, min(num, len(clips))).astype(int)
  return [clips[i] for i in places], [clip.caption or '' for clip in clips]
