"""MuVi goes the whole way: records, music alone, video, a system, a sound."""

import json
import pathlib

import numpy as np
import pytest
import soundfile

from v2meow_jax import media
from v2meow_jax.cli import main
from v2meow_jax.codecs import trained
from v2meow_jax.files import read
from v2meow_jax.inference import system as system_lib
from v2meow_jax.models.sampling import options
from v2meow_jax.synthetic import world

pytestmark = [
  pytest.mark.slow,
  pytest.mark.data,
  pytest.mark.timeout(900),
]

ROOT = pathlib.Path(world.__file__).parents[2]
RATE = 16_000
TINY = (
  'TRAIN_STEPS = 2',
  'WARMUP_STEPS = 1',
  'BATCH_SIZE = 2',
  'NUM_LAYERS = 1',
  'EMB_DIM = 16',
  'NUM_HEADS = 2',
  'HEAD_DIM = 8',
  'MLP_DIM = 16',
  'STEPS = 2',
  'stages.flow_music.crop_seconds = 2.0',
  'loop.train.eval_batches = None',
  'loop.train.tensorboard = False',
)


def command(*words, files, bindings=()):
  gin = [f'--gin_file={name}' for name in files]
  gin += [f'--gin.{line.replace(" = ", "=", 1)}' for line in bindings]
  argv = [*map(str, words), *gin]
  assert main.main(argv) == 0, argv


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  """Records, a run on music alone, one with video from it, and a system."""
  out = tmp_path_factory.mktemp('muvi')
  manifest = world.write(str(out / 'world'), num=2, seed=5, seconds=3)
  with pytest.MonkeyPatch.context() as patch:
    patch.chdir(ROOT)
    patch.setenv('V2MEOW_DATA_DIR', str(out))
    least = 'preparation.Preparation.min_seconds = 2.0'
    command(
      *('data', 'prepare', manifest, out / 'muvi_world'),
      files=['prepare/muvi_tiny.gin'],
      bindings=[least],
    )
    for name, more in (
      ('tiny_pretraining', ()),
      ('tiny', (f"loop.train.warm_start = '{out}/tiny_pretraining'",)),
    ):
      command(
        'train',
        files=['runs/train.gin', f'systems/muvi/{name}.gin'],
        bindings=[*TINY, f"MODEL_DIR = '{out / name}'", *more],
      )
    command(
      *('export', out / 'system', '--stages', out / 'tiny'),
      files=['prepare/muvi_tiny.gin'],
    )
    yield out


def test_records_hold_what_the_codec_and_the_picture_give(folder):
  metadata = json.loads((folder / 'muvi_world' / 'metadata.json').read_text())
  assert {s['name'] for s in metadata['streams']} == {'patches', 'latents'}
  moments = json.loads((folder / 'muvi_world' / 'moments.json').read_text())
  assert len(moments['latents']['mean']) == 64


def test_what_was_learnt_of_music_alone_is_where_video_begins(folder):
  from v2meow_jax.inference import restore

  _, blind, _ = restore.read_stage(folder / 'tiny_pretraining')
  description, seeing, _ = restore.read_stage(folder / 'tiny')
  assert set(seeing) - set(blind) == {'adaptors_patches'}
  assert set(blind) <= set(seeing)
  assert set(description['moments']) >= {'latents'}


def test_a_system_of_one_stage_plays_latents(folder):
  clip = folder / 'world' / 'clips' / '000000.mp4'
  out = folder / 'out.wav'
  command(
    *('generate', clip, '-o', out, '--system', folder / 'system'),
    *('--steps', '3', '--video-guidance', '1'),
    files=(),
  )
  sound = soundfile.info(out)
  assert (sound.samplerate, sound.frames) == (RATE, 3 * RATE)
  sidecar = json.loads(out.with_suffix('.wav.json').read_text())
  assert sidecar['sampling']['music']['steps'] == 3
  config = json.loads((folder / 'system' / 'config.json').read_text())
  assert config['sound'] == 'latents' and config['visual'] == ['patches']
  # An autoencoder of the system's own file plays true latents well.
  row = next(r for r in config['networks'] if r['stream'] == 'latents')
  weights, settings = trained.read(
    'latents', folder / 'system' / row['weights'], **row['settings']
  )
  autoencoder = trained.embedded_latents(weights, **settings)
  music = read.read_audio(clip, rate_hz=RATE)
  again = autoencoder.decode(
    autoencoder.encode(music.samples[None, : 3 * RATE])
  )
  assert again.shape == (1, 3 * RATE)


