"""The benchmarks, run on fakes whose scores are known."""

import argparse
import importlib
import json
import types

import numpy as np
import pytest

from v2meow_jax import media
from v2meow_jax import specs
from v2meow_jax import tokens
from v2meow_jax.evaluation.controls import judges
from v2meow_jax.files import probe as media_probe
from v2meow_jax.synthetic import held_out

pytestmark = pytest.mark.slow

aac = importlib.import_module('benchmarks.aac')
codec_benchmark = importlib.import_module('benchmarks.codec')
codec_judge = importlib.import_module('benchmarks.codec_judge')
codec_runs = importlib.import_module('benchmarks.codec_runs')
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


class BitCodec:
  """Successive approximation: level n adds or subtracts 2^-(n+1)."""

  sample_rate_hz = 16_000
  stream = specs.TokenSpec(
    name='acoustic', codebook_size=2, num_codebooks=8, rate_hz=16_000.0
  )

  def encode(self, waveform):
    left, codes = np.array(waveform), []
    for level in range(8):
      up = left >= 0
      codes.append(up.astype(np.int32))
      left -= np.where(up, 1, -1) * 2.0 ** -(level + 1)
    return np.stack(codes, axis=-1)

  def decode(self, codes):
    steps = 2.0 ** -(np.arange(codes.shape[-1]) + 1.0)
    return ((2 * np.asarray(codes) - 1) @ steps).astype(np.float32)


class OracleSystem:
  """Knows the scenes: plays the true music of the one shown.

  A blank video gets silence, and a prompt the music of the genre it names.
  """

  codec = BitCodec()
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
  return judges.fit_probe(BitCodec(), per_genre=3, seconds=5.0, seed=7)


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
  lines = vmas.show({'joint': row, 'slow': row}).splitlines()
  assert lines[0].split()[-5:] == ['R@1', 'of', '64', 'R@10', 'rank']
  names = [line.split('  ')[0] for line in lines[1:]]
  assert names == ['joint (7 steps)', '', 'slow (7 steps)', '']
  assert lines[1].count('0.500 [0.250, 0.750]') == len(vmas.METRICS) + 2


def test_codec_error_of_finer_steps_falls_with_every_level():
  samples = 0.5 * np.sin(np.arange(32_000) * 0.05).astype(np.float32)
  samples += 0.1 * np.sin(np.arange(32_000) * 0.31).astype(np.float32)
  pieces = codec_benchmark.cut(samples, BitCodec(), 1.0)
  figures = codec_benchmark.measure(BitCodec(), pieces, 'test')
  assert [len(p) for p in pieces] == [16_000, 16_000]
  assert figures['falls_with_every_level']
  # The sign of a sine is a fair coin.
  assert figures['perplexity'][0] == pytest.approx(2.0, abs=0.01)
  assert 'falls with every level' in codec_benchmark.show({'test': figures})


def test_an_autoencoder_is_measured_as_one_level_without_codes():
  class Scaled:
    stream = specs.FeatureSpec(name='latents', dim=40, rate_hz=100.0)
    sample_rate_hz = 4_000

    def encode(self, waveform):
      return waveform.reshape(len(waveform), -1, 40)

    def decode(self, latents):
      return latents.reshape(len(latents), -1) / 2

  noise = np.random.default_rng(0).normal(size=4_000).astype(np.float32)
  figures = codec_benchmark.measure(Scaled(), [noise], 'test')
  (error,), (notes,) = (
    figures['log_mel_error_db'],
    figures['chroma_correlation'],
  )
  assert error == pytest.approx(20 * np.log10(2), abs=1e-3)
  assert notes == pytest.approx(1, abs=1e-4)
  assert figures['perplexity'] == []
  assert 'correlation of chroma' in codec_benchmark.show({'test': figures})


def test_log_mel_error_of_half_the_amplitude_is_six_db():
  noise = 0.3 * np.random.default_rng(0).normal(size=16_000)
  error = codec_benchmark.log_mel_error(noise, noise / 2, 16_000)
  assert error == pytest.approx(20 * np.log10(2), abs=1e-6)
  assert codec_benchmark.log_mel_error(noise, noise, 16_000) == 0


def test_log_mel_of_a_full_scale_sine_peaks_near_zero_db():
  t = np.arange(16_000) / 16_000
  silence = np.zeros(16_000)
  error = codec_benchmark._log_mel(np.sin(2 * np.pi * 2_000 * t), 16_000, 1024)
  assert error.max() == pytest.approx(0.0, abs=3.0)
  assert codec_benchmark._log_mel(silence, 16_000, 1024).max() == -80


def test_chroma_tell_a_note_from_a_buzz_at_its_place():
  t = np.arange(16_000) / 16_000

  def tones(*hertz):
    return sum(0.1 * np.sin(2 * np.pi * hz * t) for hz in hertz)

  chord = tones(262, 330, 392)
  hear = codec_benchmark.chroma_correlation
  assert hear(chord, chord / 2, 16_000) == pytest.approx(1, abs=1e-4)
  assert hear(chord, tones(277, 349, 415), 16_000) < 0
  # All multiples of 25 Hz there.
  assert hear(chord, tones(*range(250, 401, 25)), 16_000) < 0.7
  assert hear(chord, 0 * chord, 16_000) == 0


