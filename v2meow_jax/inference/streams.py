"""From requests to streams of whole clips, piece by piece of the video."""

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
from typing import Any

import numpy as np

from v2meow_jax import media
from v2meow_jax import specs
from v2meow_jax.extractors.embedded import color_motion
from v2meow_jax.extractors.planning import analysis
from v2meow_jax.extractors.planning import plan as plan_lib
from v2meow_jax.extractors.planning import plan_stream
from v2meow_jax.extractors.planning import planner
from v2meow_jax.extractors.planning import pulsing_picture
from v2meow_jax.extractors.planning import themes
from v2meow_jax.files import probe
from v2meow_jax.files import read as media_read
from v2meow_jax.inference import loading
from v2meow_jax.inference import pipeline
from v2meow_jax.inference import requests as requests_lib
from v2meow_jax.inference import style as style_lib

OnPiece = Callable[[float], None]


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Seen:
  """What was read of a video.

  Attributes:
    streams: Visual streams by name; those that a plan replaces only where a
      request wants them.
    seconds: Length of the video, in seconds.
    analysis: Analysis for plans; None where no request wants one.
  """

  streams: Mapping[str, np.ndarray]
  seconds: float
  analysis: analysis.Analysis | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReadRequest:
  """A request whose media are read: all that stages and codec need of it.

  Attributes:
    clip: Streams of the clip; the stages add theirs.
    plan: Plan that the music follows, if any.
    settings: Seed, prompt and the like, for a sidecar.
    not_used: Reasons why parts of the request say nothing, by their name.
  """

  clip: pipeline.ClipStreams
  plan: plan_lib.MusicPlan | None
  settings: Mapping[str, Any]
  not_used: Mapping[str, str]


def read_requests(
  requests: Sequence[requests_lib.Request],
  loaded: loading.Loaded,
  on_piece: OnPiece = lambda seconds: None,
) -> list[ReadRequest]:
  """`read` without the parts of requests that say nothing."""
  # Loads no network of style without need.
  unusable = [
    style_lib.unusable(request, loaded.styles) if request.has_style else {}
    for request in requests
  ]
  usable = list(map(style_lib.without, requests, unusable))
  clips, plans = read(usable, loaded, on_piece)
  return [
    ReadRequest(
      clip=clip, plan=plan, settings=request.describe(), not_used=reasons
    )
    for request, reasons, clip, plan in zip(
      requests, unusable, clips, plans, strict=True
    )
  ]


def read(
  requests: Sequence[requests_lib.Request],
  loaded: loading.Loaded,
  on_piece: OnPiece = lambda seconds: None,
) -> tuple[list[pipeline.ClipStreams], list[plan_lib.MusicPlan | None]]:
  """Extracts what the stages of a system read; takes of a video share its work.

  `on_piece` is called with the length of each piece of a video that is read, in
  seconds, for progress.

  Returns:
    The streams and the plan that they follow, if any, of each request.

  Raises:
    ValueError: The system has no extractor for a style, or cannot follow the
      plan that a request gives.
    probe.UnsupportedMedia: A file is not a video that can be read.
  """
  follows = [music_follows(request.plan, loaded) for request in requests]
  if any(request.prompt or request.negative for request in requests):
    check_words(loaded)
  sees_look = any(
    isinstance(e, color_motion.Appearance) for e in loaded.extractors.values()
  )
  seen: dict[int, _Seen] = {}
  of_plans: dict[
    tuple[plan_lib.MusicPlan | None, float], dict[str, np.ndarray]
  ] = {}
  clips, plans = [], []
  for request, is_planned in zip(requests, follows, strict=True):
    video = request.video
    if id(video) not in seen:
      same = [
        (other.plan, f)
        for other, f in zip(requests, follows, strict=True)
        if other.video is video
      ]
      seen[id(video)] = _visual(
        video,
        loaded,
        with_motion=not all(f for _, f in same),
        plans=[plan for plan, f in same if f],
        on_piece=on_piece,
      )
    found = seen[id(video)]
    plan = _plan(request, found, sees_look) if is_planned else None
    key = plan, found.seconds
    if key not in of_plans:
      of_plans[key] = _of_plan(plan, loaded, found.seconds)
    streams = {**found.streams, **of_plans[key]}
    styles, starts = _styles(request, plan, loaded)
    if plan is not None and _planned(loaded):
      streams |= _unseen(streams, styles, starts, loaded)
    openings = {} if 'style' in loaded.streams else _openings(request, loaded)
    clips.append(
      pipeline.ClipStreams(
        streams={**streams, **styles},
        seconds=found.seconds,
        seed=request.seed,
        style_starts=starts,
        returns=themes.returns(plan) if _planned(loaded) else (),
        openings=openings,
      )
    )
    if request.negative is not None:
      clips[-1].negative['style'] = style_lib.vector(
        request.negative, loaded.styles
      )
    plans.append(plan)
  return clips, plans


