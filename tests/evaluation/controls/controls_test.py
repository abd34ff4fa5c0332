"""Systems with a known gift, under controls: the table says who has which."""

import json
import pathlib
import types

import numpy as np
import pytest

from v2meow_jax import media
from v2meow_jax.evaluation.controls import control_clips
from v2meow_jax.evaluation.controls import controls
from v2meow_jax.evaluation.listening import networks
from v2meow_jax.evaluation.metrics import scores
from v2meow_jax.files import write
from v2meow_jax.models.sampling import options
from v2meow_jax.synthetic import held_out

pytestmark = pytest.mark.slow

NUM, SEED, SECONDS = 4, 3, 5.0


class Codec:
  """Keeps what it is given."""

  sample_rate_hz = 16_000

  class stream:
    rate_hz = 16_000.0

  def encode(self, waveform):
    return waveform

  def decode(self, codes):
    return codes


class Oracle:
  """Plays the true music of a scene, of a prompt's genre, or silence."""

  codec = Codec()
  config = {'name': 'oracle', 'visual': ['clip']}
  stages = ()
  digest = 'oracle'
  dtype = 'float32'

  def __init__(self):
    self.calls, self.seeds = 0, []
    scenes = held_out.scenes(SEED, NUM, SECONDS)
    self._shown = {str(scene.index): scene for scene in scenes}

  def follows(self, plan, *prompts):
    return True

  def generate(self, video, prompt=None, seed=0):
    self.calls += 1
    self.seeds.append(seed)
    kind, _, index = video.stem.partition('_')
    scene = self._shown[index]
    if kind == 'blank':
      samples = np.zeros(round(scene.seconds * 16_000), np.float32)
      return media.Audio(samples=samples, rate_hz=16_000)
    return self.play(prompt, scene)

  def play(self, prompt, scene):
    if prompt is None:
      return held_out.music(scene)
    genres = {text: genre for genre, text in held_out.PROMPTS.items()}
    others = held_out.scenes(99, 60, SECONDS)
    return held_out.music(next(s for s in others if s.genre == genres[prompt]))


class Deaf(Oracle):
  """Plays the music of another scene, whatever it is shown or told."""

  digest = 'deaf'

  def play(self, prompt, scene):
    return held_out.music(held_out.scenes(98, 1, SECONDS)[0])


@pytest.fixture(scope='module')
def world(tmp_path_factory):
  """Reports of both systems, from one cache."""
  folder = tmp_path_factory.mktemp('controls')
  return folder, {
    system: run(system, folder / system.digest, cache=folder / 'cache')
    for system in (Oracle(), Deaf())
  }


def run(system, out, dataset=controls.SYNTHETIC, **options):
  return controls.run(
    system,
    dataset,
    out,
    networks=[networks.load('tiny-style')],
    num=NUM,
    seed=SEED,
    seconds=SECONDS,
    probe_per_genre=4,
    num_plots=1,
    **options,
  )


def figures(world, name):
  return next(
    report.scores.metrics
    for system, report in world[1].items()
    if system.digest == name
  )


def test_the_oracle_follows_the_picture_and_the_prompt(world):
  found = figures(world, 'oracle')
  for metric in ('tempo_accuracy', 'beat_f'):
    assert found[metric].value > 0.8 > found[f'{metric}_shuffled'].value
    assert found[f'{metric}_blank'].value == 0
    assert found[metric] == found[f'{metric}_true_music']
  assert found['mcc_audio/tiny-style'].value > 0.99
  assert found['fad/tiny-style'].value < 1e-3
  assert found['prompt_following'].value >= 0.75


def test_the_deaf_system_does_no_better_than_its_shuffled_row(world):
  found = figures(world, 'deaf')
  good = figures(world, 'oracle')
  assert found['beat_f'].value == pytest.approx(
    found['beat_f_shuffled'].value, abs=0.2
  )
  assert found['fad/tiny-style'].value > good['fad/tiny-style'].value
  assert found['prompt_following'].value < 0.75


def test_a_second_run_generates_nothing_and_writes_the_same(world):
  folder, reports = world
  out = folder / 'oracle'
  system = next(s for s in reports if s.digest == 'oracle')
  calls = system.calls
  assert calls == 3 * NUM
  before = {
    path: path.read_bytes() for path in out.rglob('*') if path.is_file()
  }
  run(system, out, cache=folder / 'cache')
  assert system.calls == calls
  after = {path: path.read_bytes() for path in out.rglob('*') if path.is_file()}
  assert after == before
  assert scores.read(out).settings['controls'] == list(controls.CONTROLS)


@pytest.mark.parametrize(
  'options, said',
  [
    ({'probe_per_genre': -3}, '--probe_per_genre is -3; wanted 2 to'),
    ({'probe_per_genre': 1}, '--probe_per_genre is 1'),
    ({'seconds': 1e9}, '--seconds is 1000000000.0; wanted 1 to 600'),
    ({'num': 1}, '--num is 1'),
    ({'seed': -1}, '--seed is -1'),
    ({'controls': ('dark',)}, 'no control is named dark'),
  ],
)
def test_what_cannot_work_is_said_before_the_work(options, said, tmp_path):
  with pytest.raises(ValueError, match=said):
    controls.run(
      Oracle(), controls.SYNTHETIC, tmp_path / 'out', networks=[], **options
    )
  assert not (tmp_path / 'out').exists()


