"""The benchmarks, run on fakes whose scores are known."""

import argparse
import importlib
import json
import types

import numpy as np
import pytest

from tests.fakes import bit_codec
from v2meow_jax import media
from v2meow_jax import specs
from v2meow_jax import tokens
from v2meow_jax.evaluation.controls import judges
from v2meow_jax.files import probe as media_probe
from v2meow_jax.synthetic import held_out

pytestmark = pytest.mark.slow

correspondence = importlib.import_module('benchmarks.correspondence')
extractors = importlib.import_module('benchmarks.extractors')
generate_benchmark = importlib.import_module('benchmarks.generate')
networks = importlib.import_module('benchmarks.networks.table')
records = importlib.import_module('benchmarks.records')
report = importlib.import_module('benchmarks.report')
sides = importlib.import_module('benchmarks.networks.sides')
training = importlib.import_module('benchmarks.training')
vmas = importlib.import_module('benchmarks.vmas')

OPTIONS = argparse.Namespace(
  num=6,
  seed=7,
  seconds=5.0,
  num_blank=2,
  num_prompted=3,
  probe_per_genre=4,
  no_plan=False,
)


class OracleSystem:
  """Knows the scenes: plays the true music of the one shown.

  A blank video gets silence, and a prompt the music of the genre it names.
  """

  codec = bit_codec.BitCodec()
  digest = 'fake'

  def __init__(self):
    scenes = held_out.scenes(OPTIONS.seed, OPTIONS.num, OPTIONS.seconds)
    self._shown = {s.index: s for s in scenes}

  def generate(self, video, prompt=None, seed=0):
    kind, index = video.stem.split('_')
    scene = self._shown[int(index)]
    assert media_probe.probe_video(video).seconds == pytest.approx(
      scene.seconds, abs=0.05
    )
    if kind == 'blank':
      silence = np.zeros(round(scene.seconds * 16_000), np.float32)
      return media.Audio(samples=silence, rate_hz=16_000)
    if prompt:
      return held_out.music(_of_genre(prompt, OPTIONS.seconds))
    return held_out.music(scene)


def _of_genre(prompt, seconds):
  genres = {text: genre for genre, text in held_out.PROMPTS.items()}
  candidates = held_out.scenes(99, 60, seconds)
  return next(s for s in candidates if s.genre == genres[prompt])


@pytest.fixture(scope='module')
def probe():
  return judges.fit_probe(
    bit_codec.BitCodec(), per_genre=3, seconds=5.0, seed=7
  )


@pytest.fixture(scope='module')
def true_figures(probe):
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(judges, 'fit_probe', lambda *_, **__: probe)
    return correspondence.measure(OracleSystem(), OPTIONS)


def test_true_music_scores_high_and_shuffled_low(true_figures):
  real, shuffled = true_figures['real'], true_figures['shuffled']
  assert real['tempo_accuracy']['mean'] >= 0.8
  assert real['beat_f']['mean'] >= 0.85
  assert real['genre_accuracy']['mean'] >= 0.8
  assert shuffled['tempo_accuracy']['mean'] <= 0.4
  assert shuffled['beat_f']['mean'] <= 0.5
  assert shuffled['genre_accuracy']['mean'] <= 0.4


def test_silence_for_a_blank_video_has_no_tempo_and_no_beats(true_figures):
  assert true_figures['blank']['tempo_accuracy']['high'] == 0
  assert true_figures['blank']['beat_f']['high'] == 0


def test_a_followed_prompt_is_counted(true_figures):
  assert true_figures['prompt_following']['mean'] == 1
  assert true_figures['prompted']['genre_accuracy']['mean'] == 0


def test_oracle_equals_the_ceiling(true_figures):
  assert true_figures['real'] == true_figures['ceiling']['true_music']


def test_music_of_another_scene_scores_as_shuffled(probe):
  scenes = held_out.scenes(OPTIONS.seed, OPTIONS.num, OPTIONS.seconds)
  others = [held_out.music(s) for s in (*scenes[1:], scenes[0])]
  scores = correspondence.matched(
    judges.grids(correspondence.judge(others, probe), scenes)
  )
  assert scores['tempo_accuracy']['mean'] <= 0.4
  assert scores['beat_f']['mean'] <= 0.5
  assert scores['genre_accuracy']['mean'] <= 0.4


def test_figures_have_the_promised_keys_and_print(true_figures):
  figures = json.loads(json.dumps(true_figures))
  for condition in ('real', 'shuffled', 'blank'):
    for metric in ('tempo_accuracy', 'beat_f', 'genre_accuracy'):
      assert set(figures[condition][metric]) == {'mean', 'low', 'high'}
  assert set(figures['prompt_following']) == {'mean', 'low', 'high'}
  text = correspondence.show(figures)
  for word in ('real', 'shuffled', 'blank', 'prompt_following', 'ceiling'):
    assert word in text


