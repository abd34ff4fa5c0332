"""The state of a training run: all that a checkpoint must hold to resume it."""

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
    step: Number of steps done, int32[].
    params: Trained parameters.
    extras: Other collections: the model's (EMA codebooks) and the trainer's
      own, where used: `EMA`, an average of the parameters, and `RECENT`, losses
      and norms of recent steps.
    opt_state: State of the optimiser.
  """

  step: jax.Array
  params: Any
  extras: Any
  opt_state: Any

  @property
  def variables(self) -> dict[str, Any]:
    """All flax variables, as a released model holds them."""
    return {'params': self.params, **self.extras}

  @property
  def model_extras(self) -> dict[str, Any]:
    """Collections of the model, without the trainer's own."""
    return {k: v for k, v in self.extras.items() if k not in (EMA, RECENT)}


def best_params(variables: Mapping[str, Any]) -> Any:
  """Returns the averaged parameters if there are any, else the last ones."""
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
  """Creates the state before the first step; for jit or eval_shape.

  Args:
    model: Model to train.
    optimizer: Optimiser to train it with.
    rng: Key of the initial parameters.
    batch: A batch; only its shapes are used.
    ema: Whether to keep an average of the parameters.
    recent: `health.SpikeSkip.initial`, if spikes are skipped.
  """
  variables = dict(nn.unbox(model.init(rng, batch)))
  params = variables.pop('params')
  if ema:
    # A copy: both are donated, and a buffer can be donated only once.
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
  """Counts the elements of a tree of arrays or shapes."""
  return sum(x.size for x in jax.tree.leaves(params))
