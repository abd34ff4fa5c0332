"""What a stage reads of a plan: phases, beats and sections at their times."""

import dataclasses

import numpy as np
import pytest

from v2meow_jax import specs
from v2meow_jax.extractors.planning import plan as plan_lib
from v2meow_jax.extractors.planning import plan_stream

EXTRACT = plan_stream.PlanStream(
  specs.FeatureSpec(name='plan', dim=28, rate_hz=25.0)
)
TIMES = (np.arange(250) + 0.5) / 25
FIRST, BPM = 0.371, 96.0


def plan_of(metre=4, **changes):
  beats = tuple(
    plan_lib.Beat(
      seconds=FIRST + i * 60 / BPM, downbeat=i % metre == 1, energy=0.75
    )
    for i in range(15)
  )
  sections = tuple(
    plan_lib.Section(start_seconds=start, mood='', energy=0.5)
    for start in (0.0, 4.0)
  )
  fields = {
    'seconds': 10.0,
    'tempo_bpm': BPM,
    'beats_per_bar': metre,
    'source': 'given',
    'beats': beats,
    'sections': sections,
  }
  return plan_lib.MusicPlan(**{**fields, **changes})


def test_phases_turn_once_a_bar_a_beat_and_its_parts():
  for metre in (3, 4):
    frames = EXTRACT(plan_of(metre))
    assert frames.shape == (250, plan_stream.DIM)
    beats = (TIMES - FIRST) * BPM / 60
    turns = [(beats - 1) / metre, beats, 2 * beats, 4 * beats]
    for column, turn in enumerate(turns):
      for half, wave in enumerate((np.sin, np.cos)):
        np.testing.assert_allclose(
          frames[:, 2 * column + half], wave(2 * np.pi * turn), atol=1e-4
        )
    np.testing.assert_allclose(frames[:, 13], 4 - metre)
  np.testing.assert_allclose(2 ** frames[:, 8] * 110, BPM, rtol=1e-5)
  np.testing.assert_allclose(frames[:, 12], 0.5)


def test_beats_downbeats_and_sections_begin_in_their_frames():
  plan = plan_of()
  frames = EXTRACT(plan)
  beats = np.flatnonzero(frames[:, 9])
  np.testing.assert_array_equal(beats, np.floor(plan.beat_times * 25))
  np.testing.assert_array_equal(np.flatnonzero(frames[:, 10]), beats[1::4])
  assert np.flatnonzero(frames[:, 11]).tolist() == [100]


def test_bent_beats_bend_the_phases_and_the_tempo():
  times = np.array([0.5, 1.0, 1.45, 2.1, 2.6])
  beats = tuple(
    plan_lib.Beat(seconds=t, downbeat=i == 0, energy=0.5)
    for i, t in enumerate(times)
  )
  frames = EXTRACT(plan_of(beats=beats, tempo_bpm=120.0))
  turn = np.angle(frames[:, 3] + 1j * frames[:, 2]) / (2 * np.pi)
  wanted = np.interp(TIMES, times, np.arange(5))
  inside = (TIMES > 0.5) & (TIMES < 2.6)
  off = (turn - wanted)[inside]
  np.testing.assert_allclose(off - np.round(off), 0, atol=1e-5)
  tempo = 110 * 2 ** frames[np.searchsorted(TIMES, [1.2, 1.8]), 8]
  np.testing.assert_allclose(tempo, [60 / 0.45, 60 / 0.65], rtol=1e-4)


def test_after_the_end_there_are_no_beats_and_the_stream_says_so():
  plan = plan_of()
  end = plan.beats[9].seconds
  ended = dataclasses.replace(plan, beats=plan.beats[:10], end_seconds=end)
  frames = EXTRACT(plan_lib.continued(ended, 14.0))
  assert len(frames) == 350
  after = np.arange(350) > np.floor(end * 25)
  np.testing.assert_array_equal(frames[:, 14] == 1, after)
  assert not frames[after][:, [*range(8), 9, 10]].any()
  assert frames[int(end * 25), 9] == 1 and frames[:, 15].all()


def test_music_without_an_end_goes_on_in_its_bars_after_the_clip():
  frames = EXTRACT(plan_lib.continued(plan_of(metre=3), 18.0))
  beats = np.flatnonzero(frames[:, 9])
  # A beat may come as much later as a frame is long.
  assert set(np.diff(beats)) <= {15, 16} and 450 - beats[-1] <= 16
  np.testing.assert_array_equal(np.flatnonzero(frames[:, 10]), beats[1::3])
  # No mirror: phases go on where they would have been.
  later = EXTRACT(plan_of(metre=3))[249]
  np.testing.assert_allclose(frames[249, :8], later[:8], atol=1e-5)


def test_a_key_is_its_triad():
  assert not EXTRACT(plan_of())[:, 16:].any()
  for key, pitches in {'Eb minor': {3, 6, 10}, 'A major': {9, 1, 4}}.items():
    chroma = EXTRACT(plan_of(key=key))[:, 16:]
    assert {*np.flatnonzero(chroma[0])} == pitches
    assert (chroma == chroma[0]).all()


def test_plans_of_no_or_one_beat_have_streams():
  one = plan_of(beats=plan_of().beats[:1])
  for plan in (one, plan_of(beats=())):
    frames = EXTRACT(plan)
    assert np.isfinite(frames).all() and frames[:, 15].all()
  assert not EXTRACT(plan_of(beats=()))[:, :11].any()


def test_a_stream_of_another_width_is_refused():
  with pytest.raises(ValueError, match='dim 16.*dim to 28'):
    plan_stream.PlanStream(specs.FeatureSpec(name='plan', dim=16, rate_hz=25.0))


def test_each_section_has_its_key_or_that_of_the_plan():
  first, second = plan_of().sections
  sections = (first, dataclasses.replace(second, key='D minor'))
  frames = EXTRACT(plan_of(sections=sections, key='C major'))
  chords = np.zeros((2, 12))
  chords[0, [0, 4, 7]] = chords[1, [2, 5, 9]] = 1
  np.testing.assert_array_equal(
    frames[:, 16:], chords[(TIMES >= 4).astype(int)]
  )
  without = EXTRACT(plan_of(sections=sections))
  assert not without[:100, 16:].any()
  np.testing.assert_array_equal(without[100:, 16:], frames[100:, 16:])
