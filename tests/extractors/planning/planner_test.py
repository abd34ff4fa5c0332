"""Plans of clips with planted beats, cuts and looks."""

import numpy as np
import pytest

from tests.fakes import pulsing_clips
from v2meow_jax.extractors.planning import analysis
from v2meow_jax.extractors.planning import plan as plan_lib
from v2meow_jax.extractors.planning import planner
from v2meow_jax.synthetic import held_out
from v2meow_jax.synthetic import render

pytestmark = pytest.mark.slow


@pytest.fixture(scope='module')
def montage():
  return pulsing_clips.analysed(
    14.0, cuts=(1.3, 2.9, 4.16, 6.2, 8.48, 9.36, 11.2), drift=0.4
  )


@pytest.fixture(scope='module')
def still():
  return pulsing_clips.analysed(9.0)


def nearest(times, events):
  return np.abs(np.asarray(events)[:, None] - times).min(1)


def test_a_planted_pulse_is_kept():
  beats = 0.36 + 60 / 104 * np.arange(16)
  seen = pulsing_clips.analysed(10.0, beats=beats)
  plan = planner.plan(seen)
  assert plan.source == 'picture'
  assert plan.tempo_bpm == pytest.approx(104, rel=0.01)
  assert nearest(plan.beat_times, beats).max() < 0.04
  assert plan.end_seconds is None
  assert plan.key and plan.sections[0].prompt
  left = planner.plan(seen, look_decides=True)
  assert left.key is None and left.sections[0].prompt is None
  wished = planner.Wishes(key='D minor')
  both = planner.plan(seen, wishes=wished, look_decides=True)
  assert both.key == 'D minor' and both.beats == plan.beats


def test_tempo_beats_metre_and_downbeats_of_drawn_scenes_are_found():
  scenes = held_out.scenes(11, 4, 7.0)
  metres = []
  for scene in scenes:
    frames = np.stack(list(render.frames(scene)))
    video = pulsing_clips.media.Video(
      frames=frames, times=scene.frame_times, seconds=scene.seconds
    )
    plan = planner.plan(analysis.analyse([video]))
    assert plan.source == 'picture'
    assert plan.tempo_bpm == pytest.approx(scene.tempo_bpm, rel=0.01)
    assert nearest(np.array(scene.beat_times), plan.beat_times).max() < 0.05
    bars = np.array(
      [scene.bar_seconds(bar) for bar in range(int(scene.seconds) * 2)]
    )
    downbeats = [beat.seconds for beat in plan.beats if beat.downbeat]
    metres.append(
      plan.beats_per_bar == scene.beats_per_bar
      and nearest(bars, downbeats).max() < 0.05
    )
  assert np.mean(metres) > 0.6


def test_cuts_are_met_by_beats_and_half_beats(montage):
  plan = planner.plan(montage)
  beats = plan.beat_times
  halves = np.sort(np.concatenate([beats, (beats[1:] + beats[:-1]) / 2]))
  assert np.mean(nearest(halves, montage.cuts) < 0.02) >= 0.85
  tempi = 60 / np.diff(beats) / plan.tempo_bpm
  assert 1 / 1.151 <= tempi.min() and tempi.max() <= 1.151


def test_sections_begin_on_beats_at_changes_of_scene(montage):
  plan = planner.plan(montage)
  starts = [section.start_seconds for section in plan.sections]
  assert starts[0] == 0 and len(starts) >= 2
  assert nearest(plan.beat_times, starts[1:]).max() < 1e-3
  assert np.diff([*starts, plan.seconds]).min() >= 4 - 1e-3


def test_a_wish_for_a_tempo_is_obeyed(montage):
  plan = planner.plan(montage, wishes=planner.Wishes(bpm=126))
  assert plan.tempo_bpm == 126 and plan.source == 'given'
  assert np.median(60 / np.diff(plan.beat_times)) == pytest.approx(
    126, rel=0.15
  )
  for bpm in (10, 1000, float('nan')):
    with pytest.raises(ValueError, match='wanted 50 to 200'):
      planner.Wishes(bpm=bpm)


def test_a_key_is_wished_for_named_or_that_of_the_mood(still):
  assert planner.plan(still, wishes=planner.Wishes(key='D minor')).key == (
    'D minor'
  )
  assert planner.plan(still, prompt='jazz in E flat minor').key == 'Eb minor'
  own = planner.plan(still)
  assert own.key is not None
  word = {'major': 'bright', 'minor': 'dark'}[own.key.split()[1]]
  assert all((s.prompt or '').startswith(word) for s in own.sections)
  with pytest.raises(ValueError, match="key is 'minor'"):
    planner.Wishes(key='minor')


def test_a_still_picture_gets_a_plain_grid_of_the_prior(still):
  plan = planner.plan(still)
  assert plan.source == 'prior'
  assert plan.beats[0].seconds == 0 and plan.beats[0].downbeat
  np.testing.assert_allclose(
    np.diff(plan.beat_times), 60 / plan.tempo_bpm, atol=1e-3
  )
  assert [beat.downbeat for beat in plan.beats[:8]] == [True, *[False] * 3] * 2
  assert len(plan.sections) == 1


def test_a_prompt_names_tempo_and_metre(still):
  waltz = planner.plan(still, prompt='an elegant waltz for solo piano')
  assert waltz.beats_per_bar == 3 and 97 <= waltz.tempo_bpm <= 109
  fast = planner.plan(still, prompt='fast drum and bass')
  assert fast.beats_per_bar == 4 and 164 <= fast.tempo_bpm <= 180
  exact = planner.plan(still, prompt='dark techno at 133 bpm')
  assert exact.tempo_bpm == 133
  assert exact.sections[0].prompt == 'dark techno at 133 bpm'


def test_the_last_bar_rings_out_after_a_downbeat_and_after_all_cuts(montage):
  plan = planner.plan(montage)
  assert plan.end_seconds is not None
  assert plan.beats[-1].seconds == plan.end_seconds
  assert 0.3 <= plan.seconds - plan.end_seconds <= 2.0
  assert plan.end_seconds > montage.cuts[-1]


def test_energy_follows_motion():
  still, moving = (pulsing_clips.video(6.0, drift=d) for d in (0.0, 3.0))
  both = pulsing_clips.media.Video(
    frames=np.concatenate([still.frames, moving.frames]),
    times=np.arange(300) / 25,
    seconds=12.0,
  )
  plan = planner.plan(analysis.analyse([both]))
  energy = plan.energy_at(np.array([1.0, 3.0, 9.0, 11.0]))
  assert energy[:2].max() + 0.3 < energy[2:].min()


def test_short_clips_have_plans():
  for seconds in (0.04, 0.3, 1.0, 2.0):
    plan = planner.plan(pulsing_clips.analysed(seconds, cuts=(0.52,)))
    assert plan_lib.from_json(plan_lib.to_json(plan)) == plan
