"""Which streams a request gets: those of the picture, or those of its plan."""

import dataclasses
import types
from typing import Any

import numpy as np
import pytest

from tests.fakes import pulsing_clips
from v2meow_jax import specs
from v2meow_jax.extractors.embedded import color_motion
from v2meow_jax.extractors.planning import plan as plan_lib
from v2meow_jax.extractors.planning import plan_stream
from v2meow_jax.extractors.planning import planner
from v2meow_jax.inference import pipeline
from v2meow_jax.inference import requests as requests_lib
from v2meow_jax.inference import streams

pytestmark = pytest.mark.slow

MOTION = color_motion.Motion(
  specs.FeatureSpec(name='motion', dim=32, rate_hz=12.5),
  {'mean': np.zeros(16, np.float32), 'std': np.ones(16, np.float32)},
)
APPEARANCE = color_motion.Appearance(
  specs.FeatureSpec(name='appearance', dim=96, rate_hz=2.5),
  {'mean': np.zeros(96, np.float32), 'std': np.ones(96, np.float32)},
)
PLAN = plan_stream.PlanStream(
  specs.FeatureSpec(name='plan', dim=28, rate_hz=25.0)
)
STYLE = specs.FeatureSpec(name='style', dim=3, rate_hz=0.0)


class Counted:
  """An extractor of style that gives each prompt a vector of its own."""

  def __init__(self):
    self.prompts = []

  def __call__(self, prompt):
    self.prompts.append(prompt)
    return np.full((1, 3), len(self.prompts), np.float32)


def system_of(*extractors) -> Any:
  windows = types.SimpleNamespace(prefix_seconds=2.0)
  sampler = types.SimpleNamespace(windows=windows)
  stage = types.SimpleNamespace(
    spec=types.SimpleNamespace(crop_seconds=10.0),
    model=types.SimpleNamespace(sampler=sampler),
  )
  return types.SimpleNamespace(
    extractors={e.stream.name: e for e in extractors},
    config={
      'name': 'made up',
      'visual': [e.stream.name for e in extractors],
      'piece_seconds': 10.0,
      'max_side': 128,
    },
    streams={'style': STYLE},
    stages=[stage],
    styles={'style_text': Counted()},
  )


@pytest.fixture(scope='module')
def video():
  return pulsing_clips.video(11.0, cuts=(4.4,), drift=0.5)


def test_without_a_plan_the_motion_is_that_of_the_picture(video):
  request = requests_lib.Request(video=video, plan=None)
  ((clip,), (plan,)) = streams.read([request], system_of(MOTION))
  whole = np.concatenate([MOTION(piece) for piece in video.pieces(10.0)])
  np.testing.assert_array_equal(clip.streams['motion'], whole)
  assert plan is None and not clip.streams['style'].any()


def test_with_a_plan_the_motion_goes_on_to_the_end_of_the_last_window(video):
  requests = [
    requests_lib.Request(video=video),
    requests_lib.Request(video=video, plan=None),
    requests_lib.Request(video=video, plan=planner.Wishes(bpm=120)),
  ]
  clips, plans = streams.read(requests, system_of(MOTION))
  # Windows of 10 s that overlap by 2 s: the second ends at 18 s.
  assert [len(c.streams['motion']) for c in clips] == [225, 137, 225]
  assert plans[0] is not None and plans[1] is None
  assert plans[2] is not None and plans[2].tempo_bpm == 120
  alone, _ = streams.read(requests[:1], system_of(MOTION))
  np.testing.assert_array_equal(
    alone[0].streams['motion'], clips[0].streams['motion']
  )


def test_a_plan_for_another_clip_is_refused(video):
  _, (plan,) = streams.read(
    [requests_lib.Request(video=video)], system_of(MOTION)
  )
  assert plan is not None
  other = dataclasses.replace(plan, seconds=20.0)
  read = []
  with pytest.raises(ValueError, match='clip of 20 s, and the video has 11 s'):
    streams.read(
      [requests_lib.Request(video=video, plan=other)],
      system_of(MOTION),
      read.append,
    )
  assert not read


def test_a_system_that_reads_no_motion_refuses_a_wish_and_plans_nothing(video):
  wish = requests_lib.Request(video=video, plan=planner.Wishes(bpm=90))
  with pytest.raises(ValueError, match="'made up' reads no stream of kind"):
    streams.read([wish], system_of())
  _, plans = streams.read([requests_lib.Request(video=video)], system_of())
  assert plans == [None]


