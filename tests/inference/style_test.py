"""What says nothing about style is left out, and said."""

import types

import numpy as np
import pytest

from v2meow_jax import media
from v2meow_jax.extractors import text_music
from v2meow_jax.extractors.planning import plan as plan_lib
from v2meow_jax.extractors.planning import planner
from v2meow_jax.inference import pipeline
from v2meow_jax.inference import requests
from v2meow_jax.inference import sound
from v2meow_jax.inference import style
from v2meow_jax.inference import system

VIDEO = media.Video(
  frames=np.full((5, 32, 32, 3), 80, np.uint8),
  times=np.arange(5) / 5,
  seconds=1.0,
)
RATE_HZ = 16_000


def music(seconds, peak=0.5):
  time = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
  wave = peak * np.sin(2 * np.pi * 440 * time).astype(np.float32)
  return media.Audio(samples=wave, rate_hz=RATE_HZ)


def request(**fields):
  return requests.Request(video=VIDEO, **fields)


@pytest.fixture(scope='module')
def embedded():
  return system.load('tiny')


@pytest.mark.parametrize(
  ('fields', 'reason'),
  [
    ({'style_audio': music(0.01)}, '0.01 s long'),
    ({'style_audio': music(5, peak=0.0)}, 'silent'),
    ({'style_audio': music(5, peak=5e-4)}, 'silent'),
    ({'prompt': 'zxqv brgl'}, 'none of its words'),
    ({'prompt': '?!'}, 'none of its words'),
    ({'negative': 'zxqv brgl'}, 'none of its words'),
  ],
)
def test_what_says_nothing_has_a_reason(fields, reason, embedded):
  found = style.unusable(request(**fields), embedded.styles)
  assert list(found) == list(fields)
  assert reason in found[list(fields)[0]]


def test_what_says_something_is_used(embedded):
  for fields in (
    {'style_audio': music(1.0)},
    {'style_audio': music(5, peak=0.01)},
    {'prompt': 'calm piano', 'negative': 'drums'},
    {'prompt': 'zxqv, but with guitars'},
    {'prompt': 'house at 120 bpm'},
    {'prompt': 'house at 20 bpm', 'plan': None},
    {'prompt': 'zxqv jazz at 20 bpm', 'plan': planner.Wishes(bpm=99)},
    {'plan': planned(None, 'calm piano')},
    {'plan': planned(None), 'prompt': 'calm piano'},
    {},
  ):
    assert style.unusable(request(**fields), embedded.styles) == {}


def planned(*prompts):
  starts = np.linspace(0, 1, len(prompts), endpoint=False)
  return plan_lib.MusicPlan(
    seconds=1.0,
    tempo_bpm=120.0,
    beats_per_bar=4,
    source='given',
    beats=(plan_lib.Beat(seconds=0.0, downbeat=True, energy=0.5),),
    sections=tuple(
      plan_lib.Section(
        start_seconds=float(start), mood='', energy=0.5, prompt=prompt
      )
      for start, prompt in zip(starts, prompts, strict=True)
    ),
  )


@pytest.mark.parametrize(
  ('fields', 'name', 'reason'),
  [
    ({'plan': planned('zxqv', 'jazz')}, 'section_prompts', "of 'zxqv'"),
    ({'plan': planned('zx', 'qv')}, 'section_prompts', 'and 1 others'),
    (
      {'plan': planned('jazz'), 'prompt': 'calm piano'},
      'section_prompts',
      'the prompt wins',
    ),
    (
      {'plan': planned('jazz'), 'style_audio': music(2)},
      'section_prompts',
      'the style audio wins',
    ),
    ({'prompt': 'house at 20 bpm'}, 'tempo_of_prompt', '20 bpm; wanted 50'),
    ({'prompt': 'house in H minor'}, 'key_of_prompt', "'h minor' is none"),
    ({'prompt': 'house in Xb major'}, 'key_of_prompt', "'xb major' is none"),
  ],
)
def test_what_a_plan_leaves_out_has_a_reason(fields, name, reason, embedded):
  found = style.unusable(request(**fields), embedded.styles)
  assert list(found) == [name] and reason in found[name]
  whole = request(**fields)
  assert style.without(whole, found) == whole


def test_networks_of_others_know_every_word():
  network = types.SimpleNamespace(dim=4, sample_rate_hz=RATE_HZ)
  stream = types.SimpleNamespace(name='style', dim=4, is_static=True)
  text = text_music.TextStyle(stream, network)
  assert text.knows('zxqv') and not text.knows('...')


def test_a_style_that_says_nothing_is_as_none_and_said(embedded, monkeypatch):
  styles = []

  def sample(stage, clips, **_):
    if stage.spec.name == 'semantic':
      styles.extend(clip.streams['style'] for clip in clips)
    return [np.zeros((25, 2), np.int32) for _ in clips]

  monkeypatch.setattr(pipeline, 'sample_stage', sample)
  silence = media.Audio(samples=np.zeros(16_000, np.float32), rate_hz=RATE_HZ)
  monkeypatch.setattr(sound, 'decode', lambda *_: (silence, None))
  prompts = [None, 'zxqv', 'calm piano']
  requests = [request(prompt=prompt, plan=None) for prompt in prompts]
  made = embedded.run_batch(requests)
  assert [bool(vector.any()) for vector in styles] == [False, False, True]
  assert [m.settings['prompt'] for m in made] == prompts
  assert [list(m.settings['not_used']) for m in made] == [[], ['prompt'], []]
