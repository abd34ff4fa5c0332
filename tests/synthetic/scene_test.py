"""A scene is a function of its seed and index, and keeps its own time."""

import itertools

import numpy as np
import pytest

from v2meow_jax.synthetic import genres
from v2meow_jax.synthetic import scene as scene_lib

SCENES = [scene_lib.sample(0, n) for n in range(150)]


def test_a_scene_is_a_function_of_seed_and_index():
  assert scene_lib.sample(0, 3) == SCENES[3]
  assert scene_lib.sample(1, 3) != SCENES[3]
  assert len(set(SCENES)) == len(SCENES)


def test_tempos_cover_60_to_180_bpm():
  tempos = [s.tempo_bpm for s in SCENES]
  assert 60 <= min(tempos) < 65 and 175 < max(tempos) <= 180
  assert {s.genre for s in SCENES} == set(genres.GENRES)


def test_tempo_ranges_of_genres_do_not_overlap():
  ranges = sorted(g.tempo_bpm for g in genres.GENRES.values())
  assert all(a[1] < b[0] for a, b in itertools.pairwise(ranges))


def test_the_first_beat_falls_anywhere_in_its_period():
  phases = [s.first_beat_seconds / s.beat_seconds for s in SCENES]
  counts, _ = np.histogram(phases, bins=4, range=(0, 1))
  assert counts.sum() == len(SCENES) and counts.min() > 20


@pytest.mark.parametrize('scene', SCENES[:20])
def test_beats_are_evenly_spaced_and_fill_the_scene(scene):
  gaps = np.diff(scene.beat_times)
  np.testing.assert_allclose(gaps, 60 / scene.tempo_bpm, atol=2e-6)
  assert 0 <= scene.beat_times[0] < scene.beat_seconds
  assert 0 < scene.seconds - scene.beat_times[-1] <= scene.beat_seconds + 1e-6


@pytest.mark.parametrize('scene', SCENES[:20])
def test_cuts_are_downbeats(scene):
  assert len(scene.activity) == len(scene.cut_times) + 1
  for cut in scene.cut_times:
    beat = np.argmin(np.abs(np.array(scene.beat_times) - cut))
    assert scene.beat_times[beat] == pytest.approx(cut, abs=1e-5)
    assert (beat + scene.first_beat_in_bar) % scene.beats_per_bar == 0


def test_without_surprise_the_look_follows_the_genre():
  assert all(s.look_genre == s.genre for s in SCENES)


def test_with_full_surprise_the_look_is_always_another():
  surprising = [scene_lib.sample(0, n, surprise=1.0) for n in range(60)]
  assert all(s.look_genre != s.genre for s in surprising)
  assert len({s.look_genre for s in surprising}) == len(genres.GENRES)
  # The music keeps its genre and key, and takes the tempo of the picture.
  assert [(s.genre, s.key) for s in surprising] == [
    (s.genre, s.key) for s in SCENES[:60]
  ]
  for scene in surprising:
    slowest, fastest = genres.GENRES[scene.look_genre].tempo_bpm
    assert slowest <= scene.tempo_bpm <= fastest


def test_minor_is_darker_and_paler_than_major():
  light = {
    m: [s.palette[1] for s in SCENES if s.mode == m] for m in genres.SCALES
  }
  major, minor = np.array(light['major']), np.array(light['minor'])
  assert minor[:, 1].max() < major[:, 1].min()
  assert minor[:, 2].max() < major[:, 2].min()


def test_patterns_are_one_bar_long_and_strike_every_beat():
  for name, genre in genres.GENRES.items():
    parts = (*genre.drums, genre.bass, genre.chords, genre.lead)
    assert {len(p.pattern) for p in parts} == {4 * genre.beats_per_bar}
    always = [p.pattern for p in parts if p.min_activity == 0]
    for beat in range(genre.beats_per_bar):
      assert any(p[4 * beat] != '.' for p in always), (name, beat)


@pytest.mark.parametrize(
  ('arguments', 'message'),
  [
    ({'seed': -1, 'index': 0}, 'seed -1'),
    ({'seed': 0, 'index': -2}, 'index -2'),
    ({'seed': 0, 'index': 0, 'seconds': 0.5}, '0.5 s'),
    ({'seed': 0, 'index': 0, 'seconds': float('nan')}, 'nan s'),
    ({'seed': 0, 'index': 0, 'surprise': 1.5}, 'surprise is 1.5'),
    ({'seed': 0, 'index': 0, 'freedom': -1}, 'freedom is -1'),
  ],
)
def test_arguments_out_of_range_are_refused(arguments, message):
  with pytest.raises(ValueError, match=message):
    scene_lib.sample(**arguments)
