"""VMAs the whole way: records, training, a system that plays and that ranks."""

import json
import pathlib

import pytest
import soundfile

from tests.fakes import random_start
from v2meow_jax import experiments
from v2meow_jax import parts
from v2meow_jax import stages
from v2meow_jax.cli import main
from v2meow_jax.files import released
from v2meow_jax.inference import export
from v2meow_jax.inference import loading
from v2meow_jax.inference import system
from v2meow_jax.jobs.prepare import preparation
from v2meow_jax.synthetic import world

pytestmark = [pytest.mark.slow, pytest.mark.data, pytest.mark.timeout(900)]

ROOT = pathlib.Path(__file__).resolve().parents[1]
SECONDS = 2
TINY = (
  'NUM_LAYERS=2',
  'NUM_MUSIC_LAYERS=1',
  'NUM_HEADS=2',
  'EMB_DIM=16',
  'HEAD_DIM=8',
  'MLP_DIM=32',
  'DROPOUT_RATE=0.0',
  'TRAIN_STEPS=3',
  'WARMUP_STEPS=1',
  'BATCH_SIZE=2',
  'PREFIX_SHARE=0.0',
  f'stages.music.crop_seconds={SECONDS}.0',
  'loop.train.eval_batches=None',
  'loop.train.tensorboard=False',
)


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  """A world, its records, and the parts that they were made with."""
  out = tmp_path_factory.mktemp('vmas')
  manifest = world.write(str(out / 'world'), num=3, seed=5, seconds=SECONDS)
  records = preparation.Preparation(
    table=stages.TINY,
    parts=own_parts(),
    clips_at_once=1,
    min_seconds=SECONDS,
  )
  preparation.prepare(str(manifest), str(out / 'vmas'), records)
  with pytest.MonkeyPatch.context() as patch:
    patch.chdir(world.__file__.partition('/v2meow_jax/')[0])
    patch.setenv('V2MEOW_DATA_DIR', str(out))
    yield out


def own_parts():
  """Codec and style of the tiny system, and patches of both rates."""
  ships = system.folder('tiny')
  config = loading.upgraded(released.read_config(ships))
  own = [part for part, _ in loading.read_parts(ships, config)]
  kept = [part for part in own if part.stream in ('style', 'acoustic')]
  kinds = {'slow_patches': 'patches'}
  names = ('patches', 'slow_patches', 'onsets', 'accents')
  return kept + [
    parts.Part(kind=kinds.get(name, name), stream=name) for name in names
  ]


def trained(recipe, folder):
  """MODEL_DIR of a recipe after three steps."""
  run = folder / 'runs' / recipe.replace('/', '_')
  names = ('runs/train', f'systems/vmas/{recipe}', 'systems/vmas/tiny')
  argv = ['train', *(f'--gin_file={name}.gin' for name in names)]
  argv += [f'--gin.{line}' for line in TINY] + [f"--gin.MODEL_DIR='{run}'"]
  assert main.main(argv) == 0
  return run


def exported(run, folder):
  out = folder / 'systems' / run.name
  out.parent.mkdir(exist_ok=True)
  return export.export(str(out), stages=[str(run)], parts=own_parts())


def test_a_system_plays_explains_and_ranks(folder, capsys):
  run = trained('music', folder)
  lines = map(json.loads, (run / 'metrics.jsonl').read_text().splitlines())
  logged = next(row for row in lines if 'train/loss' in row)
  assert logged['train/negatives'] <= 1  # A batch has two rows.
  assert logged['train/onset_loss'] > 0
  system_folder = ['--system', str(exported(run, folder))]
  clip, other = (folder / f'world/clips/00000{i}.mp4' for i in (0, 1))
  sound, plot = folder / 'out.wav', folder / 'out.png'
  for verb, out in (('generate', sound), ('explain', plot)):
    argv = [verb, str(clip), '-o', str(out), *system_folder]
    assert main.main(argv) == 0
  assert soundfile.info(sound).duration == SECONDS
  assert plot.read_bytes().startswith(b'\x89PNG')
  capsys.readouterr()
  tracks = [str(clip), str(other)]
  argv = ['rank', str(clip), *tracks, *system_folder, '--json']
  assert main.main(argv) == 0
  rows = json.loads(capsys.readouterr().out)
  assert {row['path'] for row in rows} == {*tracks}
  assert rows[0]['score'] >= rows[1]['score']
  assert all(-1 <= row['score'] <= 1 for row in rows)


@pytest.mark.parametrize(
  'recipe',
  [
    recipe.removeprefix('systems/vmas/').removesuffix('.gin')
    for recipe in experiments.recipes((str(ROOT / 'gin'),))
    if recipe.startswith('systems/vmas/ablations')
  ],
)
def test_every_ablation_is_trained_and_exported(recipe, folder):
  with random_start.drawn_by_numpy():  # Parameters of the same kinds.
    run = trained(recipe, folder)
  out = exported(run, folder)
  (stage,) = released.read_config(out)['stages']
  visual = 'slow_patches' if 'slow' in recipe else 'patches'
  inputs = [s['name'] for s in stage['model']['spec']['inputs']]
  assert inputs == [visual, 'style']


def test_a_system_that_compares_nothing_says_so(folder, capsys):
  clip = str(folder / 'world/clips/000000.mp4')
  assert main.main(['rank', clip, clip, clip, '--system', 'tiny']) == 2
  assert 'cannot compare videos with music' in capsys.readouterr().err
  assert main.main(['rank', clip, clip, '--system', 'tiny']) == 2
  assert 'name two or more' in capsys.readouterr().err
