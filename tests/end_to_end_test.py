"""The tiny system, from a file to a file: what a user gets."""

import dataclasses
import functools
import hashlib
import json

import av
import numpy as np
import pytest

from v2meow_jax import media
from v2meow_jax.cli import main
from v2meow_jax.evaluation.metrics import beat_scores
from v2meow_jax.extractors.planning import planner
from v2meow_jax.files import probe
from v2meow_jax.files import read
from v2meow_jax.files import write
from v2meow_jax.inference import system
from v2meow_jax.models.sampling import options
from v2meow_jax.synthetic import render
from v2meow_jax.synthetic import scene as scene_lib

pytestmark = pytest.mark.slow


def video_of(seed, seconds=3.0):
  scene = scene_lib.sample(seed, 0, seconds)
  frames = np.stack(list(render.frames(scene)))
  return media.Video(
    frames=frames,
    times=np.arange(len(frames)) / float(scene.rate_hz),
    seconds=seconds,
  )


def write_clip(path, seed, seconds):
  scene = scene_lib.sample(seed, 0, seconds)
  write.write_video(path, render.frames(scene), rate_hz=scene.rate_hz)
  return path


def packets(path):
  with av.open(str(path)) as container:
    stream = container.streams.video[0]
    return [
      (p.pts, hashlib.sha256(bytes(p)).hexdigest())
      for p in container.demux(stream)
      if p.size
    ]


@pytest.fixture(scope='module')
def embedded():
  return system.load('tiny')


@pytest.fixture(scope='module')
def soundtrack(embedded):
  return embedded.generate(video_of(1), seed=3)


def test_equal_inputs_and_seed_give_equal_samples(embedded, soundtrack):
  again = embedded.generate(video_of(1), seed=3)
  np.testing.assert_array_equal(again.samples, soundtrack.samples)


def test_a_soundtrack_does_not_depend_on_its_batch(embedded, soundtrack):
  batch = embedded.generate_batch(
    [video_of(2), video_of(1)], prompts=['rock', None], seeds=[5, 3]
  )
  np.testing.assert_array_equal(batch[1].samples, soundtrack.samples)


def test_it_is_as_long_as_the_video_and_can_be_heard(soundtrack):
  assert len(soundtrack.samples) == 3 * 16_000
  assert np.abs(soundtrack.samples).max() <= 1.0
  assert np.sqrt(np.mean(soundtrack.samples**2)) > 0.01


@pytest.mark.parametrize(
  'change',
  [
    {'seed': 4},
    {'prompt': 'drum and bass'},
    {'sampling': options.Sampling(temperature=0.5)},
  ],
)
def test_whatever_is_asked_for_changes_the_music(embedded, soundtrack, change):
  other = embedded.generate(video_of(1), **{'seed': 3, **change})
  assert (other.samples != soundtrack.samples).any()


def test_a_negative_prompt_acts_through_the_guidance_of_style(embedded):
  strict = {'sampling': options.Sampling(style_guidance=3.0), 'seed': 3}
  run = functools.partial(embedded.run, video_of(1), 'rock', **strict)
  plain, away = run(), run(negative='calm piano')
  assert (plain.audio.samples != away.audio.samples).any()
  assert away.settings['negative'] == 'calm piano'
  assert away.settings['sampling']['semantic']['style_guidance'] == 3.0
  with pytest.raises(ValueError, match='style_guidance above 1'):
    embedded.run(video_of(1), negative='calm piano')


def test_another_video_gets_other_music(embedded, soundtrack):
  other = embedded.generate(video_of(7), seed=3)
  assert (other.samples != soundtrack.samples).any()


def test_a_style_can_be_music(embedded, soundtrack):
  other = embedded.generate(video_of(7), seed=3, style_audio=soundtrack)
  assert len(other.samples) == len(soundtrack.samples)
  with pytest.raises(ValueError, match='choose one'):
    embedded.generate(video_of(7), 'rock', style_audio=soundtrack)


