"""Starts a run from the weights of another."""

from collections.abc import Mapping
from typing import Any

from absl import logging
from etils import epath
import jax
import jax.numpy as jnp

from v2meow_jax import specs
from v2meow_jax.models import distilled
from v2meow_jax.models import stage_model
from v2meow_jax.models import trainable
from v2meow_jax.models import warm_start
from v2meow_jax.training import train_state
from v2meow_jax.training.checkpoints import checkpoints

# Collections that a model learns without a gradient.
_FITTED = ('codebooks',)


def begin(
  state: train_state.TrainState,
  model: trainable.Trainable,
  model_dir: epath.PathLike,
  shardings: train_state.TrainState,
) -> train_state.TrainState:
  """Copies the newest weights of another run into a state, where they fit.

  Ids of a stage are matched by stream. Codebooks of a codec come along where
  all of them fit; the optimiser, and the count of steps, begin anew.

  Args:
    state: State before the first step.
    model: Model of the state.
    model_dir: Directory of the other run, whose averaged weights are preferred;
      they are those of the teacher of a model that has one, too.
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
  extras = {**state.extras, **_fitted(state, variables, shardings)}
  if distilled.TEACHER in extras:
    extras[distilled.TEACHER] = jax.tree.map(jnp.copy, params)
  if train_state.EMA in extras:
    extras[train_state.EMA] = jax.tree.map(jnp.copy, params)
  return state.replace(params=params, extras=extras)


def _fitted(
  state: train_state.TrainState,
  source: Mapping[str, Any],
  shardings: train_state.TrainState,
) -> dict[str, Any]:
  """Copies the `_FITTED` collections of another run that fit as a whole.

  In part would be worse than not at all: the age of codebooks says whether
  they were fitted.
  """
  copies = {}
  for name in _FITTED:
    if name in state.extras and name in source:
      values, _, new = warm_start.warm_start(state.extras[name], source[name])
      if not new:
        copies[name] = jax.device_put(values, shardings.extras[name])
  return copies
