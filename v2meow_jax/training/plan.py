"""A run before its first step: how its state is made, where it lies, its step.

The loop trains by it and a dry run measures it, so that both have the same.
"""

from __future__ import annotations

from collections.abc import Callable
import dataclasses
import functools

import jax
import optax

from v2meow_jax.models import trainable
from v2meow_jax.training import mesh as mesh_lib
from v2meow_jax.training import schedules
from v2meow_jax.training import step as step_lib
from v2meow_jax.training import train_state
from v2meow_jax.training.monitoring import health


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
  """What follows from a model, its optimiser and a mesh.

  Attributes:
    create: From a key and a batch to the state before the first step.
    shapes: Of that state.
    places: Where its leaves lie, from `mesh.state_shardings`.
    train_step: Of `step.make_train_step`.
  """

  create: Callable[[jax.Array, trainable.Batch], train_state.TrainState]
  shapes: train_state.TrainState
  places: train_state.TrainState
  train_step: step_lib.TrainStep


def plan(
  model: trainable.Trainable,
  batch: trainable.Batch,
  *,
  schedule: schedules.Schedule,
  mesh: jax.sharding.Mesh,
  make_optimizer: Callable[
    [schedules.Schedule], optax.GradientTransformation
  ] = schedules.adamw,
  rules: mesh_lib.Rules = mesh_lib.DEFAULT_RULES,
  num_microbatches: int = 1,
  ema_decay: float | None = None,
  spikes: health.SpikeSkip | None = None,
) -> Plan:
  """Plans a run; allocates nothing.

  Args:
    model: What to train.
    batch: Of all devices; arrays or shapes.
    schedule: Learning rate by step.
    mesh: From `mesh.make_mesh`.
    make_optimizer: See `loop.train`, as for the rest.
    rules: Of the logical axes.
    num_microbatches: Parts of a batch that follow one another.
    ema_decay: Of an average of the parameters; None: none is kept.
    spikes: Which steps are skipped besides those that are not finite.

  Returns:
    The plan.
  """
  optimizer = make_optimizer(schedule)
  create = functools.partial(
    train_state.create,
    model,
    optimizer,
    ema=ema_decay is not None,
    recent=None if spikes is None else spikes.initial(),
  )
  shapes = jax.eval_shape(create, jax.random.key(0), batch)
  places = mesh_lib.state_shardings(
    model, optimizer, shapes, batch, mesh, rules
  )
  train_step = step_lib.make_train_step(
    model,
    optimizer,
    schedule=schedule,
    num_microbatches=num_microbatches,
    ema_decay=ema_decay,
    spikes=spikes,
    shardings=places,
  )
  return Plan(
    create=create, shapes=shapes, places=places, train_step=train_step
  )
