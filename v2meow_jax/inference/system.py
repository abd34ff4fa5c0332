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
import os
import pathlib
import time
from typing import Any

import numpy as np

from v2meow_jax import media
from v2meow_jax.extractors.embedded import style_features
from v2meow_jax.files import probe
from v2meow_jax.files import read
from v2meow_jax.inference import loading
from v2meow_jax.inference import pipeline
from v2meow_jax.inference import requests as requests_lib
from v2meow_jax.inference import sound
from v2meow_jax.models.sampling import options

EMBEDDED = pathlib.Path(__file__).parent.parent / 'assets' / 'tiny_system'

Samplings = options.Sampling | Sequence[options.Sampling]
OnProgress = Callable[[str], None]


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
    self.samplings = [
      options.Sampling(temperature=float(s['temperature']))
      for s in self.config['stages']
    ]
    self._sound = sound.levels(
      self.config.get('sound', 'acoustic'),
      [stage.spec.target for stage in self.stages],
    )
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

  def generate(
    self,
    video: requests_lib.VideoLike,
    prompt: str | None = None,
    seed: int = 0,
    *,
    style_audio: media.Audio | None = None,
    sampling: Samplings | None = None,
    rows: int | None = None,
  ) -> media.Audio:
    """Music for a video: mono, and as long as the video to the sample.

    Args:
      video: Path of the video, or its decoded frames.
      prompt: Style in words; None or '' follows the picture alone.
      seed: Seed of every draw; equal inputs and seed give equal samples.
      style_audio: Style as music, in place of a prompt.
      sampling: Options of the sampler, for all stages or one per stage; what
        they leave open is as the system was exported. None: all of it.
      rows: Number of windows in a call of each stage; None: the system's own.
        Other numbers are other programs, which may round otherwise.

    Returns:
      The soundtrack.

    Raises:
      ValueError: An argument is out of range, or a prompt and a music style
        are both given.
      probe.UnsupportedMedia: The file is not a video that can be read.
    """
    return self.run(
      video, prompt, seed, style_audio=style_audio, sampling=sampling, rows=rows
    ).audio

  def generate_batch(
    self,
    videos: Sequence[requests_lib.VideoLike],
    prompts: Sequence[str | None] | None = None,
    seeds: Sequence[int] | None = None,
    *,
    sampling: Samplings | None = None,
    rows: int | None = None,
  ) -> list[media.Audio]:
    """One soundtrack per video; each equals what `generate` alone gives.

    Windows of all videos share calls of `rows` rows; see `generate`.
    """
    prompts = prompts or [None] * len(videos)
    seeds = seeds or [0] * len(videos)
    requests = [
      requests_lib.Request(video=v, prompt=p, seed=s)
      for v, p, s in zip(videos, prompts, seeds, strict=True)
    ]
    soundtracks = self.run_batch(requests, sampling=sampling, rows=rows)
    return [soundtrack.audio for soundtrack in soundtracks]

  def run(
    self,
    video: requests_lib.VideoLike,
    prompt: str | None = None,
    seed: int = 0,
    *,
    style_audio: media.Audio | None = None,
    sampling: Samplings | None = None,
    rows: int | None = None,
    on_progress: OnProgress = lambda part: None,
  ) -> requests_lib.Soundtrack:
    """`generate`, and how the music came about; see `run_batch`."""
    request = requests_lib.Request(
      video=video, prompt=prompt, seed=seed, style_audio=style_audio
    )
    return self.run_batch(
      [request], sampling=sampling, rows=rows, on_progress=on_progress
    )[0]

  def run_batch(
    self,
    requests: Sequence[requests_lib.Request],
    *,
    sampling: Samplings | None = None,
    rows: int | None = None,
    on_progress: OnProgress = lambda part: None,
  ) -> list[requests_lib.Soundtrack]:
    """Soundtracks of several requests, whose windows share calls.

    Args:
      requests: Videos with their prompts and seeds.
      sampling: As in `generate`.
      rows: As in `generate`.
      on_progress: Called with the name of the part at work, once for each call
        of a stage.

    Returns:
      One soundtrack per request, whatever the others are.

    Raises:
      ValueError: As in `generate`.
      probe.UnsupportedMedia: As in `generate`.
    """
    samplings, windows = self.resolve(sampling, rows)
    clock = _Clock()
    with clock('streams'):
      clips = self._read(requests, on_progress)
    for stage, chosen, window in zip(
      self.stages, samplings, windows, strict=True
    ):
      name = stage.spec.name
      with clock(name):
        written = pipeline.sample_stage(
          stage,
          [
            pipeline.ClipInputs(
              streams=streams,
              seconds=seconds,
              key=pipeline.stage_key(request.seed, name),
            )
            for request, (streams, seconds) in zip(requests, clips, strict=True)
          ],
          sampling=chosen,
          windows=window,
          on_call=functools.partial(on_progress, name),
        )
        for (streams, _), codes in zip(clips, written, strict=True):
          streams[stage.spec.target.name] = codes
    with clock('codec'):
      on_progress('codec')
      sounds = [
        sound.decode(self.codec, streams, self._sound, seconds)
        for streams, seconds in clips
      ]
    names = [stage.spec.name for stage in self.stages]
    facts = {
      'system': self.config['name'],
      'system_sha256': self.digest,
      'sampling': dict(
        zip(names, map(dataclasses.asdict, samplings), strict=True)
      ),
      'rows': dict(zip(names, (w.rows for w in windows), strict=True)),
      'licences': self.config['licences'],
    }
    return [
      requests_lib.Soundtrack(
        audio=audio,
        codes=codes,
        streams=streams,
        seconds_per_part=clock.seconds,
        settings={**request.describe(), **facts},
      )
      for request, (streams, _), (audio, codes) in zip(
        requests, clips, sounds, strict=True
      )
    ]

  def resolve(
    self, sampling: Samplings | None, rows: int | None
  ) -> tuple[list[options.Sampling], list[options.Windows]]:
    """Settings of each stage: those given, over the system's own.

    Raises:
      ValueError: A setting is out of range, or they do not fit the stages.
    """
    if sampling is None or isinstance(sampling, options.Sampling):
      sampling = [sampling or options.Sampling()]
    names = [stage.spec.name for stage in self.stages]
    given = list(sampling) * (len(names) if len(sampling) == 1 else 1)
    if len(given) != len(names):
      raise ValueError(
        f'{len(given)} temperatures for {len(names)} stages; wanted one for'
        f' all, or one per stage: {", ".join(names)}.'
      )
    fewest = min(s.spec.target.codebook_size for s in self.stages)
    for top_k in (s.top_k for s in given):
      if top_k is not None and not 1 <= top_k <= fewest:
        raise ValueError(
          f'top_k is {top_k}; wanted 1 to {fewest}, the codes of the smallest'
          ' stage, or none at all.'
        )
    more = {} if rows is None else {'rows': rows}
    return (
      [s.over(own) for s, own in zip(given, self.samplings, strict=True)],
      [dataclasses.replace(w, **more) for w in self.windows],
    )

  def _read(
    self, requests: Sequence[requests_lib.Request], on_progress: OnProgress
  ) -> list[tuple[dict[str, np.ndarray], float]]:
    """Streams and length of each clip; takes of one video share its reading."""
    visual, clips = {}, []
    for request in requests:
      video, style = request.video, request.prompt or request.style_audio
      on_progress('streams')
      if id(video) not in visual:
        visual[id(video)] = self._visual_streams(video)
      streams, seconds = visual[id(video)]
      if style or 'style' in self.streams:
        streams = {**streams, 'style': self._style(style)}
      clips.append(({**streams}, seconds))
    return clips

  def _visual_streams(
    self, video: requests_lib.VideoLike
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

  def _style(self, given: str | media.Audio | None) -> np.ndarray:
    """float32[1, dim]; zeros, as dropped in training, when none is given."""
    if given is None:
      return np.zeros((1, self.streams['style'].dim), np.float32)
    is_text = isinstance(given, str)
    name = 'style_text' if is_text else 'style'
    if name not in self._styles:
      kind = 'text' if is_text else 'music'
      raise ValueError(
        f'the system {self.config["name"]!r} has no network for a style given'
        f' as {kind}; leave it out, or export the system with one.'
      )
    return self._styles[name](given)


def folder(path: str | os.PathLike[str] | None = None) -> pathlib.Path:
  """Of a system; None or 'embedded': the embedded default."""
  return pathlib.Path(path) if path and path != 'embedded' else EMBEDDED


def load(path: str | os.PathLike[str] | None = None) -> System:
  """A system from a folder; None or 'embedded': the embedded default."""
  return System(folder(path))


class _Clock:
  """Wall time by part."""

  def __init__(self):
    self.seconds: dict[str, float] = {}

  @contextlib.contextmanager
  def __call__(self, part: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    self.seconds[part] = round(time.perf_counter() - start, 3)
