"""The benchmark on real videos, with systems whose figures are known."""

import argparse
import importlib
import json

import numpy as np
import pytest

from tests.fakes import pulsing_clips
from v2meow_jax import media
from v2meow_jax.extractors.planning import analysis
from v2meow_jax.extractors.planning import planner
from v2meow_jax.files import write

pytestmark = pytest.mark.slow

real_video = importlib.import_module('benchmarks.real_video')
RATE_HZ = 16_000


class Metronome:
  """Plays a click on each planned beat, as loud as its energy."""

  digest = 'fake'

  def __init__(self):
    self._seen = {}

  def generate(self, video, prompt=None, seed=0, plan=planner.FROM_PICTURE):
    if id(video) not in self._seen:
      self._seen[id(video)] = analysis.analyse([video])
    made = planner.plan(self._seen[id(video)], prompt=prompt, wishes=plan)
    samples = np.zeros(round(video.seconds * RATE_HZ), np.float32)
    burst = np.random.default_rng(0).uniform(-0.5, 0.5, 800)
    for beat in made.beats:
      start = round(beat.seconds * RATE_HZ)
      room = min(len(burst), len(samples) - start)
      samples[start : start + room] = burst[:room] * (0.1 + 0.9 * beat.energy)
    return media.Audio(samples=samples, rate_hz=RATE_HZ)


class Drone:
  """Plays one chord whatever is asked."""

  digest = 'fake'

  def generate(self, video, prompt=None, seed=0, plan=None):
    times = np.arange(round(video.seconds * RATE_HZ)) / RATE_HZ
    chord = sum(np.sin(2 * np.pi * f * times) for f in (220, 277.2, 329.6))
    return media.Audio(
      samples=np.asarray(0.1 * chord, np.float32), rate_hz=RATE_HZ
    )


@pytest.fixture(scope='module')
def clips(tmp_path_factory):
  folder = tmp_path_factory.mktemp('clips')
  for name, planted in {
    'pan': {'drift': 0.7},
    'cuts': {'cuts': (1.6, 3.3, 4.9), 'drift': 0.2},
    'dance': {'beats': [0.3 + 0.55 * i for i in range(11)]},
  }.items():
    video = pulsing_clips.video(6.0, **planted)
    write.write_video(folder / f'{name}.mp4', video.frames, rate_hz=25)
  return sorted(map(str, folder.iterdir()))


def measured(system, clips, no_plan=False):
  options = argparse.Namespace(
    clips=clips, seeds=[1], no_plan=no_plan, probe_per_genre=0, judge='drawn'
  )
  figures = real_video.measure(system, options)
  assert json.loads(json.dumps(figures)) == figures
  assert 'pulse' in real_video.show(figures)
  return {
    name: value and value['mean'] for name, value in figures['figures'].items()
  }


def test_a_metronome_keeps_tempo_and_meets_cuts(clips):
  figures = measured(Metronome(), clips)
  assert figures['pulse'] > 0.5
  # Beats that were bent to cuts may be tracked at another tempo.
  assert figures['tempo_following_bpm'] >= 0.8
  assert figures['tempo_following_prompt'] >= 0.8
  assert figures['cut_hit'] > 0.7  # Half-beats have no click.
  assert figures['cut_hit_above_chance'] > 0.3
  assert figures['same_opening'] == 0
  assert 'key_following' in figures


def test_a_drone_keeps_nothing(clips):
  figures = measured(Drone(), clips, no_plan=True)
  assert figures['pulse'] < 0.4
  assert figures['key'] > 0.6
  assert figures['same_opening'] == 1
  assert figures['tempo_following_prompt'] < 0.5
  assert abs(figures['cut_hit_above_chance']) < 0.3
  assert figures['silence'] == 0
  assert 'tempo_following_bpm' not in figures


def test_shots_of_the_montage_change_at_its_cuts():
  videos = [
    media.Video(
      frames=np.full((100, 36, 48, 3), level, np.uint8),
      times=np.arange(100) / 25,
      seconds=4.0,
    )
    for level in (10, 90, 200)
  ]
  video, cuts = real_video.montage(videos)
  levels = video.frames.reshape(len(video.frames), -1).mean(1)
  changes = video.times[1:][np.diff(levels) != 0]
  assert len(cuts) == 9
  np.testing.assert_allclose(changes, cuts)
  assert video.seconds == pytest.approx(len(levels) / 25)
