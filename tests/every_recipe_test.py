"""Every experiment of V2Meow goes the whole way: records, training, a sound.

Streams and rates are those of the paper, clips are of two seconds, networks of
others are tiny and random and come from files of the published layout.
"""

import contextlib
import json

import numpy as np
import pytest
import soundfile

from tests.fakes import random_start
from tests.fakes import random_system
from tests.fakes import tiny_paper
from v2meow_jax import experiments
from v2meow_jax import stages
from v2meow_jax import tokens
from v2meow_jax.cli import main
from v2meow_jax.files import read
from v2meow_jax.synthetic import world

pytestmark = [
  pytest.mark.slow,
  pytest.mark.torch,
  pytest.mark.data,
  pytest.mark.timeout(1500),
]

SECONDS = 2
LEVELS = (
  'stages.paper_streams.num_coarse_levels = 1',
  'stages.paper_streams.num_fine_levels = 1',
)
TRAINING = (
  'TRAIN_STEPS = 2',
  'WARMUP_STEPS = 1',
  'BATCH_SIZE = 2',
  'loop.train.eval_batches = None',
  'loop.train.tensorboard = False',
)
# Ablations read other inputs, and their parameters are of the same kinds: a
# third less to compile in a step, and nothing for what they start from.
ABLATIONS = 'stages/ablations/'
PLAIN = 'loop.train.make_optimizer = @optax.sgd'
BLIND = 'stages/coarse.gin'
SEEN = {'clip', 'flow', 'vit_vqgan', 'maskgit_vqgan'}
DAC = random_system.TINY_DAC | {'num_levels': 2}


def command(*words, files, bindings=()):
  gin = [f'--gin_file={name}' for name in files]
  gin += [f'--gin.{line.replace(" = ", "=", 1)}' for line in bindings]
  argv = [*map(str, words), *gin]
  assert main.main(argv) == 0, argv


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  """Clips, tiny networks, and the records of videos and of music alone."""
  out = tmp_path_factory.mktemp('recipes')
  manifest = world.write(str(out / 'world'), num=2, seed=5, seconds=SECONDS)
  lines = []
  for line in map(json.loads, manifest.read_text().splitlines()):
    audio = read.read_audio(manifest.parent / line['path'])
    soundfile.write(out / f'{line["id"]}.wav', audio.samples, audio.rate_hz)
    lines.append(json.dumps({'id': line['id'], 'path': f'{line["id"]}.wav'}))
  music = out / 'music.jsonl'
  music.write_text('\n'.join(lines))
  (out / 'networks').mkdir()
  with pytest.MonkeyPatch.context() as patch:
    patch.setitem(random_system.TINY_DAC, 'num_levels', 2)
    networks = tiny_paper.write(out / 'networks', acoustic={'config': DAC})
    patch.chdir(world.__file__.partition('/v2meow_jax/')[0])
    patch.setenv('V2MEOW_DATA_DIR', str(out))
    least = f'preparation.Preparation.min_seconds = {SECONDS}.0'
    for clips, name, recipe in (
      (manifest, 'mv100k', 'pictures'),
      (music, 'music_only', 'music_only'),
    ):
      command(
        *('data', 'prepare', clips, out / name),
        files=[f'prepare/{recipe}.gin', networks],
        bindings=[*LEVELS, least],
      )
    yield out


def test_all_streams_become_batches_of_every_stage(folder):
  """As `gin/prepare/pictures.gin` records them, of the widths of the networks."""
  metadata = json.loads((folder / 'mv100k' / 'metadata.json').read_text())
  names = {row['name'] for row in metadata['streams']}
  audio = {'semantic', 'acoustic'}
  assert names == {*SEEN, 'style', *audio}
  moments = json.loads((folder / 'mv100k' / 'moments.json').read_text())
  assert set(moments) == {'clip', 'flow'}
  metadata = json.loads((folder / 'music_only' / 'metadata.json').read_text())
  assert {row['name'] for row in metadata['streams']} == audio
  for name in ('mv100k', 'music_only'):
    assert (folder / name / 'rejected.jsonl').read_text() == ''
  table = stages.paper_streams(num_coarse_levels=1, num_fine_levels=1)
  first = batch(stages.semantic(('clip', 'flow', 'style'), 2.0, table))
  shapes = {name: x.shape for name, x in first.items()}
  assert shapes['encoder_inputs_clip'] == (2, 2, 768)
  assert shapes['encoder_inputs_flow'] == (2, 2, 1024)
  assert shapes['encoder_inputs_style'] == (2, 1, 512)
  assert shapes['decoder_target_tokens'] == (2, 50)
  for name in ('clip', 'flow', 'style'):
    values = first[f'encoder_inputs_{name}']
    assert np.isfinite(values).all() and values.std() > 0
  for stage, length in (
    (stages.coarse(('semantic',), 2.0, table), 50 + 100),
    (stages.fine(('coarse',), 1.0, table), 50 + 50),
  ):
    ids = batch(stage, layout='prefix')['decoder_target_tokens']
    assert ids.shape == (2, length)
    written = ids[:, -stage.target.length(stage.crop_seconds) :]
    low = tokens.IdSpace(stage).offset(stage.target)
    assert written.min() >= low
    assert written.max() < low + stage.target.num_ids


