"""A run that begins with the weights of another."""

from __future__ import annotations

from absl import logging
from etils import epath
import jax
import jax.numpy as jnp

from v2meow_jax import specs
from v2meow_jax.models import sequence_model
from v2meow_jax.models import trainable
from v2meow_jax.models import warm_start
from v2meow_jax.training import train_state
from v2meow_jax.training.checkpoints import checkpoints


def begin(
  state: train_state.TrainState,
  model: trainable.Trainable,
  model_dir: epath.PathLike,
  places: train_state.TrainState,
) -> train_state.TrainState:
  """A fresh state with the newest weights of another run, where they fit.

  Args:
    state: Before the first step.
    model: Of the state. Ids of a stage are found again by their stream.
    model_dir: Of the other run; its averaged weights where it kept some.
    places: Where the leaves of the state lie, from `mesh.state_shardings`.

  Returns:
    The state; its optimiser has seen nothing yet.

  Raises:
    checkpoints.CheckpointError: `model_dir` holds no checkpoint, or no weight
      of it has a name and shape of this model.
  """
  variables, step = checkpoints.restore_variables(model_dir)
  source = variables['params']
  description = checkpoints.read_description(model_dir)
  if isinstance(model, sequence_model.SequenceModel) and 'spec' in description:
    theirs = specs.stage_from_dict(description['spec'])
    source = warm_start.align_ids(source, theirs, state.params, model.spec)
  params, taken, fresh = warm_start.warm_start(state.params, source)
  if not taken:
    raise checkpoints.CheckpointError(
      f'no weight of {model_dir} has a name and shape of this model, so it has'
      ' nothing to begin with; name the run of a like stage of equal sizes.'
    )
  logging.info(
      'Begins with %d arrays of %s, step %d; %d are fresh: %s',
      len(taken), model_dir, step, len(fresh), ', '.join(fresh),
  )  # fmt: skip
  params = jax.device_put(params, places.params)
  extras = dict(state.extras)
  if train_state.EMA in extras:
    extras[train_state.EMA] = jax.tree.map(jnp.copy, params)
  return state.replace(params=params, extras=extras)
