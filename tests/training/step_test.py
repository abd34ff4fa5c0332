"""What one step does to its state, and what it does not."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tests.fakes import planted_model
from v2meow_jax.training import schedules
from v2meow_jax.training import step as step_lib
from v2meow_jax.training import train_state
from v2meow_jax.training.monitoring import health

SCHEDULE = schedules.warmup_rsqrt(0.05, 20)
SPIKES = health.SpikeSkip(window=8, sigmas=6.0)
MODEL = planted_model.LinearModel()


def batch(step):
  made = next(planted_model.batches(step))
  del made['example_ids']
  return made


@pytest.fixture(scope='module')
def after_ten():
  """A step with everything on, the state and metrics after ten of it."""
  optimizer = schedules.adamw(SCHEDULE)
  state = train_state.create(
    MODEL, optimizer, jax.random.key(0), batch(0),
    ema=True, recent=SPIKES.initial(),
  )  # fmt: skip
  step = step_lib.make_train_step(
    MODEL, optimizer, schedule=SCHEDULE, ema_decay=0.9, spikes=SPIKES
  )
  key = jax.random.key(1)
  states, metrics = [], []
  for i in range(10):
    states.append(jax.device_get(state))
    state, told = step(state, batch(i), key)
    metrics.append(jax.device_get(told))
  states.append(jax.device_get(state))
  return lambda s, b: step(jax.device_put(s), b, key), states, metrics


def without(state, *names):
  return state.params, state.opt_state, {
    k: v for k, v in state.extras.items() if k not in names
  }  # fmt: skip


def assert_equal(a, b):
  for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
    np.testing.assert_array_equal(x, y)


def test_the_average_is_that_of_the_parameters(after_ten):
  _, states, _ = after_ten
  average = states[0].params['w']
  for state in states[1:]:
    average = 0.9 * average + 0.1 * state.params['w']
  np.testing.assert_allclose(
    states[-1].extras[train_state.EMA]['w'], average, rtol=1e-5
  )
  best = train_state.best_params(states[-1].variables)
  np.testing.assert_array_equal(best['w'], states[-1].extras['ema_params']['w'])


@pytest.mark.parametrize('bad', [np.nan, np.inf])
def test_a_step_that_is_not_finite_changes_nothing_but_the_count(
  after_ten, bad
):
  step, states, _ = after_ten
  poisoned = batch(10)
  poisoned['x'][3, 1] = bad
  state, metrics = step(states[-1], poisoned)
  assert metrics['skipped'] == 1
  assert state.step == 11
  assert_equal(without(state), without(states[-1]))


def test_a_spike_changes_nothing_but_what_is_remembered(after_ten):
  step, states, metrics = after_ten
  assert sum(m['skipped'] for m in metrics) == 0
  spiking = batch(10)
  spiking['y'] *= 100
  state, told = step(states[-1], spiking)
  assert told['skipped'] == 1
  assert np.isfinite(told['total_loss'])
  name = train_state.RECENT
  assert_equal(without(state, name), without(states[-1], name))
  assert state.extras[name]['seen'] == 11


def test_the_rate_that_is_told_is_the_one_used_after_a_skipped_step(after_ten):
  step, states, metrics = after_ten
  assert [float(m['learning_rate']) for m in metrics] == pytest.approx(
    [0.0025 * (i + 1) for i in range(10)]
  )
  poisoned = batch(10)
  poisoned['x'][0, 0] = np.nan
  state, _ = step(states[-1], poisoned)
  _, told = step(state, batch(11))
  # Eleven updates after step twelve: the optimiser counts updates, not steps.
  assert float(told['learning_rate']) == pytest.approx(0.0025 * 11)


def test_an_averaged_model_is_what_is_evaluated(after_ten):
  _, states, _ = after_ten
  metrics = step_lib.make_eval_step(MODEL)(states[-1], batch(50))
  held_out = batch(50)
  error = held_out['x'] @ states[-1].extras['ema_params']['w'] - held_out['y']
  assert float(metrics['loss']) == pytest.approx(np.mean(error**2), rel=1e-5)


def test_a_spike_is_judged_as_numpy_does():
  rng = np.random.default_rng(0)
  recent = SPIKES.initial()
  seen = []
  judge = jax.jit(SPIKES.judge)
  for i in range(40):
    # Up to 8 sigma above the mean, so that some are spikes.
    new = 1 + 0.1 * rng.normal(size=2) + (i % 7 == 0) * rng.uniform(0, 3, 2)
    last = np.array(seen[-8:]).reshape(-1, 2)
    limit = last.mean(0) + 6 * last.std(0) if len(seen) >= 4 else np.inf
    is_spike, recent = judge(recent, *jnp.float32(new))
    assert bool(is_spike) == bool(np.any(new > limit)), i
    seen.append(new)
  _, after = judge(recent, jnp.nan, jnp.float32(1.0))
  assert_equal(after, recent)


@pytest.mark.slow
@pytest.mark.parametrize('make', [schedules.adamw, schedules.adafactor])
def test_an_optimiser_by_name_descends(make):
  optimizer = make(lambda _: jnp.float32(0.1))
  params = {'w': jnp.array([3.0, -2.0]), 'm': jnp.full((2, 3), 1.5)}
  state = optimizer.init(params)

  def loss(p):
    return optax.global_norm(p) ** 2

  @jax.jit
  def descend(state, params):
    updates, state = optimizer.update(jax.grad(loss)(params), state, params)
    return state, optax.apply_updates(params, updates)

  before = loss(params)
  for _ in range(20):
    state, params = descend(state, params)
  assert loss(params) < before / 4
