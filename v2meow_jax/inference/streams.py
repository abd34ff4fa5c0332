"""From requests to streams of whole clips, piece by piece of the video."""

from collections.abc import Callable
from collections.abc import Sequence

import numpy as np

from v2meow_jax import media
from v2meow_jax.files import probe
from v2meow_jax.files import read as media_read
from v2meow_jax.inference import loading
from v2meow_jax.inference import pipeline
from v2meow_jax.inference import requests as requests_lib
from v2meow_jax.inference import style as style_lib


def read(
  requests: Sequence[requests_lib.Request],
  loaded: loading.Loaded,
  on_request: Callable[[], None] = lambda: None,
) -> list[pipeline.ClipStreams]:
  """Extracts what the stages of a system read; takes of a video share its work.

  `on_request` is called before each request, for progress.

  Raises:
    ValueError: The system has no extractor for a style.
    probe.UnsupportedMedia: A file is not a video that can be read.
  """
  visual, clips = {}, []
  for request in requests:
    on_request()
    video, style = request.video, request.prompt or request.style_audio
    if id(video) not in visual:
      visual[id(video)] = _visual(video, loaded)
    streams, seconds = visual[id(video)]
    clip = pipeline.ClipStreams(
      streams={**streams}, seconds=seconds, seed=request.seed
    )
    if style is not None:
      clip.streams['style'] = style_lib.vector(style, loaded.styles)
    elif 'style' in loaded.streams:
      # Zeros, as dropped in training.
      dim = loaded.streams['style'].dim
      clip.streams['style'] = np.zeros((1, dim), np.float32)
    if request.negative is not None:
      clip.negative['style'] = style_lib.vector(request.negative, loaded.styles)
    clips.append(clip)
  return clips


def _visual(
  video: requests_lib.VideoLike, loaded: loading.Loaded
) -> tuple[dict[str, np.ndarray], float]:
  """Visual streams of a video by name, and its length in seconds."""
  config = loaded.config
  if isinstance(video, media.Video):
    pieces = video.pieces(config['piece_seconds'])
    seconds = video.seconds
  else:
    seconds = probe.probe_video(video).seconds
    pieces = media_read.iter_video(
      video,
      piece_seconds=config['piece_seconds'],
      max_side=config['max_side'],
    )
  names = [name for name in config['visual'] if name in loaded.extractors]
  parts: dict[str, list[np.ndarray]] = {name: [] for name in names}
  for piece in pieces:
    for name in names:
      parts[name].append(loaded.extractors[name](piece))
  return {n: np.concatenate(p) for n, p in parts.items()}, seconds
