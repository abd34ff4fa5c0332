"""What returns of the music of a plan, and when."""

import dataclasses

import numpy as np
import pytest

from v2meow_jax.extractors.planning import plan as plan_lib
from v2meow_jax.extractors.planning import themes

BEAT_SECONDS = 0.5


def plan_of(*labels, beats=16, keys=None, first_down=0, tempi=None):
  """Sections of so many beats each."""
  starts, times, time = [], [], 0.0
  for number in range(len(labels)):
    starts.append(time)
    step = BEAT_SECONDS / (tempi or {}).get(number, 1.0)
    for _ in range(beats):
      times.append(time)
      time += step
  return plan_lib.MusicPlan(
    seconds=time,
    tempo_bpm=120.0,
    beats_per_bar=4,
    source='given',
    beats=tuple(
      plan_lib.Beat(seconds=t, downbeat=i % 4 == first_down, energy=0.5)
      for i, t in enumerate(times)
    ),
    sections=tuple(
      plan_lib.Section(
        start_seconds=start,
        mood='',
        energy=0.5,
        label=label,
        key=(keys or {}).get(number),
      )
      for number, (start, label) in enumerate(zip(starts, labels, strict=True))
    ),
    key='C major',
  )


def spans(plan):
  return [(r.times[0], r.times[-1], r.earlier[0]) for r in themes.returns(plan)]


def test_a_label_that_comes_again_brings_its_music_back():
  assert spans(plan_of('A', 'B', 'A', 'C', 'B')) == [
    (16.0, 24.0, 0.0),
    (32.0, 39.5, 8.0),
  ]


@pytest.mark.parametrize('labels', [(None,) * 4, ('A', 'A', 'A'), ('A', 'B')])
def test_nothing_returns_without_a_label_or_within_one(labels):
  assert not themes.returns(plan_of(*labels))
  assert not themes.returns(None)


def test_a_theme_has_eight_bars():
  assert spans(plan_of('A', 'B', 'A', beats=64)) == [(64.0, 80.0, 0.0)]


def test_a_label_in_another_key_is_other_music():
  assert not themes.returns(plan_of('A', 'B', 'A', keys={2: 'D minor'}))
  plan = plan_of('A', 'B', 'A', 'A', keys={2: 'D minor', 3: 'C major'})
  assert spans(plan) == [(24.0, 31.5, 0.0)]


def test_beats_and_bars_fall_on_beats_and_bars():
  plan = plan_of('A', 'B', 'A', beats=18, tempi={2: 1.1})
  (there,) = themes.returns(plan)
  beats = {b.seconds: b.downbeat for b in plan.beats}
  for now, before in zip(there.times, there.earlier, strict=True):
    assert beats[now] == beats[before]
  frames = there.frames(25.0)[1]
  # 10 % faster: some frames are left out, and time never goes back.
  assert set(np.diff(frames)) == {1, 2}
  assert np.mean(np.diff(frames)) == pytest.approx(1.1, abs=0.01)


def test_another_tempo_is_other_music():
  assert not themes.returns(plan_of('A', 'B', 'A', tempi={2: 1.5}))


def test_sections_keep_label_and_key_in_their_file():
  plan = plan_of('A', None, keys={1: 'Eb minor'})
  assert plan_lib.from_json(plan_lib.to_json(plan)) == plan
  old = plan_lib.to_json(plan).replace(', "label": null, "key": "Eb minor"', '')
  assert plan_lib.from_json(old).sections[1] == dataclasses.replace(
    plan.sections[1], key=None
  )
  with pytest.raises(ValueError, match='key'):
    plan_of('A', keys={0: 'H major'})
  with pytest.raises(ValueError, match='label of section 0'):
    plan_of('A\n')
