"""Ranks music by how well it goes with a video, in the space of a trained stage."""

from collections.abc import Iterator
from collections.abc import Sequence
import dataclasses

import numpy as np

from v2meow_jax import media
from v2meow_jax import specs
from v2meow_jax.inference import loading
from v2meow_jax.inference import pipeline
from v2meow_jax.inference import requests as requests_lib
from v2meow_jax.inference import restore
from v2meow_jax.inference import streams as streams_lib
from v2meow_jax.inference import windows
from v2meow_jax.models import delayed


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ranker:
  """Embeds videos and music window by window, and compares them.

  Attributes:
    loaded: System whose first stage was trained to tell pairs.
  """

  loaded: loading.Loaded

  def __post_init__(self):
    if not can_rank(self.loaded):
      raise ValueError(
        f'the system {self.loaded.config["name"]!r} cannot compare videos with'
        f' music: its stage {self._stage.spec.name!r} has no embedding of'
        ' either. Export one that was trained with systems/vmas/music.gin.'
      )

  @property
  def _stage(self) -> restore.ModelStage:
    return self.loaded.stages[0]

  def embed_video(self, video: requests_lib.VideoLike) -> np.ndarray:
    """float32[windows, dim], unit rows, of consecutive crops of a video.

    Raises:
      probe.UnsupportedMedia: The file is not a video that can be read.
    """
    request = requests_lib.Request(video=video, plan=None)
    (clip,), _ = streams_lib.read([request], self.loaded)
    spec = self._stage.spec
    silence = np.zeros((1, *_shape(spec.target, spec)), np.int32)
    rows = [
      self._stage.pair_embeddings(
        {
          s.name: pipeline.cut(
            clip.streams[s.name], s, start, spec.crop_seconds
          )[None]
          for s in spec.inputs
        },
        silence,
      )[0]
      for start in self._starts(clip.seconds)
    ]
    return np.concatenate(rows)

  def embed_music(self, audio: media.Audio) -> np.ndarray:
    """float32[windows, dim], unit rows, of consecutive crops of music.

    Args:
      audio: Sound at the rate of the system's codec.

    Raises:
      ValueError: It is of another rate, or shorter than a second.
    """
    codec, spec = self.loaded.codec, self._stage.spec
    if audio.rate_hz != codec.sample_rate_hz or audio.seconds < 1:
      raise ValueError(
        f'the music has {audio.seconds:.3g} s at {audio.rate_hz} Hz; wanted 1 s'
        f' or more at {codec.sample_rate_hz} Hz.'
      )
    blank = {
      s.name: np.zeros((1, *_shape(s, spec)), np.float32) for s in spec.inputs
    }
    hop = round(codec.sample_rate_hz / codec.stream.rate_hz)
    padded = np.pad(audio.samples, (0, -len(audio.samples) % hop))
    codes = np.asarray(codec.encode(padded[None].astype(np.float32)))[0]
    rows = [
      self._stage.pair_embeddings(
        blank,
        pipeline.cut(codes, spec.target, start, spec.crop_seconds)[None],
      )[1]
      for start in self._starts(audio.seconds)
    ]
    return np.concatenate(rows)

  def _starts(self, seconds: float) -> Iterator[float]:
    # What is left at the end, below a second, is not worth a window.
    whole = max(seconds - 1.0, 0.1)
    yield from windows.window_starts(whole, self._stage.spec.crop_seconds, 0.0)


def can_rank(loaded: loading.Loaded) -> bool:
  """Whether the first stage of a system has embeddings of both kinds."""
  network = loaded.stages[0].model.network
  return isinstance(network, delayed.DelayedDecoderConfig)


def _shape(stream: specs.Stream, spec: specs.StageSpec) -> tuple[int, ...]:
  return stream.num_frames(spec.crop_seconds), *stream.frame_shape


def similarities(
  videos: Sequence[np.ndarray], music: Sequence[np.ndarray]
) -> np.ndarray:
  """float64[videos, music], the `score` of each video with each track."""
  return np.array([[score(v, m) for m in music] for v in videos])


def score(video: np.ndarray, music: np.ndarray) -> float:
  """Mean cosine of the windows that both have, in [-1, 1].

  Args:
    video: Result of `Ranker.embed_video`.
    music: Result of `Ranker.embed_music`.
  """
  count = min(len(video), len(music))
  return float((video[:count] * music[:count]).sum(-1).mean())


def ranked(scores: Sequence[float]) -> list[int]:
  """Places of some scores, the best first; equal ones in their order."""
  return sorted(range(len(scores)), key=lambda i: -scores[i])
