"""Learning-rate schedules and optimisers, chosen in gin."""

from collections.abc import Callable
from collections.abc import Mapping
from typing import Any

import flax
import jax
import jax.numpy as jnp
import optax

from v2meow_jax.models.blocks import layer_stacking

Schedule = Callable[[jax.Array | int], jax.Array]

# Modules trained against the rest of the parameters.
OPPONENTS = ('discriminator',)


def warmup_rsqrt(peak: float, warmup_steps: int) -> Schedule:
  """Linear to `peak`, then peak * sqrt(warmup_steps / step), as in T5.

  >>> schedule = warmup_rsqrt(1e-3, 100)
  >>> [round(float(schedule(s)), 6) for s in (0, 50, 100, 400)]
  [1e-05, 0.00051, 0.001, 0.0005]
  """

  def schedule(step):
    step = jnp.asarray(step, jnp.float32)
    warm = (step + 1) / warmup_steps
    decay = jnp.sqrt(warmup_steps / jnp.maximum(step, 1.0))
    return peak * jnp.minimum(jnp.minimum(warm, 1.0), decay)

  return schedule


def warmup_cosine(
  peak: float, warmup_steps: int, total_steps: int, final_fraction: float = 0.0
) -> Schedule:
  """Linear to `peak`, then a half cosine to `peak * final_fraction`.

  Raises:
    ValueError: The run ends before the warm-up.
  """
  if total_steps <= warmup_steps:
    raise ValueError(
      f'TRAIN_STEPS is {total_steps} and WARMUP_STEPS {warmup_steps}; train'
      ' longer than the warm-up, or shorten it.'
    )
  return optax.warmup_cosine_decay_schedule(
    init_value=peak / max(warmup_steps, 1),
    peak_value=peak,
    warmup_steps=warmup_steps,
    decay_steps=total_steps,
    end_value=peak * final_fraction,
  )


def adamw(
  schedule: Schedule,
  b1: float = 0.9,
  b2: float = 0.98,
  weight_decay: float = 0.01,
  clip_norm: float | None = 1.0,
) -> optax.GradientTransformation:
  """AdamW after `clip_sides`; decays matrices, not vectors.

  Args:
    schedule: Learning rate by step; the loop logs this same object.
    b1: Decay of the first moment.
    b2: Decay of the second moment.
    weight_decay: Decoupled decay of parameters with at least two axes in a
      layer.
    clip_norm: Largest global norm of the gradient, see `clip_sides`; None:
      no limit.
  """
  return optax.chain(
    clip_sides(clip_norm),
    optax.adamw(
      schedule, b1=b1, b2=b2, weight_decay=weight_decay, mask=_matrices
    ),
  )


def adafactor(
  schedule: Schedule,
  decay_rate: float = 0.8,
  weight_decay: float | None = None,
  clip_norm: float | None = 1.0,
  min_dim_size_to_factor: int = 128,
) -> optax.GradientTransformation:
  """Adafactor (https://arxiv.org/abs/1804.04235): factored second moments.

  Updates are scaled by the size of their parameter, so the rate is relative:
  T5 takes 1e-3 to 1e-2.

  Args:
    schedule: Learning rate by step; the loop logs this same object.
    decay_rate: Exponent of the growing memory of the second moment.
    weight_decay: Decoupled decay of parameters with at least two axes in a
      layer, not scaled by the learning rate; None: no decay.
    clip_norm: Largest global norm of the gradient, see `clip_sides`; None:
      no limit.
    min_dim_size_to_factor: Smallest size of a matrix to factor.
  """
  decay = []
  if weight_decay is not None:
    decay = [optax.add_decayed_weights(weight_decay, mask=_matrices)]
  return optax.chain(
    clip_sides(clip_norm),
    optax.chain(
      _factor_each_layer(
        optax.scale_by_factored_rms(
          decay_rate=decay_rate, min_dim_size_to_factor=min_dim_size_to_factor
        )
      ),
      _each_layer(lambda update, _: update / jnp.maximum(_rms(update), 1.0)),
      optax.scale_by_learning_rate(schedule, flip_sign=False),
      _each_layer(lambda update, p: update * jnp.maximum(_rms(p), 1e-3)),
      *decay,
      optax.scale(-1.0),
    ),
  )


