"""A released system: a folder of weights and config. The Python API.

>>> from v2meow_jax.inference import system  # doctest: +SKIP
>>> audio = system.load().generate(  # doctest: +SKIP
...   'my.mp4', prompt='calm piano', seed=3
... )
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
import contextlib
import dataclasses
import functools
import hashlib
import math
import os
import pathlib
import time
from typing import Any
import unicodedata

import numpy as np

from v2meow_jax import media
from v2meow_jax.extractors.embedded import style_features
from v2meow_jax.files import probe
from v2meow_jax.files import read
from v2meow_jax.files import write
from v2meow_jax.inference import loading
from v2meow_jax.inference import pipeline
from v2meow_jax.models.sampling import options

EMBEDDED = pathlib.Path(__file__).parent.parent / 'assets' / 'tiny_system'
MAX_PROMPT_CHARACTERS = 2000
# Code frames that are decoded at once: 8 s at 25 Hz, a few megabytes.
_PIECE_FRAMES = 200

VideoLike = str | os.PathLike[str] | media.Video


@dataclasses.dataclass(frozen=True, kw_only=True)
class Result:
  """A soundtrack and how it came about.

  Attributes:
    audio: As long as the video, to the sample.
    codes: int32[frames, levels] of the codec.
    streams: Inputs and outputs of the stages, by name, [frames, dim | levels];
      outputs may reach beyond the end of the clip.
    seconds_per_part: Wall time of each part.
    settings: Seed, prompt, sampling and the system's digest.
  """

  audio: media.Audio
  codes: np.ndarray
  streams: dict[str, np.ndarray]
  seconds_per_part: dict[str, float]
  settings: dict[str, Any]


class System:
  """Stages, codec and extractors that belong together."""

  def __init__(self, folder: pathlib.Path):
    """Loads a folder; raises released.DamagedSystem when it is not whole."""
    self._loaded = loading.load(folder)
    self.folder = folder
    self.config = self._loaded.config
    self.digest = self._loaded.digest
    self.stages = self._loaded.stages
    self.windows = self._loaded.windows
    self.streams = self._loaded.streams
    self.extractors = self._loaded.extractors
    self.codec = self._loaded.codec

  @functools.cached_property
  def _styles(self) -> Mapping[str, Any]:
    """The extractors of style: large ones of others once they are needed."""
    return self._loaded.styles

  @property
  def style_rate_hz(self) -> int:
    """Samples a second at which music is best given as a style."""
    return getattr(
      self._styles.get('style'), 'sample_rate_hz', style_features.SAMPLE_RATE_HZ
    )

  @property
  def temperatures(self) -> tuple[float, ...]:
    """Those the system was tuned with, one per stage."""
    return tuple(s['temperature'] for s in self.config['stages'])

  def generate(
    self,
    video: VideoLike,
    prompt: str | None = None,
    seed: int = 0,
    *,
    style_audio: media.Audio | None = None,
    temperatures: Sequence[float] | None = None,
    top_k: int | None = None,
  ) -> media.Audio:
    """Music for a video: mono, and as long as the video to the sample.

    Args:
      video: A path, or decoded frames.
      prompt: Style in words; None or '' follows the picture alone.
      seed: Of every draw; equal inputs and seed give equal samples.
      style_audio: Style as music, in place of a prompt.
      temperatures: One per stage; None: the system's own.
      top_k: Only the k likeliest codes are drawn; None: all.

    Returns:
      The soundtrack.

    Raises:
      ValueError: An argument is out of range, or a prompt and a music style
        are both given.
      probe.UnsupportedMedia: The file is not a video that can be read.
    """
    return self.run(
      video,
      prompt,
      seed,
      style_audio=style_audio,
      temperatures=temperatures,
      top_k=top_k,
    ).audio

  def generate_batch(
    self,
    videos: Sequence[VideoLike],
    prompts: Sequence[str | None] | None = None,
    seeds: Sequence[int] | None = None,
  ) -> list[media.Audio]:
    """One soundtrack per video; each equals what `generate` alone gives."""
    prompts = prompts or [None] * len(videos)
    seeds = seeds or [0] * len(videos)
    return [
      self.generate(v, p, s)
      for v, p, s in zip(videos, prompts, seeds, strict=True)
    ]

  def run(
    self,
    video: VideoLike,
    prompt: str | None = None,
    seed: int = 0,
    *,
    style_audio: media.Audio | None = None,
    temperatures: Sequence[float] | None = None,
    top_k: int | None = None,
    on_progress: Callable[[str], None] = lambda part: None,
  ) -> Result:
    """`generate`, and how it came about; see there.

    `on_progress` is told the name of the part at work, once per window.
    """
    samplings = self._samplings(temperatures, top_k)
    prompt = clean_prompt(prompt)
    if prompt and style_audio is not None:
      raise ValueError(
        'both a prompt and a music style were given; choose one.'
      )
    clock = _Clock()
    with clock('streams'):
      on_progress('streams')
      streams, seconds = self._visual_streams(video)
      if 'style' in self.streams or prompt or style_audio is not None:
        streams['style'] = self._style(prompt, style_audio)
    for stage, windows, sampling in zip(
      self.stages, self.windows, samplings, strict=True
    ):
      with clock(stage.spec.name):
        streams[stage.spec.target.name] = pipeline.sample_stage(
          stage,
          streams,
          seconds=seconds,
          key=pipeline.stage_key(seed, stage.spec.name),
          sampling=sampling,
          windows=windows,
          on_window=functools.partial(on_progress, stage.spec.name),
        )
    with clock('codec'):
      on_progress('codec')
      # Windows reach beyond the end of the clip, each stage's by its own.
      length = math.ceil(seconds * self.codec.stream.rate_hz - 1e-9)
      levels = [streams[name][:length] for name in ('coarse', 'fine')]
      codes = np.concatenate(levels, axis=-1)
      audio = self._decode(codes, seconds)
    settings = {
      'system': self.config['name'],
      'system_sha256': self.digest,
      'seed': seed,
      'prompt': prompt,
      'style_audio_sha256': _digest(style_audio),
      'sampling': {
        stage.spec.name: dataclasses.asdict(sampling)
        for stage, sampling in zip(self.stages, samplings, strict=True)
      },
      'licences': self.config['licences'],
    }
    return Result(
      audio=audio,
      codes=codes,
      streams=streams,
      seconds_per_part=clock.seconds,
      settings=settings,
    )

  def _samplings(
    self, temperatures: Sequence[float] | None, top_k: int | None
  ) -> list[options.Sampling]:
    temperatures = temperatures or self.temperatures
    if len(temperatures) != len(self.stages):
      raise ValueError(
        f'{len(temperatures)} temperatures for {len(self.stages)} stages;'
        ' wanted one per stage: semantic, coarse, fine.'
      )
    fewest = min(s.spec.target.codebook_size for s in self.stages)
    if top_k is not None and not 1 <= top_k <= fewest:
      raise ValueError(
        f'top_k is {top_k}; wanted 1 to {fewest}, the codes of the smallest'
        ' stage, or none at all.'
      )
    return [
      options.Sampling(temperature=float(t), top_k=top_k) for t in temperatures
    ]

  def _visual_streams(
    self, video: VideoLike
  ) -> tuple[dict[str, np.ndarray], float]:
    """Visual streams of the whole clip and its length, piece by piece."""
    names = [n for n in self.config['visual'] if n in self.extractors]
    piece_seconds = self.config['piece_seconds']
    if isinstance(video, media.Video):
      pieces = video.pieces(piece_seconds)
      seconds = video.seconds
    else:
      seconds = probe.probe_video(video).seconds
      pieces = read.iter_video(
        video, piece_seconds=piece_seconds, max_side=self.config['max_side']
      )
    parts: dict[str, list[np.ndarray]] = {name: [] for name in names}
    for piece in pieces:
      for name in names:
        parts[name].append(self.extractors[name](piece))
    return {n: np.concatenate(p) for n, p in parts.items()}, seconds

  def _style(
    self, prompt: str | None, style_audio: media.Audio | None
  ) -> np.ndarray:
    """float32[1, dim]; zeros, as dropped in training, when none is given."""
    given = prompt or style_audio
    if given is None:
      return np.zeros((1, self.streams['style'].dim), np.float32)
    name = 'style_text' if prompt else 'style'
    if name not in self._styles:
      kind = 'text' if prompt else 'music'
      raise ValueError(
        f'the system {self.config["name"]!r} has no network for a style given'
        f' as {kind}; leave it out, or export the system with one.'
      )
    return self._styles[name](given)

  def _decode(self, codes: np.ndarray, seconds: float) -> media.Audio:
    samples = self.codec.decode_in_pieces(codes[None], _PIECE_FRAMES)[0]
    wanted = round(seconds * self.codec.sample_rate_hz)
    audio = write.fit_length(
      media.Audio(samples=samples, rate_hz=self.codec.sample_rate_hz), wanted
    )
    peak = float(np.abs(audio.samples).max(initial=0.0))
    if peak <= 1.0:
      return audio
    return media.Audio(samples=audio.samples / peak, rate_hz=audio.rate_hz)


def folder(path: str | os.PathLike[str] | None = None) -> pathlib.Path:
  """Of a system; None or 'embedded': the embedded default."""
  return pathlib.Path(path) if path and path != 'embedded' else EMBEDDED


def load(path: str | os.PathLike[str] | None = None) -> System:
  """A system from a folder; None or 'embedded': the embedded default."""
  return System(folder(path))


def clean_prompt(prompt: str | None) -> str | None:
  """A prompt in NFC without control characters; empty means none.

  Raises:
    ValueError: It is longer than 2,000 characters.
  """
  if prompt is None:
    return None
  text = prompt.encode('utf-8', 'replace').decode('utf-8')
  text = unicodedata.normalize('NFC', text)
  text = ''.join(
    ' ' if unicodedata.category(c).startswith('C') else c for c in text
  ).strip()
  if len(text) > MAX_PROMPT_CHARACTERS:
    raise ValueError(
      f'the prompt has {len(text)} characters; wanted at most'
      f' {MAX_PROMPT_CHARACTERS}: say it shorter.'
    )
  return text or None


def _digest(audio: media.Audio | None) -> str | None:
  """Of the samples, so that a style can be told from another."""
  if audio is None:
    return None
  return hashlib.sha256(audio.samples.tobytes()).hexdigest()


class _Clock:
  """Wall time by part."""

  def __init__(self):
    self.seconds: dict[str, float] = {}

  @contextlib.contextmanager
  def __call__(self, part: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    self.seconds[part] = round(time.perf_counter() - start, 3)
