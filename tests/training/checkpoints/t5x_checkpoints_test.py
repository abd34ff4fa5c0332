"""What T5X saved is read without T5X."""

import numpy as np
import orbax.checkpoint as ocp
import pytest

from v2meow_jax.training.checkpoints import checkpoints
from v2meow_jax.training.checkpoints import t5x_checkpoints


def params(step):
  return {'layer': {'kernel': np.full((2, 3), step, np.float32)}}


@pytest.fixture(scope='module')
def model_dir(tmp_path_factory):
  """As T5X leaves it: steps 0 and 10, and one that was being written."""
  path = tmp_path_factory.mktemp('t5x')
  options = ocp.CheckpointManagerOptions(step_prefix='checkpoint')
  with ocp.CheckpointManager(path, options=options) as manager:
    for step in (0, 10):
      moments = {'mu': np.zeros((2, 3), np.float32)}
      state = {'step': np.int32(step), 'param_states': moments}
      tree = {'target': params(step), 'state': state}
      manager.save(
        step, args=ocp.args.Composite(state=ocp.args.PyTreeSave(tree))
      )
  (path / 'checkpoint_20.orbax-checkpoint-tmp').mkdir()
  (path / 'train').mkdir()
  return path


def test_the_newest_weights_of_a_t5x_run_are_read(model_dir):
  variables, step = checkpoints.restore_variables(model_dir)
  assert step == 10
  assert list(variables) == ['params']
  kernel = variables['params']['layer']['kernel']
  assert type(kernel) is np.ndarray
  np.testing.assert_array_equal(kernel, params(10)['layer']['kernel'])


def test_one_checkpoint_of_a_t5x_run_can_be_named(model_dir):
  variables, step = checkpoints.restore_variables(model_dir / 'checkpoint_0')
  assert step == 0
  np.testing.assert_array_equal(variables['params']['layer']['kernel'], 0)


def test_only_what_t5x_finished_is_found(model_dir):
  assert set(t5x_checkpoints.find(model_dir)) == {0, 10}
  assert t5x_checkpoints.find(model_dir / 'train') == {}
  assert t5x_checkpoints.find(model_dir / 'nowhere' / 'checkpoint_3') == {}
  with pytest.raises(FileNotFoundError, match='no checkpoint_<step>'):
    t5x_checkpoints.restore_variables(model_dir / 'train')
