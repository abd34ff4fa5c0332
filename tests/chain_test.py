"""The whole chain as commands, at tiny sizes: from nothing to a soundtrack.

Records and networks are made in this process, which compiles once; the system is
exported, played and scored by processes of their own, which have only its files.
"""

import json
import shutil

import pytest
import soundfile

from tests.fakes import command
from v2meow_jax.cli import main
from v2meow_jax.files import probe

pytestmark = [
  pytest.mark.slow,
  pytest.mark.data,
  pytest.mark.timeout(600),
]

SHORT = ('--gin.TRAIN_STEPS=2', '--gin.WARMUP_STEPS=1', '--gin.BATCH_SIZE=2')
SIZES = (
  '--gin_file=tiny.gin',
  *(f'--gin.{name}=1' for name in ('NUM_LAYERS', 'NUM_HEADS')),
  *(f'--gin.{name}=8' for name in ('EMB_DIM', 'HEAD_DIM', 'MLP_DIM')),
)
SECONDS = 10  # A crop of the first stage.
NUM_CLIPS = 10  # The tenth is for validation.
STAGES = {
  'semantic': 'semantic',
  'coarse': 'coarse_encoder',
  'fine': 'fine_encoder',
}


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  """Where commands run: recipes are there, and all that they write."""
  path = tmp_path_factory.mktemp('chain')
  for recipes in ('gin', 'tasks'):
    (path / recipes).symlink_to(command.ROOT / recipes)
  return path


@pytest.fixture(scope='module')
def run(folder):
  """Runs a command in the folder, in this process."""

  def checked(*arguments):
    assert main.main([*map(str, arguments)]) == 0, arguments

  with pytest.MonkeyPatch.context() as patch:
    patch.chdir(folder)
    patch.setenv('V2MEOW_DATA_DIR', 'data')
    yield checked


@pytest.fixture(scope='module')
def run_apart(folder):
  """Runs a command in the folder, in a process of its own."""

  def checked(*arguments):
    done = command.v2meow(*arguments, cwd=folder, V2MEOW_DATA_DIR='data')
    assert done.returncode == 0, f'{arguments}: {done.stderr}'

  return checked


@pytest.fixture(scope='module')
def networks(folder, run):
  """Commands that name what turns media into streams, trained here."""
  size = ('--num', NUM_CLIPS, '--seconds', SECONDS)
  run('data', 'synth', 'world', *size, '--workers', 2)
  manifest = 'world/manifest.jsonl'
  run('data', 'fit', manifest, '-o', 'features.safetensors', '--num', 4)
  train = ('train', '--gin_file=runs/train.gin', f'--gin.MANIFEST={manifest!r}')
  run(
    *train,
    *('--gin_file=style.gin', "--gin.FEATURES='features.safetensors'"),
    *('--gin.train/clips.CaptionBatches.batch_size=2', *SHORT[:2]),
    '--gin.eval/clips.CaptionBatches.batch_size=1',
  )
  run(*train, '--gin_file=codecs/tiny.gin', *SHORT)
  return (
    *('--features', 'features.safetensors', '--style', 'runs/style'),
    *('--codec', 'runs/codec'),
  )


@pytest.fixture(scope='module')
def dataset(folder, run, networks):
  manifest, out = 'world/manifest.jsonl', 'data/synthetic'
  run('data', 'prepare', manifest, out, *networks)
  return folder / out


@pytest.fixture(scope='module')
def system(folder, run, run_apart, networks, dataset):
  for name, recipe in STAGES.items():
    run(
      *('train', '--gin_file=runs/train.gin'),
      *(f'--gin_file=stages/{recipe}.gin', *SIZES, *SHORT),
      f"--gin.MODEL_DIR='runs/{name}'",
      '--gin.TRAIN_BATCHES=@train/batches.TaskBatches()',
      '--gin.train/batches.TaskBatches.batch_size=2',
    )
  stages = [f'runs/{name}' for name in STAGES]
  run_apart('export', 'system', '--stages', *stages, *networks)
  return folder / 'system'


def test_every_clip_becomes_a_record(dataset):
  index = json.loads((dataset / 'shards.json').read_text())
  assert sum(row['recordings'] for row in index.values()) == NUM_CLIPS
  # The streams of these extractors are standardised already.
  assert json.loads((dataset / 'moments.json').read_text()) == {}


def test_the_system_holds_what_was_trained(system):
  config = json.loads((system / 'config.json').read_text())
  names = [stage['name'] for stage in config['stages']]
  assert names == list(STAGES)


def test_a_soundtrack_is_as_long_as_its_video_and_is_scored(
  folder, run_apart, system
):
  for name in ('music', 'takes'):
    (folder / name).mkdir()
  for clip in sorted(folder.glob('world/clips/*.mp4'))[:2]:
    shutil.copy(clip, folder / 'music')
    out = folder / 'takes' / f'{clip.stem}.wav'
    run_apart('generate', clip, '-o', out, '--system', system.name)
    sound = soundfile.info(out)
    seconds = probe.probe_video(clip).seconds
    assert sound.samplerate == 16_000
    assert sound.frames == round(seconds * 16_000)
    sidecar = json.loads(out.with_suffix('.wav.json').read_text())
    assert list(sidecar['sampling']) == list(STAGES)
  run_apart(
    *('evaluate', '--generated', 'takes', '--reference', 'music'),
    *('--metrics', 'mcc', '-o', 'report', '--plots', 0),
  )
  scores = json.loads((folder / 'report' / 'scores.json').read_text())
  assert 'mcc' in json.dumps(scores)
  assert (folder / 'report' / 'report.md').stat().st_size > 100
