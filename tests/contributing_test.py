"""What CONTRIBUTING.md adds works as it stands there: files, rows and recipes.

Nothing in the library is edited: its folders are given one more file, and its
tables one more row.
"""

import importlib
import pathlib
import re
import sys

import jax
import numpy as np
import pytest

from v2meow_jax import gin_config
from v2meow_jax import tokens

pytestmark = pytest.mark.data

ROOT = pathlib.Path(__file__).resolve().parents[1]
TEXT = (ROOT / 'CONTRIBUTING.md').read_text()
FENCE = re.compile(r'^```(python|gin)\n# ([^\n]*)\n(.*?)^```', re.M | re.S)
BLOCKS = [(kind, head, body) for kind, head, body in FENCE.findall(TEXT)]
ROW = re.compile(r'A row of (\w+) in (\S+)\.py')
SIZES = ('NUM_LAYERS = 1', 'NUM_HEADS = 1', 'EMB_DIM = 8', 'HEAD_DIM = 8')


@pytest.fixture
def add(monkeypatch, tmp_path):
  """Adds the blocks of CONTRIBUTING.md that name one thing."""

  def module_of(path):
    return '.'.join(pathlib.PurePath(path.removesuffix('.py')).parts)

  def add_file(path, body):
    file = tmp_path / pathlib.PurePath(path).name
    file.write_text(body)
    package, name = module_of(path).rsplit('.', 1)
    folder = importlib.import_module(package)
    paths = [*folder.__path__, str(tmp_path)]
    monkeypatch.setattr(folder, '__path__', paths)
    importlib.invalidate_caches()
    added = importlib.import_module(f'{package}.{name}')
    monkeypatch.delitem(sys.modules, f'{package}.{name}')
    monkeypatch.setitem(sys.modules, f'{package}.{name}', added)
    monkeypatch.setattr(folder, name, added)
    return {name: added}

  def add_row(table, path, body, files):
    module = importlib.import_module(module_of(path))
    row = eval(body, vars(module) | files)
    rows = getattr(module, table)
    more = rows | {row.name: row} if isinstance(rows, dict) else (*rows, row)
    monkeypatch.setattr(module, table, more)

  def run(word):
    recipe, files = None, {}
    for kind, head, body in BLOCKS:
      if word not in head + body:
        continue
      if kind == 'gin':
        recipe = tmp_path / f'{word}.gin'
        recipe.write_text(body)
      elif row := ROW.match(head):
        add_row(*row.groups(), body, files)
      else:
        files |= add_file(head, body)
    return recipe

  monkeypatch.chdir(ROOT)
  yield run
  import gin

  gin.clear_config()


def trained_by(recipe):
  """The model of a recipe at tiny sizes, its parameters and a batch."""
  import gin

  files = ['runs/train.gin', str(recipe), 'tiny.gin']
  gin_config.parse(files, SIZES)
  model = gin.get_configurable('MODEL/macro')()
  batch = model.example_batch(2)
  first = tokens.IdSpace(model.spec).offset(model.spec.target)
  batch['decoder_target_tokens'] += first
  batch['decoder_loss_weights'] += 1
  variables = model.init(jax.random.key(0), batch)
  return model, variables['params'], batch


def test_a_metric_is_a_function_and_a_row(add, tmp_path):
  import soundfile

  from v2meow_jax.cli import main

  add('spread')
  rng = np.random.default_rng(0)
  for name in ('music', 'takes'):
    (tmp_path / name).mkdir()
    for clip in 'ab':
      sound = rng.normal(0, 0.1, 3 * 16_000)
      soundfile.write(tmp_path / name / f'{clip}.wav', sound, 16_000)
  folders = [f'--generated={tmp_path}/takes', f'--reference={tmp_path}/music']
  out = tmp_path / 'report'
  said = ['--metrics=spread', f'--output={out}', '--plots=0']
  assert main.main(['evaluate', *folders, *said]) == 0
  assert '"spread/tiny-style"' in (out / 'scores.json').read_text()


def test_an_objective_is_a_dataclass_and_a_line(add):
  from v2meow_jax.inference import restore

  model, params, batch = trained_by(add('focal'))
  train_loss = jax.jit(lambda p, b: model.train_loss(p, {}, b, None))
  loss, (metrics, _) = train_loss(params, batch)
  # The weights of ids that are known with probability p are (1 - p)^2.
  assert 0 < loss < metrics['loss']
  rebuilt = restore.build_model(model.describe())
  assert rebuilt.objective == model.objective
  assert type(model.objective).__name__ == 'Focal'


def test_a_sampler_is_a_dataclass_and_a_line(add):
  from v2meow_jax.inference import restore

  model, params, _ = trained_by(add('greedy'))
  model = restore.build_model(model.describe())
  inputs = model.example_inputs(2)
  for name in inputs:
    inputs[name] += tokens.IdSpace(model.spec).offset(model.spec.inputs[0])
  keys = jax.random.split(jax.random.key(1))
  first, second = np.asarray(model.sample_batch(params, inputs, keys))
  np.testing.assert_array_equal(first, second)


def test_a_network_is_a_file_a_row_and_a_recipe(add, tmp_path):
  from safetensors import numpy as st

  from v2meow_jax.cli import main
  from v2meow_jax.data import record_source
  from v2meow_jax.synthetic import world

  recipe = add('mean_color')
  kernel = np.eye(3, 96, dtype=np.float32)
  st.save_file({'kernel': kernel}, tmp_path / 'weights.safetensors')
  manifest = world.write(str(tmp_path / 'world'), num=2, seed=0, seconds=11.0)
  binding = f"--gin.WEIGHTS='{tmp_path}/weights.safetensors'"
  out = str(tmp_path / 'records')
  command = ['data', 'prepare', str(manifest), out, f'--gin_file={recipe}']
  assert main.main([*command, binding]) == 0
  source = record_source.RecordSource(out)
  assert [s.name for s in source.streams] == ['appearance']
  (first, *_) = source.get_dataset('train', shuffle=False).as_numpy_iterator()
  colors = first['appearance'][:, :3]
  assert 0 < colors.min() and colors.max() < 1
  assert not first['appearance'][:, 3:].any()


def test_a_dataset_is_a_row(add):
  import gin

  add('lakh')
  gin_config.parse(['runs/train.gin', 'stages/fine.gin'], ["DATASET = 'lakh'"])
  batches = gin.get_configurable('TRAIN_BATCHES/macro')()
  assert batches.licences == {'lakh': 'CC BY 4.0'}


def test_every_block_is_added_by_a_test():
  words = ('spread', 'focal', 'greedy', 'lakh', 'mean_color')
  tested = [b for b in BLOCKS if any(word in ''.join(b) for word in words)]
  assert (
    len(tested) == len(BLOCKS) == len(re.findall('^```(?:py|gin)', TEXT, re.M))
  )