def test_prompts_name_every_genre_and_never_that_of_the_picture():
  from v2meow_jax.synthetic import genres

  assert set(held_out.PROMPTS) == set(genres.GENRES)
  for index in range(20):
    for genre in genres.GENRES:
      assert held_out.other_genre(index, genre) != genre


def test_held_out_scenes_and_probe_scenes_differ_from_training():
  scored = held_out.scenes(0, 3, 2.0)
  probe = held_out.probe_scenes(0, 1, 2.0)
  training = held_out.scenes(0, 3, 2.0, 0)
  tempi = [s.tempo_bpm for s in (*scored, *probe, *training)]
  assert len(probe) == 6 and len(set(tempi)) == 12


def test_onsets_of_a_clip_are_those_of_its_own_scene_and_not_of_others():
  music = [held_out.music(s) for s in held_out.scenes(7, 3, 5.0)]
  grid = vmas._onset_grid(music, music)
  assert (np.diagonal(grid) == 1).all()
  assert grid[~np.eye(3, dtype=bool)].max() < 0.9


def test_variants_stand_in_a_table_with_the_same_music_for_other_videos():
  score = {'mean': 0.5, 'low': 0.25, 'high': 0.75}
  row = {
    'steps': 7,
    'real': dict.fromkeys(vmas.METRICS, score),
    'shuffled': dict.fromkeys(vmas.METRICS, score),
    'retrieval': {
      'num': 64,
      'recall_at_1': score,
      'recall_at_10': score,
      'median_rank': 3.0,
    },
  }
  joint, slow = (
    {**row, 'per_clip': dict.fromkeys(vmas.METRICS, values)}
    for values in ([0.5, 1.0, 0.75], [0.25, 0.75, 0.5])
  )
  lines = vmas.show({'joint': joint, 'slow': slow}).splitlines()
  assert lines[0].split()[-5:] == ['R@1', 'of', '64', 'R@10', 'rank']
  names = [line.split('  ')[0] for line in lines[1:]]
  assert names == ['joint (7 steps)', '', 'slow (7 steps)', '', 'joint - slow']
  assert lines[1].count('0.500 [0.250, 0.750]') == len(vmas.METRICS) + 2
  # Of pairs of clips: one says as much as the mean.
  assert lines[5].count('0.250 [0.250, 0.250]') == len(vmas.METRICS)


def test_sequential_steps_of_windows_with_and_without_prefix():
  target = specs.TokenSpec(
    name='t', codebook_size=8, num_codebooks=2, rate_hz=25.0
  )
  stages = [
    types.SimpleNamespace(
      spec=specs.StageSpec(name=n, inputs=(), target=target, crop_seconds=s)
    )
    for n, s in (('long', 10.0), ('short', 4.0))
  ]
  windows = [
    types.SimpleNamespace(prefix_seconds=4.0, rows=1),
    types.SimpleNamespace(prefix_seconds=0.0, rows=2),
  ]
  system = types.SimpleNamespace(stages=stages, windows=windows)
  # 16 s: a window of 500 ids and one of 300 new ones; four windows, two calls.
  assert generate_benchmark.sequential_steps(system, 16.0) == {
    'long': 800,
    'short': 400,
    'total': 1200,
  }


def test_a_flow_takes_its_steps_for_each_window():
  target = specs.FeatureSpec(name='x', dim=3, rate_hz=25.0)
  spec = specs.StageSpec(name='m', inputs=(), target=target, crop_seconds=8.0)
  sampler = types.SimpleNamespace(steps=12)
  model = types.SimpleNamespace(sampler=sampler)
  system = types.SimpleNamespace(
    stages=[types.SimpleNamespace(spec=spec, model=model)],
    windows=[types.SimpleNamespace(prefix_seconds=2.0, rows=1)],
  )
  # 20 s: windows begin at 0, 6 and 12 s.
  steps = generate_benchmark.sequential_steps(system, 20.0)
  assert steps == {'m': 36, 'total': 36}


def test_peak_memory_of_a_process_is_what_it_took(tmp_path):
  import sys

  take = 'x = bytearray(300_000_000); x[::4096] = b"1" * len(x[::4096])'
  _, peak = generate_benchmark.measure_command(
    [sys.executable, '-c', take], tmp_path
  )
  assert peak > 300e6


def test_a_command_that_fails_is_named(tmp_path):
  import sys

  with pytest.raises(ValueError, match='exit code 3: broken'):
    generate_benchmark.measure_command(
      [sys.executable, '-c', 'print("broken"); raise SystemExit(3)'],
      tmp_path,
    )


@pytest.mark.parametrize(
  'argv, names',
  [
    (['--num', '1'], 'at least two scenes'),
    (['--num', '4', '--num_blank', '9'], '--num_blank 9'),
    (['--json', '/nowhere/out.json'], '/nowhere'),
    (['--system', '/nowhere', '--num', '2'], 'nowhere'),
  ],
)
def test_a_mistake_is_one_line_and_exit_code_2(argv, names, capsys):
  assert report.run(lambda: correspondence.main(argv)) == 2
  said = capsys.readouterr().err.strip()
  assert names in said and '\n' not in said


