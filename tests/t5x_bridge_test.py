"""Under T5X a stage file trains, evaluates and samples as it does under ours.

On a CPU in float32, two steps that move weights by 2e-3 give both trainers equal
bits. Tolerances, 1e-5 or 1e-6 near 0, leave room for another order of sums.
"""

import importlib
import json
import os
import pathlib
import re
import shlex
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tensorflow as tf

import gin
from tests.fakes import noise_records
from tests.fakes import token_stage
from v2meow_jax import gin_config
from v2meow_jax import specs
from v2meow_jax import stages
from v2meow_jax import tokens
from v2meow_jax.data import record_source
from v2meow_jax.files import tensors
from v2meow_jax.inference import export
from v2meow_jax.inference import restore
from v2meow_jax.models import stage_model
from v2meow_jax.models import transformer
from v2meow_jax.models.sampling import options
from v2meow_jax.training import schedules
from v2meow_jax.training import step as step_lib
from v2meow_jax.training import train_state
from v2meow_jax.training.checkpoints import checkpoints
from v2meow_jax.training.checkpoints import t5x_checkpoints
from v2meow_jax.training.monitoring import health

pytestmark = pytest.mark.t5x


def t5x(name: str):
  return pytest.importorskip(
    f't5x.{name}',
    reason='no T5X: pip install --no-deps -r requirements-t5x.txt',
    exc_type=ImportError,
  )


gin_utils = t5x('gin_utils')
optimizers = t5x('optimizers')
partitioning = t5x('partitioning')
t5x_train_state = t5x('train_state')
trainer = t5x('trainer')
utils = t5x('utils')
PROGRAMS = {
  'train': (t5x('train'), 'train'),
  'infer': (t5x('infer'), 'infer'),
  'eval': (t5x('eval'), 'evaluate'),
}
t5x_bridge = importlib.import_module('v2meow_jax.t5x_bridge')

ROOT = pathlib.Path(__file__).resolve().parents[1]
STAGES = (
  'semantic',
  'coarse',
  'coarse_encoder',
  'coarse_visual',
  'fine',
  'acoustic_parallel',
)
# An encoder-decoder and a decoder-only stage always, the others in `slow`.
EVERY_STAGE = [
  pytest.param(s, marks=() if s in STAGES[:2] else pytest.mark.slow)
  for s in STAGES
]
CONFIGURABLE = {}  # Gin takes a function once.
NUM_STEPS = 2
SIZES = {
  'NUM_LAYERS': 1,
  'NUM_HEADS': 2,
  'EMB_DIM': 16,
  'HEAD_DIM': 8,
  'MLP_DIM': 16,
  'WARMUP_STEPS': 1,
  'TRAIN_STEPS': NUM_STEPS,
  'stages.semantic.crop_seconds': 2.0,
  'stages.coarse.crop_seconds': 2.0,
  'stages.fine.crop_seconds': 1.0,
  'stages.acoustic_parallel.crop_seconds': 2.0,
}


@pytest.fixture(scope='module', autouse=True)
def workspace(tmp_path_factory):
  """Where commands run: the recipes' root, with the datasets of tiny.gin."""
  folder = tmp_path_factory.mktemp('t5x')
  noise_records.write(folder / 'data' / 'synthetic', seed=0)
  noise_records.write(folder / 'data' / 'contrary', seed=1)
  with pytest.MonkeyPatch.context() as patch:
    patch.chdir(ROOT)
    patch.setitem(sys.modules, '__main__', sys.modules['__main__'])
    patch.setenv(record_source.DATA_DIR_VARIABLE, str(folder / 'data'))
    yield folder
  gin.clear_config()


def bindings(**macros) -> list[str]:
  return [f'{k} = {v!r}' for k, v in {**SIZES, **macros}.items()]


def configure(program: str, stage: str, **macros):
  """Parses what `python -m t5x.PROGRAM` would; returns its main function."""
  module, name = PROGRAMS[program]
  gin.clear_config()
  sys.modules['__main__'] = module  # As the recipes call it.
  if program not in CONFIGURABLE:
    function = getattr(module, name)
    CONFIGURABLE[program] = gin.configurable(function, module='__main__')
  gin_utils.parse_gin_flags(
    ['gin'],
    [f'runs/t5x/{program}.gin', f'stages/{stage}.gin', 'tiny.gin'],
    bindings(**macros),
  )
  return CONFIGURABLE[program]


def macro(name: str):
  return gin.get_configurable(f'{name}/macro')()


@pytest.fixture(scope='module')
def trained(workspace):
  """stage -> the MODEL_DIR of two steps of T5X, run once."""
  done = {}

  def train(stage):
    if stage not in done:
      done[stage] = workspace / stage
      configure('train', stage, MODEL_DIR=str(done[stage]))()
    return done[stage]

  return train


