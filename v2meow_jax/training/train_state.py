"""Everything a training run must save to go on as if it had not stopped."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flax import struct
import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from v2meow_jax.models import trainable

# Collections beside the model's own that the trainer keeps.
EMA = 'ema_params'
RECENT = 'recent_steps'


@struct.dataclass
class TrainState:
  """The state after `step` steps.

  Attributes:
    step: int32[], steps done.
    params: What gradients change.
    extras: Other collections: the model's (EMA codebooks), and the trainer's:
      `EMA`, an average of the parameters, and `RECENT`, losses and norms of
      recent steps; both only where they are used.
    opt_state: Of the optimiser.
  """

  step: jax.Array
  params: Any
  extras: Any
  opt_state: Any

  @property
  def variables(self) -> dict[str, Any]:
    """The flax variables: what a released model is made of."""
    return {'params': self.params, **self.extras}

  @property
  def model_extras(self) -> dict[str, Any]:
    """The collections of the model."""
    return {k: v for k, v in self.extras.items() if k not in (EMA, RECENT)}


def best_params(variables: Mapping[str, Any]) -> Any:
  """The averaged parameters where there are some, else the last ones."""
  return variables.get(EMA, variables['params'])


def create(
  model: trainable.Trainable,
  optimizer: optax.GradientTransformation,
  rng: jax.Array,
  batch: trainable.Batch,
  *,
  ema: bool = False,
  recent: Any = None,
) -> TrainState:
  """The state before the first step; jit it, or take its eval_shape.

  Args:
    model: What is trained.
    optimizer: That trains it.
    rng: Of the initial parameters.
    batch: Tells shapes.
    ema: Keeps an average of the parameters.
    recent: What `health.SpikeSkip.initial` gave, where spikes are skipped.

  Returns:
    The state.
  """
  variables = dict(nn.unbox(model.init(rng, batch)))
  params = variables.pop('params')
  if ema:
    # A copy: both are donated, and a buffer can be given away only once.
    variables[EMA] = jax.tree.map(jnp.copy, params)
  if recent is not None:
    variables[RECENT] = recent
  return TrainState(
    step=jnp.zeros((), jnp.int32),
    params=params,
    extras=variables,
    opt_state=optimizer.init(params),
  )


def num_parameters(params: Any) -> int:
  """Numbers in a tree of arrays or of shapes."""
  return sum(x.size for x in jax.tree.leaves(params))