def test_a_video_file_keeps_its_picture_and_gets_sound(tmp_path, capsys):
  clip = write_clip(tmp_path / 'clip.mp4', seed=5, seconds=12.4)
  out = tmp_path / 'out.mp4'
  assert main.main(['generate', str(clip), '-o', str(out), '--seed', '1']) == 0
  assert str(out) in capsys.readouterr().out
  assert packets(out) == packets(clip)
  audio = read.read_audio(out)
  seconds = probe.probe_video(clip).seconds
  assert len(audio.samples) == round(seconds * 16_000)
  facts = json.loads((tmp_path / 'out.mp4.json').read_text())
  assert facts['seed'] == 1
  assert len(facts['system_sha256']) == 64
  digest = hashlib.sha256(clip.read_bytes()).hexdigest()
  assert facts['video_sha256'] == digest
  assert set(facts['seconds_per_part']) == {'streams', 'music', 'codec'}
  usual = dataclasses.asdict(system.load().samplings[0])
  assert facts['sampling']['music'] == usual
  assert usual['temperature'] is not None


def test_takes_are_those_of_the_next_seeds(tmp_path):
  clip = write_clip(tmp_path / 'clip.mp4', seed=5, seconds=2.0)
  out = str(tmp_path / 'out.wav')
  main.main(['generate', str(clip), '-o', out, '--takes', '2', '--seed', '8'])
  alone = str(tmp_path / 'alone.wav')
  main.main(['generate', str(clip), '-o', alone, '--seed', '9'])
  second = (tmp_path / 'out_2.wav').read_bytes()
  assert second == (tmp_path / 'alone.wav').read_bytes()
  assert second != (tmp_path / 'out_1.wav').read_bytes()


def test_a_long_video_begins_as_its_beginning(embedded):
  # Streams look at neighbours in time, so the last second may differ; a plan
  # is made of the whole.
  long = video_of(4, seconds=14.0)
  short = media.Video(
    frames=long.frames[long.times < 12.0],
    times=long.times[long.times < 12.0],
    seconds=12.0,
  )
  a = embedded.run(long, seed=2, plan=None).codes
  b = embedded.run(short, seed=2, plan=None).codes
  np.testing.assert_array_equal(a[: 8 * 25], b[: 8 * 25])


def test_a_tempo_that_is_asked_for_is_played(embedded):
  video = video_of(4, seconds=8.0)
  for bpm in (92, 126):
    audio = embedded.generate(video, seed=2, plan=planner.Wishes(bpm=bpm))
    tempo_bpm = beat_scores.track(audio).tempo_bpm
    assert beat_scores.tempo_agrees(tempo_bpm, bpm)


def test_an_edited_plan_is_followed_and_recorded(tmp_path, capsys):
  clip = write_clip(tmp_path / 'clip.mp4', 5, 6.0)
  plan, out = tmp_path / 'plan.json', tmp_path / 'out.wav'
  assert main.main(['plan', str(clip), '-o', str(plan), '--bpm', '110']) == 0
  content = json.loads(plan.read_text())
  content['sections'][0]['prompt'] = 'loud rock'
  plan.write_text(json.dumps(content))
  command = ['generate', str(clip), '-o', str(out), '--plan', str(plan)]
  assert main.main(command) == 0
  facts = json.loads((tmp_path / 'out.wav.json').read_text())
  assert facts['plan'] == content
  command = ['generate', str(clip), '-o', str(out), '--no_plan']
  assert main.main(command) == 2
  assert 'choose the tiny system' in capsys.readouterr().err
  assert main.main([*command, '--system', 'tiny']) == 0
  assert json.loads((tmp_path / 'out.wav.json').read_text())['plan'] is None


def test_a_plan_for_a_part_is_followed_in_that_part(tmp_path):
  clip = write_clip(tmp_path / 'clip.mp4', 5, 6.0)
  plan, out = str(tmp_path / 'plan.json'), tmp_path / 'out.mp4'
  part = ['--start', '1.5', '--end', '5']
  assert main.main(['plan', str(clip), '-o', plan, *part]) == 0
  command = ['generate', str(clip), '-o', str(out), '--plan', plan, *part]
  assert main.main(command) == 0
  facts = json.loads((tmp_path / 'out.mp4.json').read_text())
  assert facts['plan']['seconds'] == 3.5
  assert (facts['music_from'], facts['music_to']) == (1.5, 5.0)
  assert packets(out) == packets(clip)
  samples = read.read_audio(out).samples
  assert len(samples) == 6 * 16_000
  assert np.abs(samples[: round(1.45 * 16_000)]).max() < 0.01
  assert np.abs(samples[round(1.6 * 16_000) : 5 * 16_000]).max() > 0.05