def test_json_is_written_whole_with_versions(tmp_path):
  path = tmp_path / 'out.json'
  report.write_json(str(path), {'a': 1})
  figures = json.loads(path.read_text())
  assert figures['a'] == 1 and 'numpy' in figures['versions']
  assert [p.name for p in tmp_path.iterdir()] == ['out.json']


def test_steps_take_turns_after_one_that_compiles():
  called = []
  runs = {name: lambda name=name: called.append(name) for name in ('a', 'b')}
  taken = training.seconds_in_turn(runs, 3)
  assert called == ['a', 'b'] * 4
  assert [len(seconds) for seconds in taken.values()] == [3, 3]


@pytest.mark.parametrize('shape', training.SHAPES)
def test_a_timed_stage_has_the_lengths_that_the_table_names(shape):
  model = training.stage_model(*shape)
  batch = training.random_batch(model, 2)
  lengths = {k: v.shape[1] for k, v in batch.items()}
  assert lengths['encoder_inputs_read'] == shape[0]
  assert lengths['decoder_target_tokens'] == shape[1]
  # The ids are those of their own levels, or this would refuse them.
  codes = tokens.IdSpace(model.spec).ids_to_codes(
    batch['decoder_target_tokens'], model.spec.target
  )
  assert codes.shape == (2, shape[1] // shape[2], shape[2])


def test_ratios_are_those_of_medians_and_speeds_of_media(monkeypatch):
  taken = {'ours': [2.0, 9.0, 1.0], 'reference': [3.0, 1.0, 40.0]}

  def in_turn(runs, rounds):
    assert [run() for run in runs.values()] == ['ours', 'theirs']
    return {name: taken[name][:rounds] for name in runs}

  network = sides.Sides(
    amount=5.0,
    unit='s',
    ours=lambda: 'ours',
    num_parameters=7,
    reference=lambda device: lambda: {'cpu': 'theirs'}[device],
  )
  monkeypatch.setattr(training, 'seconds_in_turn', in_turn)
  monkeypatch.setattr(extractors, '_torch_device', lambda cores: 'cpu')
  monkeypatch.setitem(networks.NETWORKS, 'planted', lambda tiny: network)
  figures = extractors.measure('planted', rounds=3, cores=1, tiny=True)
  assert figures['per_second'] == 2.5 and figures['ratio'] == 1.5
  assert figures['parameters'] == 7 and figures['unit'] == 's'
  assert 'met' in extractors.show({'planted': figures})
  assert 'MISSED' in extractors.show({'planted': {**figures, 'ratio': 0.99}})
  assert 'MISSED' not in extractors.show({'none': {**figures, 'ratio': None}})


@pytest.mark.torch
def test_a_tiny_network_is_timed_in_a_process_of_its_own(tmp_path, capsys):
  path = tmp_path / 'out.json'
  argv = ['--network', 'vit-vqgan', '--tiny', '--rounds', '2']
  extractors.main([*argv, '--json', str(path)])
  assert 'vit-vqgan' in capsys.readouterr().out
  ((name, found),) = json.loads(path.read_text())['networks'].items()
  layer = 24 * (3 * 24 + 24 + 2 * 40) + 24 + 40 + 24 + 4 * 24
  ends = (8 * 8 * 3 + 1) * 24 + 16 * 24 + 2 * 24 + 25 * 6 + 50 * 6
  assert name == 'vit-vqgan' and found['parameters'] == 2 * layer + ends
  assert found['peak_bytes'] > 50e6
  assert [len(turns) for turns in found['rounds'].values()] == [2, 2]


@pytest.mark.torch
@pytest.mark.parametrize('name', networks.NETWORKS)
def test_every_network_runs_at_tiny_size_and_so_does_its_reference(name):
  if name.startswith('flow'):
    pytest.importorskip('cv2', reason='the extra `flow` is not installed')
  network = networks.NETWORKS[name](True)
  network.ours()
  assert network.amount > 0 and network.unit in ('frames', 's')
  if network.reference is not None:
    network.reference('cpu')()


def test_a_network_that_fails_is_named():
  options = argparse.Namespace(rounds=1, cores=1, tiny=True)
  with pytest.raises(ValueError, match="nowhere: exit code 2: .*'nowhere'"):
    extractors.measure_apart('nowhere', options)


def test_records_in_pieces_hold_what_whole_ones_hold():
  options = argparse.Namespace(
    videos=4, seconds=25.0, piece_seconds=10.0, batches=1, rounds=1
  )
  whole, pieces = records.measure(options)
  assert (whole['kind'], pieces['kind']) == ('whole', 'pieces')
  # A style vector, a name and a frame of 16 bytes more for each piece.
  assert 1 < pieces['bytes'] / whole['bytes'] < 1.1
  assert pieces['examples_per_second'] > 0 and whole['over_whole'] == 1
  assert 'over whole' in records.show([whole, pieces])