def _moving(loaded: loading.Loaded) -> dict[str, color_motion.Motion]:
  """Extractors of motion, which a plan stands in for."""
  return {
    name: e
    for name, e in loaded.extractors.items()
    if isinstance(e, color_motion.Motion) and name in loaded.config['visual']
  }


def _planned(loaded: loading.Loaded) -> dict[str, plan_stream.PlanStream]:
  """Extractors of plans, of systems whose stages were trained on them."""
  return {
    name: e
    for name, e in loaded.extractors.items()
    if isinstance(e, plan_stream.PlanStream) and name in loaded.config['visual']
  }


def check_words(loaded: loading.Loaded) -> None:
  """Raises ValueError where a style in words can say nothing to a system."""
  if 'style' in loaded.streams:
    return
  instead = ''
  if _prefix_frames(loaded):
    instead = '; --style-audio gives it music whose style it goes on with'
  raise ValueError(
    f'no stage of the system {loaded.config["name"]!r} reads a style, so that a'
    f' prompt would say nothing; leave it out{instead}.'
  )


def music_follows(plan: requests_lib.PlanLike, loaded: loading.Loaded) -> bool:
  """Whether music follows a plan, where this is asked for.

  Raises:
    ValueError: The system can follow no plan, or nothing else.
  """
  planned = _planned(loaded)
  can = bool(planned or _moving(loaded))
  if not can and plan not in (None, planner.FROM_PICTURE):
    raise ValueError(
      f'the system {loaded.config["name"]!r} reads no stream of kind'
      " 'plan' or 'motion', by which it could follow a plan, a tempo or a key;"
      ' leave out --plan, --bpm and --key, or choose a system that does, such as'
      ' songs.'
    )
  others = set(loaded.config['visual']) - set(planned)
  if plan is None and planned and not others:
    raise ValueError(
      f'the system {loaded.config["name"]!r} knows a video by its plan alone,'
      ' so that without one its music would follow nothing; leave out'
      ' --no_plan, or choose the tiny system (--system tiny).'
    )
  return can and plan is not None


def _visual(
  video: requests_lib.VideoLike,
  loaded: loading.Loaded,
  *,
  with_motion: bool,
  plans: Sequence[requests_lib.PlanLike],
  on_piece: OnPiece,
) -> _Seen:
  """Reads a video once: its visual streams, and its analysis for plans."""
  config = loaded.config
  pieces: Iterable[media.Video]
  clip: probe.MediaInfo | media.Video
  if isinstance(video, media.Video):
    clip = video
    pieces = clip.pieces(config['piece_seconds'])
  else:
    clip = probe.probe_video(video)
    pieces = media_read.iter_video(
      clip,
      piece_seconds=config['piece_seconds'],
      max_side=config['max_side'],
    )
  for plan in plans:
    requests_lib.check_plan(plan, clip)
  with_analysis = any(isinstance(plan, planner.Wishes) for plan in plans)
  left_out = set() if with_motion else set(_moving(loaded))
  names = [
    name
    for name in config['visual']
    if name in loaded.extractors and name not in {*left_out, *_planned(loaded)}
  ]
  parts: dict[str, list[np.ndarray]] = {name: [] for name in names}
  analyser = analysis.PictureAnalyser()
  for piece in pieces:
    for name in names:
      parts[name].append(loaded.extractors[name](piece))
    if with_analysis:
      analyser.add(piece)
    on_piece(piece.seconds)
  return _Seen(
    streams={n: np.concatenate(p) for n, p in parts.items()},
    seconds=clip.seconds,
    analysis=analyser.analysis() if with_analysis else None,
  )


def _plan(
  request: requests_lib.Request, seen: _Seen, look_decides: bool
) -> plan_lib.MusicPlan:
  """The plan of a request: its own, or one that is made of the picture."""
  if isinstance(request.plan, plan_lib.MusicPlan):
    return request.plan
  assert seen.analysis is not None
  assert request.plan is not None
  return planner.plan(
    seen.analysis,
    prompt=request.prompt,
    wishes=request.plan,
    look_decides=look_decides,
  )


