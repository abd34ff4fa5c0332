"""The one jitted step that trains a stage, the codec or an embedding."""

from __future__ import annotations

from collections.abc import Callable

import jax
from jax import sharding
import numpy as np
import optax

from v2meow_jax.models import trainable
from v2meow_jax.training import train_state

Metrics = dict[str, jax.Array]
TrainStep = Callable[
  [train_state.TrainState, trainable.Batch, jax.Array],
  tuple[train_state.TrainState, Metrics],
]


def data_mesh() -> sharding.Mesh:
  """All devices on one axis, 'data': each holds a slice of the batch."""
  return sharding.Mesh(np.array(jax.devices()), ('data',))


def shard_batch(
  batch: dict[str, np.ndarray], mesh: sharding.Mesh
) -> trainable.Batch:
  """Puts numpy arrays on the mesh, split along their first axis.

  Raises:
    ValueError: The batch does not divide among the devices.
  """
  rows = len(next(iter(batch.values())))
  if rows % mesh.size:
    raise ValueError(
      f'a batch of {rows} does not divide among {mesh.size} devices; make'
      ' BATCH_SIZE a multiple.'
    )
  split = sharding.NamedSharding(mesh, sharding.PartitionSpec('data'))
  return jax.device_put(batch, split)


def make_train_step(
  model: trainable.Trainable, optimizer: optax.GradientTransformation
) -> TrainStep:
  """(state, batch, key of the run) -> (state, metrics); the state is donated.

  The key of a step is fold_in(key of the run, step), so a resumed run draws
  what an undisturbed one would have drawn.
  """

  def train_step(state, batch, run_key):
    rng = jax.random.fold_in(run_key, state.step)
    grad_fn = jax.value_and_grad(model.train_loss, has_aux=True)
    (loss, (metrics, extras)), grads = grad_fn(
      state.params, state.extras, batch, rng
    )
    updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
    metrics = {
      'loss': loss,
      **metrics,
      'gradient_norm': optax.global_norm(grads),
      'update_norm': optax.global_norm(updates),
    }
    return (
      train_state.TrainState(
        step=state.step + 1,
        params=optax.apply_updates(state.params, updates),
        extras=extras,
        opt_state=opt_state,
      ),
      metrics,
    )

  return jax.jit(train_step, donate_argnums=0)


def make_eval_step(
  model: trainable.Trainable,
) -> Callable[[train_state.TrainState, trainable.Batch], Metrics]:
  """(state, batch) -> metrics, with nothing random and nothing changed."""

  def eval_step(state, batch):
    loss, (metrics, _) = model.train_loss(
      state.params, state.extras, batch, None
    )
    return {'loss': loss, **metrics}

  return jax.jit(eval_step)
