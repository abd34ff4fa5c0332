"""The music keeps the beat, the chords and the activity of its scene."""

import dataclasses

import numpy as np
import pytest

from v2meow_jax.synthetic import compose
from v2meow_jax.synthetic import genres
from v2meow_jax.synthetic import scene as scene_lib

HOP_SECONDS = 0.005


def _one_of_each():
  scenes = (scene_lib.sample(5, n, seconds=6.0) for n in range(100))
  return list({s.genre: s for s in scenes}.values())


SCENES = _one_of_each()


def _onsets(samples):
  """Rise of the log spectrum every 5 ms, at the time of the window's middle."""
  window, hop = 256, 80
  padded = np.pad(samples, window // 2)
  views = np.lib.stride_tricks.sliding_window_view(padded, window)[::hop]
  power = np.abs(np.fft.rfft(views * np.hanning(window))) ** 2
  level = np.log(power + 1e-3)
  return np.concatenate([[0], np.maximum(np.diff(level, axis=0), 0).mean(1)])


@pytest.mark.parametrize('scene', SCENES, ids=lambda s: s.genre)
def test_every_beat_is_an_onset(scene):
  onsets = _onsets(compose.music(scene).samples)
  for beat in scene.beat_times[1:-1]:
    at = round(beat / HOP_SECONDS)
    reach = round(0.03 / HOP_SECONDS)
    quarter = round(scene.beat_seconds / 4 / HOP_SECONDS)
    near = onsets[at - reach : at + reach + 1].max()
    # Against a quarter of a beat that precedes it, where nothing starts.
    before = onsets[at - quarter - reach : at - reach]
    assert near > 3 * np.median(before)


@pytest.mark.parametrize('scene', SCENES, ids=lambda s: s.genre)
def test_music_is_mono_16_khz_as_long_as_the_scene_and_never_clips(scene):
  audio = compose.music(scene)
  assert audio.rate_hz == 16000
  assert audio.samples.shape == (96000,)
  assert audio.samples.dtype == np.float32
  assert 0.2 < np.abs(audio.samples).max() < 1.0


def test_a_duration_that_is_not_whole_samples_is_rounded():
  scene = scene_lib.sample(0, 0, seconds=1.23456)
  assert len(compose.music(scene).samples) == 19753


def test_the_same_scene_sounds_the_same():
  scene = SCENES[0]
  np.testing.assert_array_equal(
    compose.music(scene).samples, compose.music(scene).samples
  )


def test_the_look_is_not_heard():
  scene = SCENES[0]
  other = dataclasses.replace(
    scene, look_genre='rock', palette=SCENES[1].palette, shapes='ring'
  )
  np.testing.assert_array_equal(
    compose.music(scene).samples, compose.music(other).samples
  )


def test_an_active_section_is_louder():
  for scene in SCENES:
    levels = [
      np.sqrt(np.mean(compose.music(still).samples ** 2))
      for a in genres.ACTIVITIES
      for still in [dataclasses.replace(scene, cut_times=(), activity=(a,))]
    ]
    assert levels[0] < levels[1] < levels[2]


def test_chords_are_of_the_key():
  # C major's I, IV and V; A minor's i.
  scene = next(s for s in SCENES if s.genre == 'ambient')
  major = dataclasses.replace(scene, key='C', mode='major')
  minor = dataclasses.replace(scene, key='A', mode='minor')
  assert [compose._triad(major, n) for n in range(4)] == [
    (0, 4, 7),
    (5, 9, 0),
    (0, 4, 7),
    (7, 11, 2),
  ]
  assert compose._triad(minor, 0) == (9, 0, 4)


def test_the_music_sounds_the_chord_of_its_bar():
  scene = next(s for s in SCENES if s.genre == 'ambient')
  scene = dataclasses.replace(
    scene,
    seconds=10.0,
    first_beat_in_bar=0,
    first_chord=1,
    first_beat_seconds=0.0,
    cut_times=(),
    activity=(1.0,),
    key='C',
    mode='major',
  )
  samples = compose.music(scene).samples
  start = round(scene.beat_seconds * 16000)
  bar = samples[start : start + 32000] * np.hanning(32000)
  power = np.abs(np.fft.rfft(bar)) ** 2
  pitches = 440 * 2 ** ((np.arange(57, 81) - 69) / 12)
  chroma = power[np.round(pitches * 2).astype(int)]
  heard = {(57 + n) % 12 for n in np.argsort(chroma)[-3:]}
  # The second chord of the loop is F major.
  assert heard <= {5, 9, 0}


def test_notes_begun_before_the_scene_are_heard_at_its_start():
  scene = next(s for s in SCENES if s.genre == 'ambient')
  scene = dataclasses.replace(
    scene, first_beat_in_bar=0, first_beat_seconds=0.5
  )
  assert np.abs(compose.music(scene).samples[:4000]).max() > 0.01