def test_prompts_are_no_control_of_a_system_that_reads_none(tmp_path):
  def follows(plan, *prompts):
    raise ValueError(f'{prompts} say nothing to it.')

  system = Oracle()
  system.follows = follows
  out = tmp_path / 'out'
  with pytest.raises(ValueError, match='say nothing.*--control shuffle,blank'):
    controls.run(system, controls.SYNTHETIC, out, networks=[])
  assert not out.exists() and not system.calls


def test_a_clip_has_one_seed_under_all_conditions(world):
  system = next(s for s in world[1] if s.digest == 'oracle')
  wanted = [10_000 * SEED + i for i in range(NUM) for _ in range(3)]
  assert system.seeds == wanted


def test_judged_figures_name_the_truth_and_the_judge(world):
  found = figures(world, 'oracle')
  for name in ('genre_accuracy', 'beat_f_shuffled', 'tempo_accuracy_blank'):
    assert found[name].details['truth'] == 'known'
    assert len(found[name].details['genre_judge']['digest']) == 64
    assert len(found[name].per_clip) == NUM
  assert found['genre_bias'].details['groups']
  assert sum(map(sum, found['genre_bias_prompt'].details['counts'])) == NUM


def test_a_distance_of_too_few_rows_is_no_headline(world):
  folder = world[0] / 'oracle'
  head, _, figures = (folder / 'report.md').read_text().partition('## Figures')
  assert 'fad/tiny-style' not in head
  assert '| `fad/tiny-style` | ' in figures and 'singular' in figures
  assert "this project's own; not comparable" in figures


def test_the_report_has_the_table_the_bias_and_what_does_not_apply(world):
  text = (world[0] / 'oracle' / 'report.md').read_text()
  assert '| real video | ' in text and '| grey video, ' in text
  assert 'Music without a prompt' in text and 'Music with a prompt' in text
  assert 'Not applicable: stage 2 reads no video.' in text


def test_videos_of_ones_own_are_scored_and_a_broken_one_is_listed(
  world, tmp_path
):
  videos = tmp_path / 'videos'
  for i, scene in enumerate(held_out.scenes(SEED, NUM - 1, SECONDS)):
    group = videos / f'group{i % 2}'
    group.mkdir(parents=True, exist_ok=True)
    frames = np.full((50, 64, 64, 3), 40 * i, np.uint8)
    path = group / f'real_{scene.index}.mp4'
    write.write_video(path, frames, rate_hz=10, audio=held_out.music(scene))
  (videos / 'zz.mp4').write_bytes(b'no video')

  class Singer(Oracle):
    def generate(self, video, prompt=None, seed=0):
      assert pathlib.Path(video).exists()
      return self.play(None, next(iter(self._shown.values())))

  report = run(
    Singer(), tmp_path / 'out', str(videos), controls=('shuffle', 'blank')
  )
  assert len(report.pairs) == NUM - 1
  assert [fault.name for fault in report.faults] == ['zz.mp4']
  found = json.loads((tmp_path / 'out' / 'scores.json').read_bytes())
  assert 'beat_f_blank' in found['metrics']
  assert 'beat_f_prompt' not in found['metrics']
  text = (tmp_path / 'out' / 'report.md').read_text()
  assert '| group0 | ' in text and '| group1 | ' in text
  assert 'videos were taken' not in text
  assert found['metrics']['beat_f']['details']['truth'].startswith('as heard')


def test_videos_that_are_not_taken_are_counted_and_a_name_is_had_once(tmp_path):
  (tmp_path / 'a').mkdir()
  for name in ('a/b.mp4', 'c.mp4', 'd.mp4'):
    frames = np.zeros((30, 16, 16, 3), np.uint8)
    write.write_video(tmp_path / name, frames, rate_hz=10)
  out = tmp_path / 'out'
  clips, faults, available = control_clips.of_dataset(tmp_path, out, num=2)
  assert [c.name for c in clips] == ['a_b.mp4', 'c.mp4']
  assert (faults, available) == ([], 3)
  (tmp_path / 'c.mp4').rename(tmp_path / 'a_b.mp4')
  with pytest.raises(ValueError, match="called 'a_b.mp4' in the report"):
    control_clips.of_dataset(tmp_path, out, num=2)


class Stage:
  """Stage 2 of a system that looks at the picture again."""

  spec = types.SimpleNamespace(
    name='coarse', inputs=(types.SimpleNamespace(name='clip'),)
  )

  def sample(self, inputs, rngs, sampling, prefix=None, negative=None):
    del rngs, prefix, sampling
    return inputs['clip']


class Seeing(Oracle):
  """Plays another scene where its stage 2 sees nothing."""

  stages = (Stage(), Stage())

  def play(self, prompt, scene):
    seen = self.stages[1].sample({'clip': np.ones(1)}, None, options.Sampling())
    return held_out.music(
      scene if seen.any() else held_out.scenes(98, 1, SECONDS)[0]
    )


def test_what_stage_2_sees_is_missed_without_vision(world, tmp_path):
  report = run(
    Seeing(), tmp_path, controls=('stage2',), cache=world[0] / 'cache'
  )
  found = report.scores.metrics
  assert found['beat_f'].value > 0.8 > found['beat_f_stage2_blind'].value
  assert 'beat_f_shuffled' not in found
  text = (tmp_path / 'report.md').read_text()
  assert '| stage 2 without vision | ' in text and 'Not applicable' not in text


def test_an_unknown_control_lists_those_there_are(tmp_path):
  with pytest.raises(ValueError, match='shuffle, blank, prompt, stage2'):
    run(Oracle(), tmp_path, controls=('colour',))
