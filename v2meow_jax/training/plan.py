"""Plans a run before its first step: initial state, shardings and jitted step.

The loop runs the plan and a dry run measures it, so that both are the same.
"""

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
  """State and step of a model with an optimiser on a mesh.

  Attributes:
    create: Function from a key and a batch to the state before the first step.
    shapes: State as shapes and dtypes.
    shardings: State as shardings, from `mesh.state_shardings`.
    train_step: Jitted step, from `step.make_train_step`.
  """

  create: Callable[[jax.Array, trainable.Batch], train_state.TrainState]
  shapes: train_state.TrainState
  shardings: train_state.TrainState
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
  """Plans a run; allocates nothing. See `loop.train` for the other arguments.

  Args:
    model: Model to train.
    batch: Global batch, of all devices; arrays or shapes.
    schedule: Learning rate by step.
    mesh: Mesh from `mesh.make_mesh`.
    make_optimizer: Function from the schedule to an optax transformation.
    rules: Mesh axes of the logical axes.
    num_microbatches: Number of microbatches, computed one after another.
    ema_decay: Decay of the average of the parameters; None: no average.
    spikes: Rule for spikes, which are skipped; None: no rule.

  Raises:
    ValueError: The decay is none.
  """
  if ema_decay is not None and not 0 <= ema_decay < 1:
    raise ValueError(
      f'ema_decay is {ema_decay}; wanted 0 or more, and less than 1, such as'
      ' 0.999, or None.'
    )
  optimizer = make_optimizer(schedule)
  create = functools.partial(
    train_state.create,
    model,
    optimizer,
    ema=ema_decay is not None,
    recent=None if spikes is None else spikes.initial(),
  )
  shapes = jax.eval_shape(create, jax.random.key(0), batch)
  shardings = mesh_lib.state_shardings(
    model, optimizer, shapes, batch, mesh, rules
  )
  train_step = step_lib.make_train_step(
    model,
    optimizer,
    schedule=schedule,
    num_microbatches=num_microbatches,
    ema_decay=ema_decay,
    spikes=spikes,
    shardings=shardings,
    split=mesh_lib.batch_sharding(mesh, rules),
  )
  return Plan(
    create=create, shapes=shapes, shardings=shardings, train_step=train_step
  )