def assert_trees_close(a, b, **tolerance):
  assert jax.tree.structure(a) == jax.tree.structure(b)
  for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
    np.testing.assert_allclose(x, y, **tolerance)


def logged(folder: pathlib.Path) -> dict[str, float]:
  """The last value of every scalar in TensorBoard events."""
  values = {}
  for path in folder.glob('events.*'):
    for event in tf.compat.v1.train.summary_iterator(str(path)):
      for value in event.summary.value:
        if value.HasField('tensor') and value.tensor.dtype == tf.float32:
          values[value.tag] = float(tf.make_ndarray(value.tensor))
  return values


@pytest.mark.parametrize('stage', EVERY_STAGE)
def test_two_steps_of_t5x_are_two_steps_of_ours(trained, stage):
  model_dir = trained(stage)
  configure('train', stage, MODEL_DIR=str(model_dir))
  model, batches = macro('MODEL'), numbers(macro('TRAIN_BATCHES')(0))
  optimizer = gin.get_configurable('schedules.adamw')()
  start, _ = t5x_checkpoints.restore_variables(model_dir / 'checkpoint_0')
  end, num_steps = t5x_checkpoints.restore_variables(model_dir)
  assert num_steps == NUM_STEPS

  batch = next(batches)
  state = train_state.create(model, optimizer, jax.random.key(0), batch)
  state = state.replace(params=start['params'])
  step = step_lib.make_train_step(model, optimizer)
  # T5X splits its seed: the first key is for weights, the second for steps.
  key = jax.random.split(jax.random.PRNGKey(0))[1]
  losses = []
  for _ in range(NUM_STEPS):
    state, metrics = step(state, batch, key)
    losses.append(float(metrics['loss']))
    batch = next(batches)

  moved = jax.tree.map(
    lambda a, b: np.abs(a - b).max(), start['params'], end['params']
  )
  assert min(jax.tree.leaves(moved)) > 1e-4
  assert_trees_close(state.params, end['params'], rtol=1e-5, atol=1e-6)
  scalars = logged(model_dir / 'train')
  assert scalars['loss'] == pytest.approx(np.mean(losses), rel=1e-5)
  rate = gin.get_configurable('schedules.warmup_cosine')()(NUM_STEPS - 1)
  assert scalars['learning_rate/current'] == pytest.approx(float(rate))


@pytest.mark.parametrize('stage', EVERY_STAGE[:2])
def test_infer_writes_the_ids_that_the_restored_run_samples(
  trained, workspace, stage
):
  model_dir = trained(stage)
  out = workspace / f'{stage}_inferred'
  configure(
    'infer',
    stage,
    MODEL_DIR=str(model_dir),
    INFER_OUTPUT_DIR=str(out),
    TEMPERATURE=0.0,
  )()
  (file,) = out.glob('*.jsonl-00000-of-00001')
  written = [json.loads(line) for line in file.read_text().splitlines()]

  stage_run = restored(model_dir)
  spec = stage_run.spec
  batch = next(evaluation_batches(stage))
  inputs = stage_inputs(stage_run.model, batch)
  keys = jax.random.split(jax.random.key(1), len(written))
  codes = stage_run.sample(inputs, keys, options.Sampling(temperature=0.0))
  ids = tokens.IdSpace(spec).codes_to_ids(codes, spec.target)
  assert [w['inputs']['id'] for w in written] == [
    f'validation{i}' for i in range(noise_records.NUM_EXAMPLES['validation'])
  ]
  np.testing.assert_array_equal([w['prediction'] for w in written], ids)


def restored(model_dir):
  description, params, _ = restore.read_stage(model_dir)
  return restore.ModelStage(restore.build_model(description), params)


def evaluation_batches(stage):
  configure('train', stage)
  return numbers(macro('EVAL_BATCHES')(0))


def numbers(batches):
  """Batches without the names of their examples."""
  for batch in batches:
    yield {k: v for k, v in batch.items() if k != health.EXAMPLE_IDS}


def stage_inputs(model, batch):
  """What a pipeline would hand to the stage: features and codes by stream."""
  spec, inputs, first = model.spec, {}, 0
  for s in spec.inputs:
    rows = slice(noise_records.NUM_EXAMPLES['validation'])
    if isinstance(s, specs.FeatureSpec):
      inputs[s.name] = batch[f'encoder_inputs_{s.name}'][rows]
    else:
      last = first + s.length(spec.crop_seconds)
      ids = batch['decoder_target_tokens'][rows, first:last]
      inputs[s.name] = tokens.IdSpace(spec).ids_to_codes(ids, s)
      first = last
  return inputs


