"""What is asked of a system and what it gives: a request, a soundtrack."""

from collections.abc import Iterator
from collections.abc import Sequence
import contextlib
import dataclasses
import functools
import hashlib
import os
import time
from typing import Any
import unicodedata

import numpy as np

from v2meow_jax import media
from v2meow_jax.extractors.planning import plan as plan_lib
from v2meow_jax.extractors.planning import planner
from v2meow_jax.files import probe
from v2meow_jax.files.films import film_part

MAX_PROMPT_CHARACTERS = 2000

VideoLike = str | os.PathLike[str] | media.Video
PlanLike = plan_lib.MusicPlan | planner.Wishes | None
FROM_PICTURE = planner.FROM_PICTURE

# A plan may be this far from the length of the clip it is followed for.
_SAME_SECONDS = 0.1


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request:
  """A video that wants music.

  Attributes:
    video: Path of the video, its description (`probe.MediaInfo`), or its
      decoded frames.
    prompt: Style in words; None or '' follows the picture alone.
    seed: Seed of every draw; equal requests give equal samples.
    style_audio: Style as music, in place of a prompt.
    negative: Style in words that the music is to avoid; it acts by the weight
      `style_guidance` of the sampler.
    plan: Plan to follow, or wishes for one that is made of the picture; None:
      the stages read the motion of the picture itself. A system that cannot
      follow plans does so, too, unless there is a wish.
  """

  video: VideoLike
  prompt: str | None = None
  seed: int = 0
  style_audio: media.Audio | None = None
  negative: str | None = None
  plan: PlanLike = FROM_PICTURE

  def __post_init__(self):
    object.__setattr__(self, 'prompt', clean_prompt(self.prompt))
    object.__setattr__(self, 'negative', clean_prompt(self.negative))
    if self.prompt and self.style_audio is not None:
      raise ValueError(
        'both a prompt and a music style were given; choose one.'
      )

  @property
  def has_style(self) -> bool:
    """Whether it, or the plan that it gives, says anything of style."""
    if self.prompt or self.negative or self.style_audio is not None:
      return True
    plan = self.plan
    return isinstance(plan, plan_lib.MusicPlan) and any(
      section.prompt for section in plan.sections
    )

  def describe(self) -> dict[str, Any]:
    """Settings for a sidecar; a music style is named by its digest."""
    style = self.style_audio
    digest = style and hashlib.sha256(style.samples.tobytes()).hexdigest()
    return {
      'seed': self.seed,
      'prompt': self.prompt,
      'negative': self.negative,
      'style_audio_sha256': digest,
    }


@dataclasses.dataclass(frozen=True, kw_only=True)
class Soundtrack:
  """The music of a video and how it came about.

  Attributes:
    audio: Sound as long as the video, to the sample.
    codes: Codes of the codec, int32[frames, levels].
    streams: Inputs and outputs of the stages, by name, [frames, dim | levels];
      outputs may reach beyond the end of the clip.
    seconds_per_part: Wall time of each part, for the whole batch.
    settings: Seed, prompt, plan, sampling, rows and the system's digest;
      'not_used' has the reasons why parts of the request say nothing.
    seconds: Length of the video, in seconds.
    plan: Plan that it follows, if any.
  """

  audio: media.Audio
  codes: np.ndarray
  streams: dict[str, np.ndarray]
  seconds_per_part: dict[str, float]
  settings: dict[str, Any]
  seconds: float
  plan: plan_lib.MusicPlan | None = None


def probed(requests: Sequence[Request]) -> list[Request]:
  """Requests whose files are described: each is scanned once."""
  described = functools.cache(probe.probe_video)
  return [
    request
    if isinstance(request.video, media.Video)
    else dataclasses.replace(request, video=described(request.video))
    for request in requests
  ]


class PartClock:
  """Measures the wall time of each part.

  Attributes:
    seconds: Wall time of each part that has ended, by its name.
  """

  def __init__(self):
    """Starts with no part."""
    self.seconds: dict[str, float] = {}

  @contextlib.contextmanager
  def __call__(self, part: str) -> Iterator[None]:
    """Measures what is done inside."""
    start = time.perf_counter()
    yield
    self.seconds[part] = round(time.perf_counter() - start, 3)


def check_plan(
  plan: PlanLike,
  clip: probe.MediaInfo | media.Video,
  *,
  takes_parts: bool = True,
) -> None:
  """Raises ValueError where a plan is given that is for another clip.

  Args:
    plan: Plan of a request, or wishes for one.
    clip: Video of the request.
    takes_parts: Whether a part of a video may be asked for.
  """
  if not isinstance(plan, plan_lib.MusicPlan):
    return
  if abs(plan.seconds - clip.seconds) > _SAME_SECONDS:
    name = 'video'
    advice = 'plan this video with `v2meow plan`'
    if takes_parts:
      advice += (
        ', or, where the plan is for a part, give the --start and --end that it'
        ' was made with'
      )
    if isinstance(clip, film_part.FilmPart):
      name = 'part of the video'
      advice = 'plan this part: `v2meow plan` with the same --start and --end'
    raise ValueError(
      f'the plan is for a clip of {plan.seconds:g} s, and the {name} has'
      f' {clip.seconds:g} s; {advice}.'
    )


def notes(plan: PlanLike, video_sha256: str) -> dict[str, str]:
  """What is odd about parts of a request that are used all the same.

  Args:
    plan: Plan of the request, or wishes for one.
    video_sha256: Digest of the file of the video.

  Returns:
    Sentences without a subject and a full stop, by the name of the part.
  """
  if not isinstance(plan, plan_lib.MusicPlan):
    return {}
  if plan.video_sha256 in (None, video_sha256):
    return {}
  return {
    'plan': 'was made for another file, or for this video before it was changed'
  }


def clean_prompt(prompt: str | None) -> str | None:
  """A prompt in NFC without control characters; empty means none.

  Raises:
    ValueError: It is longer than 2,000 characters.
  """
  if prompt is None:
    return None
  try:
    # In locales that are not UTF-8, Python holds its bytes as surrogates.
    text = prompt.encode('utf-8', 'surrogateescape').decode('utf-8')
  except UnicodeError:
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