@pytest.fixture(scope='module')
def chords():
  """Four clips of a second, each of two sines."""
  t = np.arange(16_000) / 16_000
  hz = np.random.default_rng(0).uniform(200, 4_000, size=(2, 4, 1))
  return (0.2 * np.sin(2 * np.pi * hz * t)).sum(0).astype(np.float32)


def test_a_judge_hears_a_lost_treble_and_nothing_where_nothing_is():
  rng = np.random.default_rng(1)
  loudness = rng.uniform(0.1, 0.3, size=(8, 1))
  true = (loudness * rng.normal(size=(8, 16_000))).astype(np.float32)
  spectra = np.fft.rfft(true)
  spectra[:, 6_000:] = 0  # 6 kHz and above.
  dull = np.fft.irfft(spectra).astype(np.float32)
  assert codec_judge.accuracy(true, dull).min() > 0.95
  # Equal clips get equal answers, of which one is right.
  np.testing.assert_array_equal(codec_judge.accuracy(true, true), 0.5)


def test_noise_is_masked_by_louder_sound_near_it_alone():
  rng = np.random.default_rng(2)
  bins = np.fft.rfft(rng.normal(size=aac.RATE_HZ))
  hertz = np.fft.rfftfreq(aac.RATE_HZ, 1 / aac.RATE_HZ)

  def band(low, high, level):
    inside = (hertz >= low) & (hertz < high)
    return level * np.fft.irfft(np.where(inside, bins, 0))

  def worst_db(true, noise):
    ratios = aac.noise_to_mask(true, true + noise)
    return 10 * np.log10(np.median(ratios.max(axis=1)))

  loud = band(900, 1100, 0.5)
  soft = band(900, 1100, 0.5 * 10 ** (-10 / 20))
  # 10 dB softer, and offsets of 3 dB; bands of the mask spread into another.
  assert worst_db(loud, soft) == pytest.approx(-7, abs=5)
  assert worst_db(loud, soft / 10) < -20
  assert worst_db(loud, band(4000, 4200, 0.05)) > 10
  assert worst_db(loud, band(4000, 4200, 1e-7)) < -10
  assert aac.spectral_distance(loud, loud) == 0
  # Of a tenth of the band, in decibels: the rest stays as it is.
  assert aac.spectral_distance(
    band(20, 16_000, 0.1), band(20, 16_000, 0.2)
  ) == (pytest.approx(6.02, abs=0.05))


def test_sound_of_films_is_coded_no_worse_than_by_the_default_coder():
  rng = np.random.default_rng(3)
  times = np.arange(2 * aac.RATE_HZ) / aac.RATE_HZ
  decay = np.exp(-6 * (times % 0.25))
  both = np.sin(2 * np.pi * 220 * times) + rng.normal(size=len(times)) / 5
  sides = 0.2 * decay * (both + 0.1 * rng.normal(size=(2, len(times))))
  wide = aac.TwoSided(sides.astype(np.float32))
  ours, slow, intensity = (
    aac.compare(wide, aac.CODERS[name])
    for name in ('as in films', 'twoloop', 'fast')
  )
  assert ours['nmr_db'] < slow['nmr_db'] + 1
  assert ours['disturbed_share'] <= slow['disturbed_share'] + 0.01
  # Noise above 20 kHz is cut off, whatever the coder.
  assert abs(ours['level_db']) < 0.2 and abs(slow['level_db']) < 0.2
  assert intensity['nmr_db'] > ours['nmr_db'] + 3
  narrow = aac.TwoSided(wide.samples[[0, 0]])
  made, _, num_bytes = aac.coded(narrow, None)
  np.testing.assert_array_equal(*made)
  assert made.shape == narrow.samples.shape
  once = aac.compare(narrow, None)
  assert once['nmr_db'] < slow['nmr_db'] + 1
  assert num_bytes < 0.7 * aac.coded(wide, None)[2]


def test_codecs_are_compared_by_pairs_of_clips(chords):
  class Scaled(BitCodec):
    def __init__(self, factor):
      self.factor = factor

    def encode(self, waveform):
      return waveform[..., None]

    def decode(self, codes):
      return self.factor * codes[..., 0]

  def loudness(audio):
    half = len(audio.samples) // 2
    parts = audio.samples[: 2 * half].reshape(2, half)
    return np.log10(parts.std(axis=1, keepdims=True))

  true = codec_runs.embed(chords, loudness, 16_000)
  full, half = (
    codec_runs.measure(Scaled(f), chords, loudness, seed=0, what='test')
    for f in (1.0, 0.5)
  )
  same = codec_runs.intervals(full, true)
  assert [str(same[f])[:5] for f in codec_runs.FIGURES] == [
    '0.000',
    '0.000',
    '0.500',
    '0.000',
  ]
  above = codec_runs.differences(half, full, true)
  assert above['log_mel_error_db'].low > 0
  assert above['stft_distance'].mean == pytest.approx(0.5, rel=0.01)
  # All embeddings move by log10(2), and their spread is as it was.
  assert above['frechet'].mean == pytest.approx(np.log10(2) ** 2, rel=0.05)


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