def test_eval_gives_our_evaluation_of_our_run(workspace):
  model_dir = workspace / 'ours'
  gin_config.parse(
    ['runs/train.gin', 'stages/semantic.gin', 'tiny.gin'],
    bindings(MODEL_DIR=str(model_dir)),
  )
  gin.get_configurable('loop.train')(tensorboard=False)
  lines = (model_dir / 'metrics.jsonl').read_text().splitlines()
  ours = [json.loads(line) for line in lines]
  ours = {k: v for line in ours for k, v in line.items()}

  out = workspace / 'evaluated'
  configure(
    'eval', 'semantic', MODEL_DIR=str(model_dir), EVAL_OUTPUT_DIR=str(out)
  )()
  (file,) = (out / 'inference_eval').glob('*-metrics.jsonl')
  theirs = json.loads(file.read_text().splitlines()[-1])
  assert theirs['step'] == NUM_STEPS
  assert theirs['loss'] == pytest.approx(ours['eval/loss'], rel=1e-5)

  with pytest.raises(ValueError, match='another --gin.MODEL_DIR'):
    t5x_bridge.write_facts(str(model_dir), None, 0, model=None)


def test_evaluation_while_training_is_ours(trained):
  model_dir = trained('semantic')
  stage = restored(model_dir)
  variables, _ = checkpoints.restore_variables(model_dir)
  batch = next(evaluation_batches('semantic'))
  _, (metrics, _) = stage.model.train_loss(variables['params'], {}, batch, None)
  scalars = logged(model_dir / 'training_eval' / 'validation')
  assert scalars['loss'] == pytest.approx(float(metrics['loss']), rel=1e-5)


def test_export_takes_a_run_of_t5x(trained, tmp_path):
  model_dir = trained('coarse')
  run = restore.read_stage(str(model_dir))
  described = export._write_stage(tmp_path, *run, 'float32')
  assert described['trained_steps'] == NUM_STEPS
  assert described['model']['network']['num_encoder_layers'] == 0
  end, _ = t5x_checkpoints.restore_variables(model_dir)
  written = tensors.read(tmp_path / 'coarse.safetensors')
  assert_trees_close(written, end['params'], rtol=0, atol=0)


def test_weights_of_another_model_are_refused(trained, workspace):
  infer = configure(
    'infer',
    'semantic',
    MODEL_DIR=str(trained('coarse')),
    INFER_OUTPUT_DIR=str(workspace / 'refused'),
  )
  with pytest.raises(ValueError, match='another model'):
    infer()


def test_a_run_goes_on_with_the_batch_that_comes_next(trained):
  model_dir = trained('semantic')
  configure('train', 'semantic', MODEL_DIR=str(model_dir))
  config = gin.get_configurable('utils.DatasetConfig')()
  model = gin.get_configurable('t5x_bridge.T5XModel')()
  get_dataset = gin.get_configurable('t5x_bridge.get_dataset')
  resumed = get_dataset(config, 0, 1, model.FEATURE_CONVERTER_CLS)
  wanted = next(macro('TRAIN_BATCHES')(NUM_STEPS))
  found = next(resumed)
  assert {k: v.shape for k, v in found.items()} == {
    k: s.shape for k, s in resumed.element_spec.items()
  }
  for key, value in found.items():
    np.testing.assert_array_equal(value, wanted[key])


def test_the_name_of_a_seqio_task_is_read_by_t5x_itself():
  configure('train', 'semantic', MODEL_DIR='nowhere')
  stage = macro('STAGE')
  name = t5x_bridge.evaluation_task(stage, 'synthetic')
  configure('train', 'semantic', MODEL_DIR='nowhere', MIXTURE_OR_TASK_NAME=name)
  config = gin.get_configurable('utils.DatasetConfig')()
  model = gin.get_configurable('t5x_bridge.T5XModel')()
  ds = gin.get_configurable('t5x_bridge.get_dataset')(
    config, 0, 1, model.FEATURE_CONVERTER_CLS
  )
  assert isinstance(ds, tf.data.Dataset)
  batch = next(ds.as_numpy_iterator())
  example = model.model.example_batch(len(batch['decoder_target_tokens']))
  assert {k: v.shape for k, v in batch.items()} == {
    k: v.shape for k, v in example.items()
  }


def small_model():
  spec = stages.coarse(crop_seconds=1.0, streams=stages.TINY)
  config = transformer.TransformerConfig(
    emb_dim=8,
    num_heads=2,
    head_dim=4,
    mlp_dim=8,
    num_encoder_layers=0,
    num_decoder_layers=1,
  )
  return token_stage.make(spec, config)