def test_music_opens_a_clip_as_its_style_and_words_are_refused(folder, capsys):
  clip = folder / 'world' / 'clips' / '000000.mp4'
  outs = [folder / f'styled_{i}.wav' for i in range(2)]
  for out, style in zip(outs, ('000001.mp4', '000000.mp4'), strict=True):
    command(
      *('generate', clip, '-o', out, '--system', folder / 'system'),
      *('--style-audio', folder / 'world' / 'clips' / style),
      files=(),
    )
    assert soundfile.info(out).frames == 3 * RATE
  first, second = (soundfile.read(out)[0] for out in outs)
  assert not np.array_equal(first, second)
  words = ['generate', clip, '-o', outs[0], '--system', folder / 'system']
  assert main.main([*map(str, words), '--prompt', 'rock']) == 2
  error = capsys.readouterr().err
  assert 'reads a style' in error and '--style-audio' in error


def test_gates_of_patches_are_shown_on_the_frames(folder, capsys):
  clip = folder / 'world' / 'clips' / '000000.mp4'
  out = folder / 'overlay.mp4'
  words = ['explain', clip, '-o', out, '--system', folder / 'system']
  command(*words, files=())
  shown = read.read_video(out)
  assert shown.seconds == pytest.approx(3.0)
  facts = json.loads((folder / 'overlay.mp4.json').read_text())
  stream = facts['streams']['patches']
  gates = np.array(stream['gates_of_patches'])
  assert gates.shape == (30, 24)
  np.testing.assert_allclose(gates.sum(1), 1, atol=1e-3)
  # Between blue, for a gate of 0, and yellow.
  plain = read.read_video(clip).frames.astype(float)
  assert (
    abs(shown.frames[:, :96, -96:].mean((0, 1, 2)) - plain.mean()).max() > 5
  )
  assert len(stream['influence_of_stream_variances']) == 3
  assert main.main([*map(str, words), '--layer', '0']) == 2
  assert 'follows a flow' in capsys.readouterr().err


def test_a_student_makes_music_in_four_steps_from_its_teachers_weights(folder):
  out = folder / 'few_steps'
  command(
    'train',
    files=['runs/train.gin', 'systems/muvi/tiny_few_steps.gin'],
    bindings=[
      *(line for line in TINY if line != 'STEPS = 2'),
      f"MODEL_DIR = '{out}'",
      f"TEACHER = '{folder / 'tiny'}'",
    ],
  )
  command(
    *('export', folder / 'quick', '--stages', out),
    files=['prepare/muvi_tiny.gin'],
  )
  quick = system_lib.load(folder / 'quick')
  assert quick.stages[0].model.sampler.steps == 4
  clip = folder / 'world' / 'clips' / '000000.mp4'
  made = quick.generate(clip, seed=1)
  four = system_lib.load(folder / 'system').generate(
    clip,
    seed=1,
    sampling=options.Sampling(steps=4, video_guidance=1.0),
  )
  # After two steps it is nearly its teacher, and not quite.
  assert not np.array_equal(made.samples, four.samples)
  assert np.corrcoef(made.samples, four.samples)[0, 1] > 0.9


def test_a_clip_is_the_same_alone_and_among_others(folder):
  loaded = system_lib.load(folder / 'system')
  clips = [folder / 'world' / 'clips' / f'00000{i}.mp4' for i in range(2)]
  both = loaded.generate_batch(clips, seeds=[3, 4])
  alone = loaded.generate(clips[1], seed=4)
  assert isinstance(alone, media.Audio)
  np.testing.assert_array_equal(both[1].samples, alone.samples)
  few = options.Sampling(steps=1)
  assert not np.array_equal(
    alone.samples, loaded.generate(clips[1], seed=4, sampling=few).samples
  )
