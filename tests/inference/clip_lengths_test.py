"""Every verb takes clips a hair below or above whole frames and windows."""

import fractions
import json

import numpy as np
import pytest

from v2meow_jax import media
from v2meow_jax.cli import main
from v2meow_jax.explain import effects
from v2meow_jax.explain import influence
from v2meow_jax.files import probe
from v2meow_jax.files import read
from v2meow_jax.files import write
from v2meow_jax.inference import system

pytestmark = pytest.mark.slow

NTSC = fractions.Fraction(30000, 1001)
# Around a second, in which `explain` draws; 4 s, a window of the second stage;
# 10 s, a piece and a window of the first.
CLIPS = [(30, NTSC), (99, 25), (300, NTSC)]


@pytest.fixture(scope='module')
def embedded():
  return system.load('tiny')


def name_of(num_frames, rate_hz):
  return f'{num_frames}_at_{float(rate_hz):.2f}'


@pytest.fixture(scope='module')
def clips(tmp_path_factory):
  """Small noisy videos with sound."""
  folder = tmp_path_factory.mktemp('clips')
  rng = np.random.default_rng(0)
  for num_frames, rate_hz in CLIPS:
    samples = rng.normal(0, 0.1, round(num_frames / rate_hz * 16_000))
    write.write_video(
      folder / f'{name_of(num_frames, rate_hz)}.mp4',
      rng.integers(0, 255, (num_frames, 48, 64, 3), np.uint8),
      rate_hz=fractions.Fraction(rate_hz),
      audio=media.Audio(samples=np.float32(samples), rate_hz=16_000),
    )
  return folder


# Frames of the streams, and windows of the stages.
@pytest.mark.parametrize('seconds', [0.08, 0.4, 2.0, 4.0, 10.0])
def test_music_of_any_length_is_made_and_explained(embedded, seconds):
  rng = np.random.default_rng(0)
  for hair in (-1e-3, 1e-10, 1e-2):
    length = seconds + hair
    times = np.arange(0, length, 0.2)
    video = media.Video(
      frames=rng.integers(0, 255, (len(times), 32, 32, 3), np.uint8),
      times=times,
      seconds=length,
    )
    soundtrack = embedded.run(video)
    assert len(soundtrack.audio.samples) == round(length * 16_000)
    effect = effects.measure(
      embedded.stages[0],
      soundtrack.streams,
      seconds=length,
      windows=embedded.windows[0],
      settings=influence.Settings(bin_seconds=3.0),
    )
    attention = sum(table.sum(1) for table in effect.attention.values())
    np.testing.assert_allclose(attention, 1, atol=1e-4)


@pytest.fixture
def one_system(embedded, monkeypatch):
  """Commands take the system that is loaded, whose programs are compiled."""
  monkeypatch.setattr(system, 'load', lambda *_: embedded)


@pytest.mark.usefixtures('one_system')
@pytest.mark.parametrize(('num_frames', 'rate_hz'), CLIPS)
def test_files_of_any_length_are_generated_and_explained(
  clips, tmp_path, num_frames, rate_hz
):
  clip = clips / f'{name_of(num_frames, rate_hz)}.mp4'
  seconds = probe.probe_video(clip).seconds
  assert seconds == pytest.approx(float(num_frames / rate_hz), abs=1e-3)
  for verb in ('generate', 'explain'):
    out = tmp_path / f'{verb}.mp4'
    assert main.main([verb, str(clip), '-o', str(out)]) == 0
    assert len(read.read_audio(out).samples) == round(seconds * 16_000)
    assert probe.probe_video(out).num_frames == num_frames


def test_clips_of_any_length_are_evaluated(clips, tmp_path):
  command = ['evaluate', '--generated', str(clips), '--reference', str(clips)]
  command += ['--metrics', 'beats', '--plots', '0', '-o', str(tmp_path / 'out')]
  assert main.main(command) == 0
  scores = json.loads((tmp_path / 'out' / 'scores.json').read_text())
  assert len(scores['clips']) == len(CLIPS)
  assert not scores['settings']['left_out']


@pytest.mark.data
def test_clips_of_any_length_become_records_or_say_that_they_are_short(
  clips, tmp_path
):
  names = [name_of(*clip) for clip in CLIPS]
  manifest = tmp_path / 'manifest.jsonl'
  lines = (
    {'id': name, 'path': str(clips / f'{name}.mp4'), 'split': 'train'}
    for name in names
  )
  manifest.write_text('\n'.join(map(json.dumps, lines)))
  out = tmp_path / 'records'
  command = ['data', 'prepare', str(manifest), str(out), '--system', 'tiny']
  assert main.main(command) == 0
  rejected = (out / 'rejected.jsonl').read_text().splitlines()
  faults = {f['id']: f['message'] for f in map(json.loads, rejected)}
  assert sorted(faults) == sorted(names[:2])
  assert all('wanted at least 10 s' in message for message in faults.values())