def _of_plan(
  plan: plan_lib.MusicPlan | None, loaded: loading.Loaded, seconds: float
) -> dict[str, np.ndarray]:
  """The streams that tell a plan, to the end of the last window.

  What a stage was trained without while it read a plan, or the plan while it
  read that, is zeros. Stages that read no plan are shown a picture of it.
  """
  extractors, moving = _planned(loaded), _moving(loaded)
  if plan is None:
    return {name: _zeros(e.stream, seconds) for name, e in extractors.items()}
  last = max(
    pipeline.window_starts(
      seconds,
      stage.spec.crop_seconds,
      stage.model.sampler.windows.prefix_seconds,
    )[-1]
    + stage.spec.crop_seconds
    for stage in loaded.stages
  )
  if extractors and themes.returns(plan):
    # Windows begin anew after what is heard again.
    last = seconds + max(stage.spec.crop_seconds for stage in loaded.stages)
  if extractors:
    longer = plan_lib.continued(plan, last)
    return {
      **{name: _zeros(e.stream, seconds) for name, e in moving.items()},
      **{name: extract(longer) for name, extract in extractors.items()},
    }
  parts: dict[str, list[np.ndarray]] = {name: [] for name in moving}
  pieces = pulsing_picture.video(plan, last, loaded.config['piece_seconds'])
  for piece in pieces:
    for name, extract in moving.items():
      parts[name].append(extract(piece))
  return {name: np.concatenate(p) for name, p in parts.items()}


def _unseen(
  streams: Mapping[str, np.ndarray],
  styles: Mapping[str, np.ndarray],
  starts: Sequence[float],
  loaded: loading.Loaded,
) -> dict[str, np.ndarray]:
  """Appearance, with zeros in sections whose style is known.

  A stage has learnt appearance from drawn pictures alone. Where a style and a
  plan say all that music needs, films need not look like these.
  """
  hidden: dict[str, np.ndarray] = {}
  if not styles:
    return hidden
  for name, extract in loaded.extractors.items():
    if isinstance(extract, color_motion.Appearance) and name in streams:
      frames = streams[name].copy()
      times = (np.arange(len(frames)) + 0.5) / extract.stream.rate_hz
      section = np.searchsorted(starts, times, 'right') - 1
      frames[styles['style'].any(1)[section]] = 0
      hidden[name] = frames
  return hidden


def _zeros(stream: specs.FeatureSpec, seconds: float) -> np.ndarray:
  num_frames = max(1, round(seconds * stream.rate_hz))
  return np.zeros((num_frames, stream.dim), np.float32)


def _styles(
  request: requests_lib.Request,
  plan: plan_lib.MusicPlan | None,
  loaded: loading.Loaded,
) -> tuple[dict[str, np.ndarray], tuple[float, ...]]:
  """The style of a request, or those of the sections of its plan."""
  style = request.prompt or request.style_audio
  if isinstance(style, media.Audio) and _prefix_frames(loaded):
    return {}, (0.0,)
  if style is not None:
    return {'style': style_lib.vector(style, loaded.styles)}, (0.0,)
  if 'style' not in loaded.streams:
    return {}, (0.0,)
  # Zeros, as dropped in training.
  none = np.zeros((1, loaded.streams['style'].dim), np.float32)
  if plan is None or not any(section.prompt for section in plan.sections):
    return {'style': none}, (0.0,)
  vectors = [
    style_lib.vector(section.prompt, loaded.styles)
    if section.prompt and style_lib.is_known(section.prompt, loaded.styles)
    else none
    for section in plan.sections
  ]
  starts = tuple(section.start_seconds for section in plan.sections)
  return {'style': np.concatenate(vectors)}, starts


def _prefix_frames(loaded: loading.Loaded) -> int:
  """Frames of music that a system takes up in context; 0: it does not.

  Systems whose music is latents, and that have no stream of style.
  """
  stage = loaded.stages[-1]
  target = stage.spec.target
  if 'style' in loaded.streams or not isinstance(target, specs.FeatureSpec):
    return 0
  return stage.model.sampler.windows.prefix_frames(target)


def _openings(
  request: requests_lib.Request, loaded: loading.Loaded
) -> dict[str, np.ndarray]:
  """Latents of the beginning of a music style, repeated where it is short."""
  music, num_frames = request.style_audio, _prefix_frames(loaded)
  if music is None or not num_frames:
    return {}
  codec = loaded.codec
  if music.rate_hz != codec.sample_rate_hz:
    raise ValueError(
      f'the music style has {music.rate_hz} samples a second; wanted'
      f' {codec.sample_rate_hz}, the rate of the system: see style_rate_hz.'
    )
  samples = np.resize(music.samples, num_frames * codec.hop_samples)
  latents = np.asarray(codec.encode(samples[None].astype(np.float32)))[0]
  return {loaded.stages[-1].spec.target.name: latents}