def batch(stage, **options):
  from v2meow_jax.data import batches

  made = batches.TaskBatches(stage, dataset='mv100k', batch_size=2, **options)
  return next(made())


def train(recipe, folder):
  """Trains two steps, and returns the stage and MODEL_DIR."""
  import gin

  files = ['runs/train.gin', recipe]
  spec = experiments.load_model(files, (), ['gin']).spec
  make_stage = str(gin.query_parameter('%STAGE')).strip('@()')
  longest = 1.0 if make_stage == 'stages.fine' else SECONDS
  name = recipe.removesuffix('.gin').replace('/', '_')
  out = folder / 'runs' / name
  own = {
    BLIND: "DATASET = 'music_only'",
    'stages/coarse_fine_tuned.gin': f"WARM_START = '{folder}/runs/stages_coarse'",
  }
  lines = [
    'from __gin__ import dynamic_registration',
    'import optax',
    'from v2meow_jax import stages',
    'from v2meow_jax.training import loop',
    *random_system.TINY_STAGES,
    *(*tiny_paper.COMPILED_AT_ONCE, *LEVELS, *TRAINING),
    f'{make_stage}.crop_seconds = {longest}',
    'PREFIX_SHARE = 0.0',
    f"MODEL_DIR = '{out}'",
    own.get(recipe, ''),
    PLAIN if recipe.startswith(ABLATIONS) else '',
  ]
  # A file may bind what a recipe has no use for.
  tiny = folder / f'{name}.gin'
  tiny.write_text('\n'.join(lines) + '\n')
  with contextlib.ExitStack() as stack:
    if recipe.startswith(ABLATIONS):
      stack.enter_context(random_start.drawn_by_numpy())
    command('train', files=[*files, tiny])
  return spec, out


def chains(specs):
  """Recipes of the stages of systems that take in all of them.

  Args:
    specs: Stage of each recipe.

  Returns:
    Names of the recipes of each system, in the order in which they run.
  """

  def reads(recipe):
    return [s.name for s in specs[recipe].token_inputs if not s.is_picture]

  def choose(candidates):
    return next((r for r in candidates if r in left), candidates[0])

  left, systems = list(specs), []
  while left:
    chain = left[:1]
    while wanted := reads(chain[0]):
      writers = [r for r in specs if specs[r].target.name == wanted[0]]
      chain.insert(0, choose(writers))
    target = specs[chain[-1]].target.name
    while readers := [r for r in specs if reads(r)[:1] == [target]]:
      chain.append(choose(readers))
      target = specs[chain[-1]].target.name
    systems.append(chain)
    left = [recipe for recipe in left if recipe not in chain]
  return systems


def test_every_experiment_is_trained_exported_and_played(folder):
  # Those of other systems: vmas_system_test.py and muvi_test.py.
  recipes = [r for r in experiments.recipes() if r.startswith('stages/')]
  runs = {recipe: train(recipe, folder) for recipe in recipes}
  clip = folder / 'world' / 'clips' / '000000.mp4'
  parts = ['prepare/pictures.gin', folder / 'networks' / 'tiny.gin']
  for chain in chains({recipe: spec for recipe, (spec, _) in runs.items()}):
    models = [runs[recipe][1] for recipe in chain]
    system, out = folder / 'system', folder / 'out.wav'
    command('export', system, '--stages', *models, files=parts, bindings=LEVELS)
    config = json.loads((system / 'config.json').read_text())
    specs = [row['model']['spec'] for row in config['stages']]
    read_streams = {s['name'] for spec in specs for s in spec['inputs']}
    assert set(config['visual']) == read_streams & SEEN, chain
    command('generate', clip, '-o', out, '--system', system, files=())
    sound = soundfile.info(out)
    assert (sound.samplerate, sound.frames) == (16_000, SECONDS * 16_000)
    sidecar = json.loads(out.with_suffix('.wav.json').read_text())
    assert list(sidecar['sampling']) == [spec['name'] for spec in specs]
