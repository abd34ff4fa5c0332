"""The one jitted step that trains a stage, the codec or an embedding."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from v2meow_jax.models import trainable
from v2meow_jax.training import accumulation
from v2meow_jax.training import schedules
from v2meow_jax.training import train_state
from v2meow_jax.training.monitoring import health

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
) -> TrainStep:
  """(state, batch, key of the run) -> (state, metrics); the state is donated.

  The key of a step is fold_in(key of the run, step), so a resumed run draws
  what an undisturbed one would have drawn. A step whose loss, gradient or update
  is not finite, or that spikes, changes nothing but the count of steps.

  Args:
    model: What is trained.
    optimizer: That trains it.
    schedule: Of the optimiser; what it gave is among the metrics.
    num_microbatches: See `accumulation.loss_and_gradient`.
    ema_decay: Of `train_state.EMA` in the state; None: it has none.
    spikes: What is a spike; needs `train_state.RECENT` in the state. None:
      only steps that are not finite are skipped.
    shardings: Of the state, from `mesh.state_shardings`; None: JAX chooses.

  Returns:
    The jitted step. Metrics are the model's, and 'total_loss' (what is
    differentiated), 'gradient_norm', 'update_norm', 'skipped' (0 or 1),
    'learning_rate', and 'module_norms', a dict.
  """

  def train_step(state, batch, run_key):
    rng = jax.random.fold_in(run_key, state.step)
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
    # Among what is judged also because of the order it makes: old moments are
    # read for it before new ones take their place, which spares copies.
    update_norm = optax.global_norm(updates)
    healthy, recent = _judged(spikes, state, loss, norm)
    healthy &= jnp.isfinite(update_norm)
    metrics = {
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
    return _chosen(healthy, new, state, recent), metrics

  out = None if shardings is None else (shardings, shardings.step)
  return jax.jit(train_step, donate_argnums=0, out_shardings=out)


def make_eval_step(
  model: trainable.Trainable,
) -> Callable[[train_state.TrainState, trainable.Batch], Metrics]:
  """(state, batch) -> metrics, with nothing random and nothing changed.

  Averaged parameters are evaluated where there are some.
  """

  def eval_step(state, batch):
    params = train_state.best_params(state.variables)
    loss, (metrics, _) = model.train_loss(
      params, state.model_extras, batch, None
    )
    return {'loss': loss, **metrics}

  return jax.jit(eval_step)


def _with_average(new, old, decay):
  """The new state with the average of the old moved towards its parameters."""
  average = optax.incremental_update(
    new.params, old.extras[train_state.EMA], 1 - decay
  )
  return new.replace(extras={**new.extras, train_state.EMA: average})


def _judged(spikes, state, loss, norm):
  """Whether the step counts, and what is remembered of it, {} for nothing."""
  healthy = jnp.isfinite(loss) & jnp.isfinite(norm)
  if spikes is None:
    return healthy, {}
  name = train_state.RECENT
  is_spike, recent = spikes.judge(state.extras[name], loss, norm)
  return healthy & ~is_spike, {name: recent}


def _chosen(healthy, new, old, recent):
  """The new state or the old, one step on; `recent` is new in either case."""
  old = old.replace(
    extras={k: v for k, v in old.extras.items() if k not in recent}
  )
  kept = jax.tree.map(lambda n, o: jnp.where(healthy, n, o), new, old)
  return kept.replace(step=old.step + 1, extras={**kept.extras, **recent})


def _updates_done(state: train_state.TrainState) -> jax.Array:
  """int32[], what the optimiser's schedule counts: skipped steps left out."""

  def is_schedule(path, _):
    return getattr(path[-1], 'tuple_name', '') == 'ScaleByScheduleState'

  found = optax.tree_utils.tree_get_all_with_path(
    state.opt_state, 'count', is_schedule
  )
  return found[0][1] if found else state.step
