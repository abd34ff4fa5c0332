"""The picture keeps the beat."""

import dataclasses
import fractions

import numpy as np
import pytest

from v2meow_jax.synthetic import genres
from v2meow_jax.synthetic import render
from v2meow_jax.synthetic import scene as scene_lib


def _one_of_each():
  scenes = (scene_lib.sample(5, n, seconds=5.0) for n in range(100))
  return list({s.genre: s for s in scenes}.values())


SCENES = _one_of_each()


def _film(scene):
  return np.stack(list(render.frames(scene)))


def _differences(film):
  steps = np.abs(np.diff(film.astype(np.int16), axis=0))
  return np.concatenate([[0.0], steps.mean(axis=(1, 2, 3))])


def test_frames_are_those_that_start_before_the_end():
  rate_hz = fractions.Fraction(30000, 1001)
  scene = dataclasses.replace(SCENES[0], rate_hz=rate_hz)
  film = _film(scene)
  # 5 s x 29.97 Hz = 149.85.
  assert film.shape == (150, scene.size[1], scene.size[0], 3)
  assert film.dtype == np.uint8


@pytest.mark.parametrize('scene', SCENES, ids=lambda s: s.genre)
def test_the_picture_changes_most_within_a_frame_of_every_beat(scene):
  assert len(SCENES) == len(genres.GENRES)
  change = _differences(_film(scene))
  frame_seconds = 1 / float(scene.rate_hz)
  inner = [b for b in scene.beat_times if 0.1 < b < scene.seconds - 0.1]
  near = scene.beat_seconds * 0.45
  for beat in inner:
    around = np.abs(scene.frame_times - beat) < near
    times = scene.frame_times[around]
    peak = times[change[around].argmax()]
    assert abs(peak - beat) <= frame_seconds
    assert change[around].max() > 4 * np.median(change[around])


@pytest.mark.parametrize('scene', SCENES, ids=lambda s: s.genre)
def test_downbeats_change_the_picture_more_than_other_beats(scene):
  scene = dataclasses.replace(scene, cut_times=(), activity=(1.0,))
  change = _differences(_film(scene))
  strength = {True: [], False: []}
  for n, beat in enumerate(scene.beat_times):
    if beat > 0.1:
      near = np.abs(scene.frame_times - beat) < 0.05
      down = (n + scene.first_beat_in_bar) % scene.beats_per_bar == 0
      strength[down].append(change[near].max())
  assert np.mean(strength[True]) > 1.15 * np.mean(strength[False])


def test_a_cut_changes_the_layout_for_good():
  scene = next(s for s in SCENES if s.cut_times)
  film = _film(scene).astype(np.float64)
  cut = scene.cut_times[0]
  # Just before the cut and the beat before it, pulses have died away.
  before, after, earlier = (
    film[np.searchsorted(scene.frame_times, t)]
    for t in (cut - 0.06, cut + scene.beat_seconds - 0.06, cut - 0.1)
  )
  assert np.abs(after - before).mean() > 5 * np.abs(before - earlier).mean()


def test_the_strip_tells_the_chord():
  scene = dataclasses.replace(SCENES[0], cut_times=(), activity=(1.0,))
  film = _film(scene)
  for bar in range(1, 3):
    time = scene.bar_seconds(bar) + 0.2
    if time < scene.seconds:
      frame = film[np.searchsorted(scene.frame_times, time)]
      bright = frame[-2].sum(axis=-1).reshape(4, -1).mean(axis=1).argmax()
      assert bright == scene.chord_at(bar)


def test_a_look_is_independent_of_the_music():
  scene = SCENES[0]
  other = next(s for s in SCENES if s.genre != scene.genre)
  seen = dataclasses.replace(
    scene, palette=other.palette, shapes=other.shapes, texture=other.texture
  )
  assert (_film(seen) != _film(scene)).mean() > 0.5
