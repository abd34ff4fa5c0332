"""Networks of others and parts that are trained here make one system.

CLIP and flow of random weights in files of the published layout, a SoundStream
at the paper's rate and a style embedding, both trained here for a step or two,
go the whole way, as commands: `gin/prepare/mixed.gin` at tiny widths.
"""

import json

import pytest
import soundfile

from tests.fakes import random_system
from tests.fakes import tiny_paper
from v2meow_jax.cli import main
from v2meow_jax.files import probe
from v2meow_jax.synthetic import world

pytestmark = [
  pytest.mark.slow,
  pytest.mark.torch,
  pytest.mark.data,
  pytest.mark.timeout(1500),
]

SECONDS = 2
# A codec of 50 Hz, as the paper's, of few channels, levels and codes.
CODEC = (
  'BATCH_SIZE = 2',
  'seanet.SeanetConfig.base_channels = 2',
  'seanet.SeanetConfig.latent_dim = 8',
  'rvq.RvqConfig.num_levels = 2',
  'rvq.RvqConfig.codebook_size = 16',
  'rvq.RvqConfig.code_dim = 8',
  'trainable.CodecModel.adversarial = None',
)
STREAMS = (
  'stages.paper_streams.acoustic_codebook_size = 16',
  'stages.paper_streams.num_coarse_levels = 1',
  'stages.paper_streams.num_fine_levels = 1',
)


def command(*words, files=(), bindings=()):
  gin = [f'--gin_file={name}' for name in files]
  gin += [f'--gin.{line.replace(" = ", "=", 1)}' for line in bindings]
  assert main.main([*map(str, words), *gin]) == 0


def train(model_dir, *files, bindings):
  sizes = [
    'TRAIN_STEPS = 2',
    'WARMUP_STEPS = 1',
    'loop.train.tensorboard = False',
  ]
  sizes += ['loop.train.eval_batches = None', f"MODEL_DIR = '{model_dir}'"]
  files = ('runs/train.gin', *files)
  command('train', files=files, bindings=[*sizes, *bindings])
  return model_dir


def prepared_by(folder, runs):
  """Files and bindings: `mixed.gin` with tiny sizes, and nothing else changed."""
  recipe = tiny_paper.write(
    folder, style={'features': str(runs['features'])}, acoustic={}
  )
  own = {
    'STYLE_WEIGHTS': runs['style'],
    'CODEC_WEIGHTS': runs['codec'],
    'FEATURES': runs['features'],
  }
  bindings = [f"{name} = '{path}'" for name, path in own.items()]
  return {
    'files': ['prepare/mixed.gin', recipe],
    'bindings': [*STREAMS, *bindings],
  }


@pytest.fixture(scope='module')
def system(tmp_path_factory):
  """Folder of a system, from clips to export."""
  folder = tmp_path_factory.mktemp('mixed')
  with pytest.MonkeyPatch.context() as patch:
    patch.chdir(world.__file__.partition('/v2meow_jax/')[0])
    patch.setenv('V2MEOW_DATA_DIR', str(folder))
    manifest = world.write(
      str(folder / 'world'), num=3, seed=5, seconds=SECONDS
    )
    data = [f"MANIFEST = '{manifest}'"]
    features = folder / 'features.safetensors'
    command('data', 'fit', manifest, '-o', features, '--num', 2)
    fitted = [*data, f"FEATURES = '{features}'"]
    fitted.append('train/clips.CaptionBatches.batch_size = 2')
    runs = {
      'features': features,
      'style': train(folder / 'style', 'style.gin', bindings=fitted),
      'codec': train(
        folder / 'codec', 'codecs/soundstream.gin', bindings=[*data, *CODEC]
      ),
    }
    (folder / 'networks').mkdir()
    parts = prepared_by(folder / 'networks', runs)
    least = [f'preparation.Preparation.min_seconds = {SECONDS}.0']
    prepare = {**parts, 'bindings': [*parts['bindings'], *least]}
    command('data', 'prepare', manifest, folder / 'mixed', **prepare)
    sizes = [*tiny_paper.STAGES, *tiny_paper.COMPILED_AT_ONCE]
    sizes += ['BATCH_SIZE = 2', "DATASET = 'mixed'"]
    stages = [
      train(
        folder / name,
        f'stages/{name}.gin',
        'networks/hashed_style.gin',
        bindings=[*sizes, *STREAMS],
      )
      for name in random_system.STAGES
    ]
    out = folder / 'system'
    command('export', out, '--stages', *stages, **parts)
  return out


def test_the_config_names_every_part_whoever_trained_it(system):
  config = json.loads((system / 'config.json').read_text())
  kinds = {row['stream']: row['kind'] for row in config['networks']}
  assert kinds == {
    'clip': 'clip',
    'flow': 'i3d_flow',
    'style': 'hashed_style',
    'acoustic': 'soundstream',
  }
  own = {
    r['stream'] for r in config['networks'] if r['weights'] in config['files']
  }
  assert own == {'style', 'acoustic'}
  assert config['sound'] == 'acoustic'
  assert set(config['licences']) == {'weights', 'clip', 'flow'}


@pytest.fixture
def clip(system):
  return next((system.parent / 'world' / 'clips').glob('*.mp4'))


@pytest.mark.parametrize('prompt', [None, 'calm piano'])
def test_it_plays_as_long_as_its_video(system, clip, prompt, tmp_path):
  out = tmp_path / 'out.wav'
  style = ('--prompt', prompt) if prompt else ()
  command('generate', clip, '-o', out, '--system', system, *style)
  sound = soundfile.info(out)
  wanted = round(probe.probe_video(clip).seconds * 16_000)
  assert (sound.samplerate, sound.frames) == (16_000, wanted)


def test_another_codec_than_that_of_the_export_is_refused(
  system, clip, tmp_path, capsys
):
  file = system / 'codec.safetensors'
  before = file.read_bytes()
  file.write_bytes(before[:-1] + bytes([before[-1] ^ 1]))
  generate = ['generate', str(clip), '-o', str(tmp_path / 'out.wav')]
  try:
    assert main.main([*generate, '--system', str(system)]) == 2
  finally:
    file.write_bytes(before)
  assert 'codec.safetensors is damaged' in capsys.readouterr().err
