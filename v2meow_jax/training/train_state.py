"""Everything a training run must save to go on as if it had not stopped."""

from __future__ import annotations

from typing import Any

from flax import struct
import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from v2meow_jax.models import trainable


@struct.dataclass
class TrainState:
  """The state after `step` steps.

  Attributes:
    step: int32[], steps done.
    params: What gradients change.
    extras: Other variable collections (EMA codebooks), {} when none.
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


def create(
  model: trainable.Trainable,
  optimizer: optax.GradientTransformation,
  rng: jax.Array,
  batch: trainable.Batch,
) -> TrainState:
  """The state before the first step; jit it, or take its eval_shape."""
  variables = dict(nn.unbox(model.init(rng, batch)))
  params = variables.pop('params')
  return TrainState(
    step=jnp.zeros((), jnp.int32),
    params=params,
    extras=variables,
    opt_state=optimizer.init(params),
  )


def num_parameters(params: Any) -> int:
  """Numbers in a tree of arrays or of shapes."""
  return sum(x.size for x in jax.tree.leaves(params))
