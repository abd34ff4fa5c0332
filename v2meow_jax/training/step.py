"""The jitted step that trains a stage, a codec or an embedding."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from v2meow_jax.models import trainable
from v2meow_jax.training import accumulation
from v2meow_jax.training import mesh as mesh_lib
from v2meow_jax.training import schedules
from v2meow_jax.training import train_state
from v2meow_jax.training.monitoring import health
from v2meow_jax.training.monitoring import metrics_out

Metrics = dict[str, Any]
TrainStep = Callable[
  [train_state.TrainState, trainable.Batch, jax.Array],
  tuple[train_state.TrainState, Metrics],
]


def make_train_step(
  model: trainable.Trainable,
  optimizer: optax.GradientTransformation,
  *,
  schedule: schedules.Schedule | None = None,
  num_microbatches: int = 1,
  ema_decay: float | None = None,
  spikes: health.SpikeSkip | None = None,
  shardings: train_state.TrainState | None = None,
  split: jax.sharding.NamedSharding | None = None,
) -> TrainStep:
  """Builds (state, batch, key of the run) -> (state, metrics).

  The state is donated. The key of a step is fold_in(key of the run, step), so a
  resumed run draws the same numbers as an uninterrupted one. A step that spikes,
  or whose loss, gradient or update is not finite, only advances the step count.

  Args:
    model: Model to train.
    optimizer: Optimiser to train it with.
    schedule: Learning rate of the optimiser, reported among the metrics.
    num_microbatches: Microbatches of `accumulation.loss_and_gradient`.
    ema_decay: Decay of `train_state.EMA`; None if the state has no average.
    spikes: Rule for spikes, which needs `train_state.RECENT` in the state. None:
      only non-finite steps are skipped.
    shardings: Shardings from `mesh.state_shardings`; None: JAX chooses.
    split: Sharding of the batch, from `mesh.batch_sharding`; None: JAX chooses
      how activations are split.

  Returns:
    The jitted step. Its metrics are the model's plus 'total_loss' (the
    differentiated loss), 'gradient_norm', 'update_norm', 'skipped' (0 or 1),
    'learning_rate', and 'module_norms', a dict.
  """

  def train_step(state, batch, run_key):
    rng = jax.random.fold_in(run_key, state.step)
    rows = len(jax.tree.leaves(batch)[0]) // num_microbatches
    with mesh_lib.split_activations(split, rows):
      loss, metrics, extras, grads = accumulation.loss_and_gradient(
        model, state.params, state.model_extras, batch, rng, num_microbatches
      )
    norm = optax.global_norm(grads)
    updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
    new = train_state.TrainState(
      step=state.step,
      params=optax.apply_updates(state.params, updates),
      extras=extras,
      opt_state=opt_state,
    )
    if ema_decay is not None:
      new = _with_average(new, state, ema_decay)
    # Checking it also fixes the order: old moments are read before new ones
    # replace them, which saves copies.
    update_norm = optax.global_norm(updates)
    healthy, recent = _check_health(spikes, state, loss, norm)
    healthy &= jnp.isfinite(update_norm)
    metrics = {
      metrics_out.WEIGHT: accumulation.loss_weight(batch),
      'loss': loss,
      **metrics,
      'total_loss': loss,
      'gradient_norm': norm,
      'update_norm': update_norm,
      'skipped': 1.0 - healthy,
      'module_norms': health.module_norms(grads),
    }
    if schedule is not None:
      rate = schedule(_updates_done(state))
      metrics['learning_rate'] = jnp.asarray(rate, jnp.float32)
    return _select(healthy, new, state, recent), metrics

  out = None if shardings is None else (shardings, shardings.step)
  return jax.jit(train_step, donate_argnums=0, out_shardings=out)


def make_eval_step(
  model: trainable.Trainable,
  split: jax.sharding.NamedSharding | None = None,
) -> Callable[[train_state.TrainState, trainable.Batch], Metrics]:
  """Builds (state, batch) -> metrics, without dropout.

  Evaluates the averaged parameters if there are any. `split` is that of
  `make_train_step`.
  """

  def eval_step(state, batch):
    params = train_state.best_params(state.variables)
    with mesh_lib.split_activations(split, len(jax.tree.leaves(batch)[0])):
      loss, (metrics, _) = model.train_loss(
        params, state.model_extras, batch, None
      )
    weight = {metrics_out.WEIGHT: accumulation.loss_weight(batch)}
    return {**weight, 'loss': loss, **metrics}

  return jax.jit(eval_step)


def _with_average(new, old, decay):
  """Updates the average of the parameters in the new state."""
  average = optax.incremental_update(
    new.params, old.extras[train_state.EMA], 1 - decay
  )
  return new.replace(extras={**new.extras, train_state.EMA: average})


def _check_health(spikes, state, loss, norm):
  """Returns whether the step counts, and the `RECENT` collection after it."""
  healthy = jnp.isfinite(loss) & jnp.isfinite(norm)
  if spikes is None:
    return healthy, {}
  name = train_state.RECENT
  is_spike, recent = spikes.judge(state.extras[name], loss, norm)
  return healthy & ~is_spike, {name: recent}


def _select(healthy, new, old, recent):
  """Returns the new state or the old, one step on, with `recent` in both cases."""
  old = old.replace(
    extras={k: v for k, v in old.extras.items() if k not in recent}
  )
  state = jax.tree.map(lambda n, o: jnp.where(healthy, n, o), new, old)
  return state.replace(step=old.step + 1, extras={**state.extras, **recent})


def _updates_done(state: train_state.TrainState) -> jax.Array:
  """Returns the optimiser's step count, int32[], without skipped steps."""

  def is_schedule(path, _):
    return getattr(path[-1], 'tuple_name', '') == 'ScaleByScheduleState'

  counts = optax.tree_utils.tree_get_all_with_path(
    state.opt_state, 'count', is_schedule
  )
  return counts[0][1] if counts else state.step
