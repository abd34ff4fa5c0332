"""Starts a run from the weights of another."""

from absl import logging
from etils import epath
import jax
import jax.numpy as jnp

from v2meow_jax import specs
from v2meow_jax.models import stage_model
from v2meow_jax.models import trainable
from v2meow_jax.models import warm_start
from v2meow_jax.training import train_state
from v2meow_jax.training.checkpoints import checkpoints


def begin(
  state: train_state.TrainState,
  model: trainable.Trainable,
  model_dir: epath.PathLike,
  shardings: train_state.TrainState,
) -> train_state.TrainState:
  """Copies the newest weights of another run into a state, where they fit.

  Ids of a stage are matched by stream. The optimiser stays as it is.

  Args:
    state: State before the first step.
    model: Model of the state.
    model_dir: Directory of the other run, whose averaged weights are preferred.
    shardings: Shardings of the state, from `mesh.state_shardings`.

  Raises:
    checkpoints.CheckpointError: `model_dir` holds no checkpoint, or none of its
      weights has a name and shape of this model.
  """
  variables, step = checkpoints.restore_variables(model_dir)
  source = variables['params']
  description = checkpoints.read_description(model_dir)
  if isinstance(model, stage_model.StageModel) and 'spec' in description:
    theirs = specs.stage_from_dict(description['spec'])
    source = warm_start.align_ids(source, theirs, state.params, model.spec)
  params, copied, new = warm_start.warm_start(state.params, source)
  if not copied:
    raise checkpoints.CheckpointError(
      f'no weight of {model_dir} has a name and shape of this model; name the run'
      ' of a similar stage of equal sizes.'
    )
  logging.info(
      'Starts from %d arrays of %s, step %d; %d are new: %s',
      len(copied), model_dir, step, len(new), ', '.join(new),
  )  # fmt: skip
  params = jax.device_put(params, shardings.params)
  extras = dict(state.extras)
  if train_state.EMA in extras:
    extras[train_state.EMA] = jax.tree.map(jnp.copy, params)
  return state.replace(params=params, extras=extras)
