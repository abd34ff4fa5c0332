"""A decoder that saw no pictures begins a stage that does."""

import itertools

import jax
import numpy as np
import pytest

from tests.fakes import tiny_transformer
from tests.fakes import token_stage
from v2meow_jax import specs
from v2meow_jax import tokens
from v2meow_jax.training import loop
from v2meow_jax.training import schedules
from v2meow_jax.training.checkpoints import checkpoints

pytestmark = pytest.mark.slow

BLIND = token_stage.make(tiny_transformer.TOKENS, tiny_transformer.DECODER_ONLY)
SEEING = token_stage.make(
  specs.StageSpec(
    name='seeing',
    inputs=(tiny_transformer.PICTURE, *tiny_transformer.TOKENS.inputs),
    target=tiny_transformer.SOUND,
    crop_seconds=2,
  ),
  tiny_transformer.SIZES,
)


def run(model, model_dir, steps, rate, warm_start=None):
  batch = model.example_batch(8)
  offset = tokens.IdSpace(model.spec).offset(model.spec.target)
  targets = np.full_like(batch['decoder_target_tokens'], offset)
  batch |= {
    'decoder_target_tokens': targets,
    'decoder_loss_weights': np.ones(targets.shape, np.float32),
  }
  return loop.train(
    model_dir=model_dir,
    model=model,
    train_batches=lambda start: itertools.repeat(batch),
    schedule=schedules.warmup_rsqrt(rate, 1),
    train_steps=steps,
    tensorboard=False,
    ema_decay=0.5,
    warm_start=warm_start,
  )


@pytest.fixture(scope='module')
def folders(tmp_path_factory):
  return tmp_path_factory.mktemp('runs')


@pytest.fixture(scope='module')
def blind(folders):
  run(BLIND, folders / 'blind', 2, 0.01)
  variables, _ = checkpoints.restore_variables(folders / 'blind')
  return jax.device_get(variables['params'])


def test_the_decoder_is_the_other_runs_and_the_encoder_is_fresh(folders, blind):
  # A rate of nothing: the state is as it began.
  state = run(SEEING, folders / 'seeing', 1, 0.0, folders / 'blind')
  for tree in (state.params, state.extras['ema_params']):
    for layer in ('decoder_0', 'decoder_1'):
      theirs, ours = blind[layer]['mlp']['wo'], tree[layer]['mlp']['wo']
      np.testing.assert_array_equal(ours, theirs)
    # Two reserved ids, then melody and sound: the same in both stages.
    np.testing.assert_array_equal(tree['logits'][:90], blind['logits'][:90])
  assert 'encoder_0' in state.params
  assert 'encoder_0' not in blind


def test_a_run_that_goes_on_keeps_its_own(folders, blind):
  first = run(SEEING, folders / 'on', 1, 0.01)
  run(SEEING, folders / 'on', 2, 0.0, folders / 'blind')
  kept, _ = checkpoints.restore_variables(folders / 'on')
  shape = kept['params']['decoder_0']['mlp']['wo']
  assert not np.array_equal(shape, blind['decoder_0']['mlp']['wo'])
  assert shape.shape == first.params['decoder_0']['mlp']['wo'].shape


def test_a_folder_without_weights_is_named(folders):
  with pytest.raises(checkpoints.CheckpointError, match='nowhere'):
    run(SEEING, folders / 'new', 1, 0.0, folders / 'nowhere')