def test_microbatches_leave_the_update_as_it_is():
  model = small_model()
  schedule = schedules.warmup_rsqrt(1e-2, 1)
  optimizer = schedules.adamw(schedule, clip_norm=0.1)
  batch = model.example_batch(4)
  rng = np.random.default_rng(0)
  spec = model.spec
  levels = tokens.IdSpace(spec).level_offsets(spec.target)
  shape = (4, model.target_length // len(levels), len(levels))
  codes = rng.integers(spec.target.codebook_size, size=shape)
  ids = (codes + levels).reshape(4, -1)
  batch['decoder_target_tokens'][:, -model.target_length :] = ids
  batch['decoder_loss_weights'][:, -model.target_length :] = 1.0

  ours = train_state.create(model, optimizer, jax.random.key(0), batch)
  bridge = t5x_bridge.T5XModel(
    model, batch_size=4, optimizer_def=optimizers.OptaxWrapper(optimizer)
  )
  variables = bridge.get_initial_variables(jax.random.key(0), {})
  variables['params'] = jax.tree.map(jnp.copy, ours.params)
  theirs = t5x_train_state.FlaxOptimTrainState.create(
    bridge.optimizer_def, variables
  )
  theirs, _ = jax.jit(
    lambda state: trainer.train_with_lr(
      state, batch, schedule(0), jax.random.key(1), bridge, num_microbatches=2
    )
  )(theirs)
  step = step_lib.make_train_step(model, optimizer)
  ours, _ = step(ours, batch, jax.random.key(1))
  assert_trees_close(
    ours.params, theirs.state_dict()['target'], rtol=1e-5, atol=1e-6
  )


def test_t5x_splits_the_axes_that_it_knows_and_copies_the_others():
  model = t5x_bridge.T5XModel(
    small_model(), batch_size=4, optimizer_def=optimizers.sgd(0.1)
  )
  partitioner = partitioning.PjitPartitioner(
    num_partitions=1, logical_axis_rules=t5x_bridge.logical_axis_rules()
  )
  axes = utils.TrainStateInitializer(
    model.optimizer_def, model.get_initial_variables, {}, partitioner
  ).train_state_axes
  specs_of = jax.tree.map(tuple, axes.state_dict()['target'])
  flat = {
    jax.tree_util.keystr(path): spec
    for path, spec in jax.tree_util.tree_leaves_with_path(
      specs_of, is_leaf=lambda x: isinstance(x, tuple)
    )
  }
  split = {name for name, spec in flat.items() if 'model' in spec}
  assert any('mlp' in name for name in split)
  assert all(set(spec) <= {'model', None} for spec in flat.values())


@pytest.mark.parametrize('program', PROGRAMS)
@pytest.mark.parametrize('stage', STAGES)
def test_recipe_parses(program, stage):
  macros = {'INFER_OUTPUT_DIR': 'x', 'EVAL_OUTPUT_DIR': 'x'}
  configure(program, stage, **macros)
  assert isinstance(macro('MODEL'), stage_model.StageModel)


def documented() -> list[str]:
  """The commands of docs/t5x.md that call T5X."""
  text = (ROOT / 'docs' / 't5x.md').read_text()
  fences = re.findall(r'^```bash\n(.*?)^```', text, re.M | re.S)
  lines = '\n'.join(fences).replace('\\\n', ' ').splitlines()
  return [line for line in lines if ' -m t5x.' in line]


@pytest.mark.slow
def test_documented_commands_run(workspace):
  commands = documented()
  assert [re.search(r't5x\.(\w+)', c)[1] for c in commands] == list(PROGRAMS)
  out = workspace / 'documented'
  macros = bindings(
    MODEL_DIR=str(out),
    INFER_OUTPUT_DIR=str(out / 'ids'),
    EVAL_OUTPUT_DIR=str(out / 'loss'),
  )
  for command in commands:
    done = subprocess.run(
      [
        sys.executable,
        *shlex.split(command)[1:],
        *(f'--gin.{binding}' for binding in macros),
      ],
      env=os.environ | {'PYTHONPATH': os.pathsep.join(sys.path)},
      capture_output=True,
      text=True,
      timeout=1200,
    )
    assert done.returncode == 0, done.stderr[-3000:]
  assert checkpoints.restore_variables(out)[1] == NUM_STEPS
  (ids,) = (out / 'ids').glob('*.jsonl-*of-00001')
  assert (
    len(ids.read_text().splitlines())
    == noise_records.NUM_EXAMPLES['validation']
  )
  assert list((out / 'loss' / 'inference_eval').glob('*-metrics.jsonl'))
