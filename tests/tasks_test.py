"""One table of datasets is what the trainer, SeqIO and T5X read."""

import pathlib
import subprocess
import sys

import pytest

from v2meow_jax import gin_config
from v2meow_jax import specs
from v2meow_jax.cli import main

pytestmark = pytest.mark.data

ROOT = pathlib.Path(__file__).resolve().parents[1]
WITH_VIDEO = {'semantic', 'coarse', 'coarse_visual', 'fine'}
WORLD = {'semantic', 'coarse', 'fine'}
STAGES = {
  'mv100k': WITH_VIDEO,
  'musiccaps': WITH_VIDEO | {'music'},
  'disco_mv': {'music'},
  'vmas': {'music'},
  'aistpp': WITH_VIDEO,
  'music_only': {'coarse', 'fine'},
  'synthetic': WORLD,
  'contrary': WORLD,
  'free': {'semantic'},
  'muvi_world': {'music'},
  'muvi_contrary': {'music'},
  'muvi_songs': {'music'},
  'songs': WORLD,
}
ONLY_JUDGED = ('musiccaps', 'aistpp')
RECIPE = ('runs/train.gin', 'stages/semantic.gin')


@pytest.fixture(autouse=True)
def at_root(monkeypatch):
  import gin

  monkeypatch.chdir(ROOT)
  yield
  gin.clear_config()


@pytest.fixture
def tasks():
  """The registry, after the table was registered."""
  import seqio

  import tasks.seqio_tasks  # noqa: F401

  return seqio.TaskRegistry


def batches_of(dataset, macro='TRAIN_BATCHES'):
  import gin

  gin_config.parse(RECIPE, [f'DATASET = {dataset!r}'])
  return gin.get_configurable(f'{macro}/macro')()


def test_every_dataset_registers_its_stages_and_no_others(tasks):
  for dataset, names in STAGES.items():
    registered = {
      name.removeprefix(f'{dataset}_')
      for name in tasks.names()
      if name.startswith(f'{dataset}_')
    }
    assert registered == names | {f'{name}_eval' for name in names}, dataset


def test_rows_are_complete_and_named_once():
  from tasks import datasets

  rows = datasets.DATASETS
  assert sorted(row.name for row in rows) == sorted(STAGES)
  incomplete = [
    row.name
    for row in rows
    if not (row.about and row.page and row.stages and row.splits)
    or 'not known' in row.licence
    or not row.terms
    or ('train' in row.splits) == bool(row.evaluation_only)
  ]
  assert not incomplete


def test_music_without_video_is_asked_for_no_video(tasks):
  for stage in ('coarse', 'fine'):
    features = tasks.get(f'music_only_{stage}').output_features
    assert set(features) <= {'semantic', 'coarse', 'fine'}


def test_what_is_only_judged_has_no_split_to_train_on(tasks):
  for name in ONLY_JUDGED:
    task = tasks.get(f'{name}_semantic_eval')
    assert list(task.splits) == ['validation']


@pytest.mark.parametrize('name', ONLY_JUDGED)
def test_training_on_what_is_only_judged_is_refused_with_the_reason(
  name, capsys, tmp_path
):
  from tasks import datasets

  files = [f'--gin_file={file}' for file in RECIPE]
  given = [f"--gin.DATASET='{name}'", f"--gin.MODEL_DIR='{tmp_path / 'run'}'"]
  assert main.main(['train', *files, *given]) == 2
  said = capsys.readouterr().err
  assert f"'{name}' is for evaluation only" in said
  assert datasets.get(name).evaluation_only in said
  assert not (tmp_path / 'run').exists()
  assert batches_of(name, 'EVAL_BATCHES').licences


def test_a_split_that_a_dataset_has_not_is_refused():
  from v2meow_jax.data import datasets

  row = datasets.Dataset(name='x', splits=('validation',))
  with pytest.raises(ValueError, match="no split 'train'.*'validation'"):
    row.check('train', training=True)
  row.check('validation', training=False)


def test_the_licence_of_the_data_is_in_a_dry_run(capsys):
  files = [*RECIPE, 'tiny.gin']
  argv = ['train', '--dry_run', *(f'--gin_file={name}' for name in files)]
  small = ['--gin.NUM_LAYERS=1', '--gin.EMB_DIM=8', '--num_examples=9']
  assert main.main([*argv, *small]) == 0
  said = capsys.readouterr().out
  for name in ('synthetic', 'contrary'):
    assert f'{name}; made here, free of rights' in said


def test_a_dataset_without_a_row_is_read_by_its_name():
  (licence,) = batches_of('mine').licences.items()
  assert licence[0] == 'mine' and 'not known' in licence[1]


def test_a_new_row_is_all_that_the_trainer_and_seqio_need(monkeypatch):
  from tasks import datasets as table
  from v2meow_jax.data import datasets
  from v2meow_jax.data import task_builder

  sound = specs.TokenSpec(name='fine', codebook_size=8, rate_hz=5.0)
  stage = specs.StageSpec(name='dub', inputs=(), target=sound, crop_seconds=2)
  row = datasets.Dataset(name='dubs', licence='CC0', stages=(stage,))
  monkeypatch.setattr(table, 'DATASETS', (*table.DATASETS, row))
  assert batches_of('dubs').licences == {'dubs': 'CC0'}
  task = task_builder.build_task(table.get('dubs'), stage)
  assert task.name == 'dubs_dub' and set(task.output_features) == {'fine'}


def test_recipes_find_the_table_from_any_folder(tmp_path):
  code = (
    'from v2meow_jax import gin_config;'
    f'gin_config.parse({RECIPE!r}, search_paths=[{str(ROOT / "gin")!r}]);'
    'from tasks import datasets; print(datasets.get("mv100k").page)'
  )
  prefix = f'import sys; sys.path.insert(0, {str(tmp_path)!r});'
  (tmp_path / 'v2meow_jax').symlink_to(ROOT / 'v2meow_jax')
  done = subprocess.run(
    [sys.executable, '-P', '-c', prefix + code],
    cwd=tmp_path,
    capture_output=True,
    text=True,
    env={'PATH': '/usr/bin', 'JAX_PLATFORMS': 'cpu'},
    timeout=120,
  )
  assert 'youtube8m' in done.stdout, done.stderr


def test_plans_are_taught_beside_pictures_and_left_out_by_one_line():
  import gin

  files = (*RECIPE, 'tiny.gin', 'planned.gin')
  for lines in ((), ('PLAN_DROP_RATE = 1',)):
    gin_config.parse(files, lines)
    mixed = gin.get_configurable('TRAIN_BATCHES/macro')()
    assert {*mixed.licences} == {'synthetic', 'contrary', 'free'}
    spec = gin.get_configurable('MODEL/macro')().spec
    assert [s.name for s in spec.inputs] == [
      *('appearance', 'motion', 'style', 'plan')
    ]
    gin.clear_config()
