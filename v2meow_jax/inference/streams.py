"""From what a request gives to streams of the whole clip."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from v2meow_jax import media
from v2meow_jax.extractors import extractor
from v2meow_jax.files import probe
from v2meow_jax.files import read
from v2meow_jax.inference import requests


def read_visual(
  video: requests.VideoLike,
  extractors: Mapping[str, extractor.Extractor],
  *,
  piece_seconds: float,
  max_side: int | None,
) -> tuple[dict[str, np.ndarray], float]:
  """Extracts the visual streams of a video piece by piece.

  Args:
    video: Path of the video, or its decoded frames.
    extractors: Extractors of the visual streams by stream name.
    piece_seconds: Length of the stretches in which the video is read.
    max_side: Longest side in pixels to which frames of a file are shrunk; None:
      frames stay as they are.

  Returns:
    Each stream by name, [frames, dim | levels], and the length of the clip in
    seconds.
  """
  if isinstance(video, media.Video):
    pieces = video.pieces(piece_seconds)
    seconds = video.seconds
  else:
    seconds = probe.probe_video(video).seconds
    pieces = read.iter_video(
      video, piece_seconds=piece_seconds, max_side=max_side
    )
  parts: dict[str, list[np.ndarray]] = {name: [] for name in extractors}
  for piece in pieces:
    for name, extract in extractors.items():
      parts[name].append(extract(piece))
  return {n: np.concatenate(p) for n, p in parts.items()}, seconds


def read_style(
  given: str | media.Audio, extractors: Mapping[str, extractor.Extractor]
) -> np.ndarray:
  """The style vector of a prompt or of music, float32[1, dim].

  Args:
    given: Prompt, or music at the rate of its extractor.
    extractors: Extractors 'style_text' of prompts and 'style' of music, or one
      of them.

  Raises:
    ValueError: There is no extractor for what is given.
  """
  kind, name = 'music', 'style'
  if isinstance(given, str):
    kind, name = 'text', 'style_text'
  if name not in extractors:
    raise ValueError(
      f'the system has no network for a style given as {kind}; leave it out, or'
      ' export the system with one.'
    )
  return extractors[name](given)
