"""The style vector of a prompt or of music, and when it would mean nothing."""

from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import textwrap

import numpy as np

from v2meow_jax import media
from v2meow_jax.extractors import extractor
from v2meow_jax.extractors.embedded import style_features
from v2meow_jax.extractors.planning import mood
from v2meow_jax.extractors.planning import plan as plan_lib
from v2meow_jax.extractors.planning import planner
from v2meow_jax.inference import requests as requests_lib

# Ours: less than a beat at 60 a minute has no rhythm to take over.
_LEAST_SECONDS = 1.0
_PARTS = ('prompt', 'negative', 'style_audio')


def vector(
  given: str | media.Audio, extractors: Mapping[str, extractor.Extractor]
) -> np.ndarray:
  """The style vector of a prompt or of music, float32[1, dim].

  Raises:
    ValueError: The system has no network for it.
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


def rate_hz(extractors: Mapping[str, extractor.Extractor]) -> int:
  """Samples a second at which music is best given as a style."""
  default = style_features.SAMPLE_RATE_HZ
  return getattr(extractors.get('style'), 'sample_rate_hz', default)


def is_known(text: str, extractors: Mapping[str, extractor.Extractor]) -> bool:
  """Whether the network of prompts, if there is one, knows words of a text."""
  knows = getattr(extractors.get('style_text'), 'knows', None)
  return knows is None or knows(text)


def unusable(
  request: requests_lib.Request, extractors: Mapping[str, extractor.Extractor]
) -> dict[str, str]:
  """Reasons why parts of a request say nothing about style, by their name.

  Of what a network has never met, or cannot hear, it makes a vector like any
  other, and music would follow that as it follows noise.
  """
  reasons = {}
  for name in ('prompt', 'negative'):
    text = getattr(request, name)
    if text and not is_known(text, extractors):
      reasons[name] = 'the system knows none of its words'
  music = request.style_audio
  if music is not None and music.seconds < _LEAST_SECONDS:
    reasons['style_audio'] = (
      f'it is {music.seconds:.3g} s long; wanted {_LEAST_SECONDS:g} s or more'
    )
  elif music is not None and music.is_silent:
    reasons['style_audio'] = 'it is silent'
  if isinstance(request.plan, plan_lib.MusicPlan):
    reasons |= _unusable_sections(request, request.plan, reasons, extractors)
  elif request.prompt and request.plan is not None:
    if not request.plan.bpm:
      reasons |= _unusable_tempo(request.prompt)
    if not request.plan.key:
      reasons |= _unusable_key(request.prompt)
  return reasons


def _unusable_sections(
  request: requests_lib.Request,
  plan: plan_lib.MusicPlan,
  reasons: Mapping[str, str],
  extractors: Mapping[str, extractor.Extractor],
) -> dict[str, str]:
  """The reason why prompts of a plan's sections say nothing, if so."""
  prompts = [section.prompt for section in plan.sections if section.prompt]
  for name in ('prompt', 'style_audio'):
    if prompts and getattr(request, name) and name not in reasons:
      return {'section_prompts': f'the {name.replace("_", " ")} wins'}
  unknown = [text for text in prompts if not is_known(text, extractors)]
  if not unknown:
    return {}
  return {'section_prompts': f'the system knows no word of {_quoted(unknown)}'}


def _unusable_tempo(prompt: str) -> dict[str, str]:
  """The reason why a tempo in a prompt says nothing, if so."""
  bpm = mood.bpm_of_prompt(prompt)
  if bpm is None or planner.tempo_in_range(bpm):
    return {}
  least, most = plan_lib.MIN_BPM, plan_lib.MAX_BPM
  reason = f'it is {bpm:g} bpm; wanted {least:g} to {most:g}'
  return {'tempo_of_prompt': reason}


def _unusable_key(prompt: str) -> dict[str, str]:
  """The reason why a key in a prompt says nothing, if so."""
  if (key := mood.unknown_key(prompt)) is None:
    return {}
  return {
    'key_of_prompt': f"'{key}' is none; wanted one such as 'E flat minor'"
  }


def _quoted(texts: Sequence[str]) -> str:
  """The first of some texts, shortened, and how many others there are."""
  shown = repr(textwrap.shorten(texts[0], 40))
  return shown if len(texts) == 1 else f'{shown} and {len(texts) - 1} others'


def without(
  request: requests_lib.Request, names: Mapping[str, str]
) -> requests_lib.Request:
  """A request without some of its parts; a plan is kept as it is."""
  parts = [name for name in names if name in _PARTS]
  return dataclasses.replace(request, **dict.fromkeys(parts))
