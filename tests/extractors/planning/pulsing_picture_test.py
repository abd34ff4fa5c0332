"""A plan as a picture: its own analysis finds the plan again."""

import dataclasses
import functools

import numpy as np
import pytest

from tests.fakes import pulsing_clips
from v2meow_jax.extractors.planning import analysis
from v2meow_jax.extractors.planning import planner
from v2meow_jax.extractors.planning import pulsing_picture

pytestmark = pytest.mark.slow


@functools.cache
def seen(seconds, cuts=()):
  return pulsing_clips.analysed(seconds, cuts=cuts)


def plan_of(bpm, cuts=()):
  return planner.plan(seen(8.0, cuts), wishes=planner.Wishes(bpm=bpm))


def test_the_picture_pulses_at_the_planned_beats_and_nowhere_else():
  for bpm in (66.0, 172.0):
    plan = plan_of(bpm)
    shown = pulsing_picture.video(plan, 8.0, 10.0)
    again = planner.plan(analysis.analyse(shown))
    assert again.source == 'picture'
    assert again.tempo_bpm == pytest.approx(bpm, rel=0.01)
    off = np.abs(plan.beat_times[:, None] - again.beat_times).min(1)
    assert off[plan.beat_times > 0.2].max() < 0.05


def test_bent_beats_are_pulses_where_they_were_bent_to():
  plan = plan_of(100.0, cuts=(1.92, 4.48, 6.04))
  scene = pulsing_picture.scene(plan, 8.0)
  np.testing.assert_allclose(
    scene.beats_at(plan.beat_times), np.arange(len(plan.beats)), atol=1e-9
  )
  downbeats = scene.is_downbeat(np.arange(len(plan.beats)))
  assert downbeats.tolist() == [beat.downbeat for beat in plan.beats]


def test_beats_go_on_after_the_clip_unless_it_ends():
  beats = 0.3 + 0.5 * np.arange(12)
  own = planner.plan(pulsing_clips.analysed(6.0, beats=beats))
  assert own.end_seconds is None
  scene = pulsing_picture.scene(own, 12.0)
  assert 12.0 - scene.beat_times[-1] <= 60 / own.tempo_bpm
  bars = np.flatnonzero(scene.downbeats)
  assert set(np.diff(bars)) == {own.beats_per_bar}
  ended = plan_of(120.0)
  assert ended.end_seconds is not None
  assert pulsing_picture.scene(ended, 12.0).beat_times[-1] == ended.end_seconds


def test_pieces_are_led_and_cover_the_time():
  pieces = list(pulsing_picture.video(plan_of(90.0), 5.5, 2.0))
  assert [p.start_seconds for p in pieces] == [0.0, 2.0, 4.0]
  assert [p.seconds for p in pieces] == [2.0, 2.0, 1.5]
  for before, piece in zip(pieces, pieces[1:], strict=False):
    assert piece.times[0] == before.times[-1]
    np.testing.assert_array_equal(piece.frames[0], before.frames[-1])


def test_no_beats_are_no_pulses():
  still = dataclasses.replace(plan_of(90.0), beats=(), end_seconds=None)
  (piece,) = pulsing_picture.video(still, 4.0, 4.0)
  assert analysis.analyse([piece]).accents.max() < 0.05
