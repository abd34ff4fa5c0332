"""Plans of drawn music are plans, mostly right, and wrong as often as said."""

import json

import numpy as np

from v2meow_jax.extractors.planning import plan as plan_lib
from v2meow_jax.synthetic import compose
from v2meow_jax.synthetic import scene as scene_lib
from v2meow_jax.synthetic import score

SCENES = [scene_lib.sample(3, n, 12.0, freedom=1.0) for n in range(200)]
PLANS = [
  plan_lib.from_content(json.loads(json.dumps(score.plan(s)))) for s in SCENES
]


def test_beats_are_those_of_the_music_but_for_a_little_jitter():
  off = []
  for scene, plan in zip(SCENES, PLANS, strict=True):
    errors = np.abs(plan.beat_times - np.array(scene.beat_times))
    assert errors.max() <= 0.0202
    off.append(errors.max() > 0.001)
    assert plan.tempo_bpm == scene.tempo_bpm
    bars = [beat.seconds for beat in plan.beats if beat.downbeat]
    true = [scene.bar_seconds(n) for n in range(200)]
    assert all(np.abs(np.array(true) - bar).min() <= 0.0202 for bar in bars)
  assert 0.1 < np.mean(off) < 0.4


def test_energy_and_sections_are_those_of_the_scene_in_most_plans():
  right = []
  for scene, plan in zip(SCENES, PLANS, strict=True):
    at = np.array(scene.activity)[scene.section_at(plan.beat_times + 0.03)]
    energies = np.array([beat.energy for beat in plan.beats])
    flat = np.ptp(energies) == 0
    right.append(
      np.ptp(at) == 0 or (not flat and np.corrcoef(at, energies)[0, 1] > 0.9)
    )
    starts = {s.start_seconds for s in plan.sections[1:]}
    assert len(starts - {round(t, 4) for t in scene.cut_times}) <= 1
  assert 0.55 < np.mean(right) < 0.95
  named = [plan.key for plan in PLANS if plan.key]
  assert 0.45 < len(named) / len(PLANS) < 0.75


def test_music_that_ends_rings_out_after_its_last_beat():
  ended = [s for s in SCENES if s.end_seconds is not None]
  assert 0.15 < len(ended) / len(SCENES) < 0.45
  for scene in ended[:4]:
    samples = compose.music(scene).samples
    end = scene.end_seconds
    assert end is not None and scene.beat_times[-1] == end
    around = samples[round((end - 0.5) * 16_000) : round((end + 0.2) * 16_000)]
    last = samples[-1600:]
    assert np.square(last).mean() < np.square(around).mean()


def test_free_tempi_are_any_whatever_the_genre():
  tempi = np.array([s.tempo_bpm for s in SCENES])
  assert tempi.min() < 60 and tempi.max() > 170
  fast = [s.tempo_bpm for s in SCENES if s.genre == 'drum_and_bass']
  assert min(fast) < 90
  # Worlds of earlier versions stay as they were.
  assert scene_lib.sample(3, 7, 12.0).end_seconds is None
  assert scene_lib.sample(3, 7, 12.0).key == SCENES[7].key