def _rms(x: jax.Array) -> jax.Array:
  return jnp.sqrt(jnp.mean(jnp.square(x)))


# What `optax.adafactor` is made of takes a stack of layers for one parameter.
def _by_layer(path: tuple[Any, ...], function: Callable) -> Callable:
  """`function` of a parameter, of stacked layers for one after the other."""
  return jax.vmap(function) if layer_stacking.is_stacked(path) else function


def _each_layer(
  change: Callable[[jax.Array, jax.Array], jax.Array],
) -> optax.GradientTransformation:
  """Changes the update of each parameter of each layer."""
  return optax.stateless(
    lambda updates, params: jax.tree_util.tree_map_with_path(
      lambda path, *leaves: _by_layer(path, change)(*leaves), updates, params
    )
  )


def _factor_each_layer(
  factor: optax.GradientTransformation,
) -> optax.GradientTransformation:
  """Applies `optax.scale_by_factored_rms` to each parameter of each layer."""
  kind = optax.FactoredState

  def joined(count, states):
    parts = (
      jax.tree.map(
        lambda s, n=name: getattr(s, n),
        states,
        is_leaf=lambda s: isinstance(s, kind),
      )
      for name in ('v_row', 'v_col', 'v')
    )
    return kind(count, *parts)

  def init(params):
    states = jax.tree_util.tree_map_with_path(
      lambda path, p: _by_layer(path, factor.init)(p), params
    )
    return joined(jnp.zeros((), jnp.int32), states)

  def update(updates, state, params=None):
    def one(grad, row, column, whole, param):
      return factor.update(grad, kind(state.count, row, column, whole), param)

    both = jax.tree_util.tree_map_with_path(
      lambda path, *leaves: _by_layer(path, one)(*leaves),
      updates, state.v_row, state.v_col, state.v, params,
    )  # fmt: skip

    def is_both(x):
      return isinstance(x, tuple) and isinstance(x[-1], kind)

    new, states = (
      jax.tree.map(lambda x, k=k: x[k], both, is_leaf=is_both) for k in (0, 1)
    )
    return new, joined(state.count + 1, states)

  return optax.GradientTransformation(init, update)


def clip_sides(norm: float | None) -> optax.GradientTransformation:
  """Clips by global norm: `OPPONENTS` by theirs, all else by its own.

  Where the gradient of discriminators is hundreds of times that of the codec
  they judge, one norm for both would stop the codec.

  Args:
    norm: Largest norm of each side; None: no limit.
  """
  if not norm:
    return optax.identity()
  clip = optax.clip_by_global_norm(norm)
  state = clip.init(None)

  def clip_both(updates, params):
    del params
    if not isinstance(updates, Mapping):
      return clip.update(updates, state)[0]
    is_frozen = isinstance(updates, flax.core.FrozenDict)
    sides: tuple[dict[str, Any], ...] = ({}, {})
    for name, tree in updates.items():
      sides[name in OPPONENTS][name] = tree
    both = [clip.update(side, state)[0] for side in sides]
    clipped = {name: both[name in OPPONENTS][name] for name in updates}
    # T5X's are frozen.
    return flax.core.freeze(clipped) if is_frozen else clipped

  return optax.stateless(clip_both)


def _matrices(params: Any) -> Any:
  """Whether each parameter is a matrix, the axis of stacked layers aside."""
  return jax.tree_util.tree_map_with_path(
    lambda path, p: p.ndim - layer_stacking.is_stacked(path) > 1, params
  )
