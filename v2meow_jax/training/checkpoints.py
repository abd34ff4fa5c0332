"""Saves and restores a run with orbax; config and facts lie beside weights."""

from __future__ import annotations

import json
from typing import Any

from absl import logging
from etils import epath
import jax
import numpy as np
import orbax.checkpoint as ocp

from v2meow_jax.training import train_state

CONFIG_NAME = 'config.gin'
DESCRIPTION_NAME = 'model.json'


class CheckpointError(ValueError):
  """A checkpoint is missing, or does not fit what is to be restored."""


class Checkpoints:
  """The checkpoints of one model directory.

  Saves are asynchronous; `close` waits for them, and is called on leaving a
  `with` block.
  """

  def __init__(self, model_dir: epath.PathLike, *, max_to_keep: int = 2):
    """Opens or creates `model_dir`; raises OSError when it cannot."""
    self.path = epath.Path(model_dir).resolve()
    self.path.mkdir(parents=True, exist_ok=True)
    self._manager = ocp.CheckpointManager(
      self.path / 'checkpoints',
      options=ocp.CheckpointManagerOptions(
        max_to_keep=max_to_keep,
        cleanup_tmp_directories=True,
      ),
      item_names=('variables', 'optimizer', 'info'),
    )

  def __enter__(self):
    return self

  def __exit__(self, *_):
    self.close()

  def write_facts(self, config_text: str, description: dict[str, Any]) -> None:
    """Keeps beside the weights what they were trained from.

    Args:
      config_text: The gin text of the run, for people and for another run.
      description: What rebuilds the model, so that using it parses no gin.
    """
    (self.path / CONFIG_NAME).write_text(config_text)
    (self.path / DESCRIPTION_NAME).write_text(
      json.dumps(description, indent=1) + '\n'
    )

  def save(self, state: train_state.TrainState, info: dict[str, Any]) -> None:
    """Starts saving; errors of an earlier save surface here or in `close`."""
    self._manager.check_for_errors()
    self._manager.save(
      int(state.step),
      args=ocp.args.Composite(
        variables=ocp.args.StandardSave(state.variables),
        optimizer=ocp.args.StandardSave(state.opt_state),
        info=ocp.args.JsonSave(info),
      ),
    )

  def latest_step(self) -> int | None:
    """The newest saved step; None in a new directory."""
    return self._manager.latest_step()

  def restore(self, like: train_state.TrainState) -> train_state.TrainState:
    """The newest state.

    Args:
      like: A state of the same structure, shapes and shardings (values
        unused).

    Raises:
      CheckpointError: Nothing to restore, or it does not fit `like`.
    """
    step = self.latest_step()
    if step is None:
      raise CheckpointError(f'{self.path} holds no checkpoint to restore.')
    abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
    try:
      restored = self._manager.restore(
        step,
        args=ocp.args.Composite(
          variables=ocp.args.StandardRestore(abstract.variables),
          optimizer=ocp.args.StandardRestore(abstract.opt_state),
        ),
      )
    except (ValueError, KeyError, TypeError) as e:
      raise CheckpointError(
        f'{self.path}, step {step}, does not fit this model; train into a new'
        f' MODEL_DIR or restore the config in {CONFIG_NAME}: {e}'
      ) from e
    variables = dict(restored['variables'])
    params = variables.pop('params')
    logging.info('Restored %s at step %d.', self.path, step)
    return train_state.TrainState(
      step=jax.device_put(
        jax.numpy.asarray(step, jax.numpy.int32), like.step.sharding
      ),
      params=params,
      extras=variables,
      opt_state=restored['optimizer'],
    )

  def close(self) -> None:
    """Waits for saves under way; raises what went wrong in them."""
    self._manager.wait_until_finished()
    self._manager.check_for_errors()
    self._manager.close()


def read_description(model_dir: epath.PathLike) -> dict[str, Any]:
  """What `describe` of a run's model said; CheckpointError when there is none."""
  path = epath.Path(model_dir) / DESCRIPTION_NAME
  if not path.exists():
    raise CheckpointError(
      f'{path} is missing: {model_dir} is not the MODEL_DIR of a run.'
    )
  return json.loads(path.read_text())


def restore_variables(
  model_dir: epath.PathLike,
) -> tuple[dict[str, Any], int]:
  """The newest variables of a run as numpy arrays, and their step.

  Args:
    model_dir: Of a training run.

  Returns:
    ({'params': ..., other collections}, step).

  Raises:
    CheckpointError: There is no checkpoint.
  """
  path = epath.Path(model_dir).resolve() / 'checkpoints'
  steps = ocp.utils.checkpoint_steps(path) if path.exists() else []
  if not steps:
    raise CheckpointError(
      f'{model_dir} holds no checkpoint; train first, or name the directory'
      ' that was MODEL_DIR.'
    )
  step = max(steps)
  with ocp.PyTreeCheckpointer() as checkpointer:
    metadata = checkpointer.metadata(path / str(step) / 'variables')
    tree = metadata.item_metadata.tree
    restored = checkpointer.restore(
      path / str(step) / 'variables',
      restore_args=jax.tree.map(
        lambda _: ocp.RestoreArgs(restore_type=np.ndarray), tree
      ),
    )
  return jax.tree.map(jax.device_get, restored), step