@pytest.mark.parametrize('name', ['prompt', 'negative'])
def test_words_that_no_stage_reads_are_refused_before_the_video_is(video, name):
  deaf = system_of(APPEARANCE)
  deaf.streams = {}
  latents = specs.FeatureSpec(name='latents', dim=2, rate_hz=8.0)
  deaf.stages[0].spec.target = latents
  for frames, also in ((0, False), (4, True)):
    windows = types.SimpleNamespace(prefix_frames=lambda _, n=frames: n)
    deaf.stages[0].model.sampler.windows = windows
    read = []
    with pytest.raises(ValueError, match="'made up' reads a style") as said:
      request = requests_lib.Request(video=video, **{name: 'calm piano'})
      streams.read([request], deaf, read.append)
    assert ('--style-audio' in str(said.value)) == also and not read


def test_sections_have_styles_of_their_own_unless_there_is_a_prompt(video):
  _, (plan,) = streams.read(
    [requests_lib.Request(video=video)], system_of(MOTION)
  )
  assert plan is not None and len(plan.sections) == 2
  prompts = ('calm piano', 'loud rock')
  sections = tuple(
    dataclasses.replace(section, prompt=prompt)
    for section, prompt in zip(plan.sections, prompts, strict=True)
  )
  edited = dataclasses.replace(plan, sections=sections)
  system = system_of(MOTION)
  (clip,), _ = streams.read(
    [requests_lib.Request(video=video, plan=edited)], system
  )
  assert system.styles['style_text'].prompts == [*prompts]
  start = sections[1].start_seconds

  def style_at(middle):
    return pipeline.cut(
      clip.streams['style'], STYLE, middle - 5, 10.0, clip.style_starts
    ).tolist()

  assert style_at(start - 0.1) == [[1, 1, 1]]
  assert style_at(start + 0.1) == style_at(50) == [[2, 2, 2]]
  (clip,), _ = streams.read(
    [requests_lib.Request(video=video, plan=edited, prompt='jazz')], system
  )
  assert clip.streams['style'].tolist() == [[3, 3, 3]]


def test_a_stage_that_reads_plans_is_told_them_and_sees_no_motion(video):
  system = system_of(MOTION, PLAN, APPEARANCE)
  requests = [
    requests_lib.Request(video=video),
    requests_lib.Request(video=video, plan=None),
    requests_lib.Request(video=video, prompt='jazz', plan=None),
  ]
  (planned, seen, named), plans = streams.read(requests, system)
  assert plans[0] is not None and plans[1:] == [None, None]
  longer = plan_lib.continued(plans[0], 18.0)
  np.testing.assert_array_equal(planned.streams['plan'], PLAN(longer))
  assert not planned.streams['motion'].any()
  assert seen.streams['motion'].any() and not seen.streams['plan'].any()
  # Appearance tells of style where nothing else does.
  assert plans[0].sections[0].prompt and not planned.streams['appearance'].any()
  for clip in (seen, named):
    assert clip.streams['appearance'].any()
  mute = dataclasses.replace(
    plans[0],
    sections=tuple(
      dataclasses.replace(section, prompt=prompt)
      for section, prompt in zip(plans[0].sections, ('jazz', None), strict=True)
    ),
  )
  (clip,), _ = streams.read(
    [requests_lib.Request(video=video, plan=mute)], system
  )
  border = round(mute.sections[1].start_seconds * 2.5)
  appearance = clip.streams['appearance']
  assert not appearance[: border - 1].any() and appearance[border + 1 :].any()


def test_no_plan_of_one_video_is_not_that_of_another(video):
  short = pulsing_clips.video(3.0)
  clips, _ = streams.read(
    [requests_lib.Request(video=v, plan=None) for v in (video, short)],
    system_of(PLAN, MOTION),
  )
  assert [len(c.streams['plan']) for c in clips] == [275, 75]


def test_a_system_that_knows_a_plan_alone_does_not_go_without(video):
  request = requests_lib.Request(video=video, plan=None)
  with pytest.raises(ValueError, match='would follow nothing'):
    streams.read([request], system_of(PLAN))
