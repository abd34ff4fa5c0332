"""Learning rates against their formulas; what optimisers decay and clip."""

import dataclasses
import itertools

from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tests.fakes import mesh_losses
from tests.fakes import token_stage
from v2meow_jax.models.blocks import layer_stacking
from v2meow_jax.training import schedules
from v2meow_jax.training import step as step_lib
from v2meow_jax.training import train_state


def test_the_cosine_rises_to_its_peak_and_falls_to_its_fraction():
  schedule = schedules.warmup_cosine(1e-3, 10, 110, final_fraction=0.1)
  rates = [float(schedule(step)) for step in (0, 10, 60, 110, 500)]
  # Halfway down it is halfway between the peak and a tenth of it.
  np.testing.assert_allclose(rates, [1e-4, 1e-3, 5.5e-4, 1e-4, 1e-4], rtol=1e-5)


def test_a_run_shorter_than_its_warm_up_is_refused_by_name():
  with pytest.raises(ValueError, match='TRAIN_STEPS is 20 and WARMUP_STEPS 50'):
    schedules.warmup_cosine(1e-3, 50, 20)


SIZES = dataclasses.replace(
  mesh_losses.SIZES, num_decoder_layers=2, dropout_rate=0.0
)


@pytest.mark.parametrize('make', [schedules.adamw, schedules.adafactor])
@pytest.mark.slow
def test_norms_do_not_decay_whether_layers_are_apart_or_stacked(make):
  norm = {'attention_norm': {'scale': jnp.ones(4)}}
  apart = {
    **{f'{side}_{i}': {**norm, 'wo': jnp.ones((4, 3))}
       for side in ('encoder', 'decoder') for i in range(2)},
    'decoder_norm': {'scale': jnp.ones(4)},
    'adaptor': {'kernel': jnp.ones((3, 4)), 'bias': jnp.ones(4)},
  }  # fmt: skip
  optimizer = make(lambda _: jnp.float32(1.0), weight_decay=0.1)

  def decayed(params):
    zeros = jax.tree.map(jnp.zeros_like, params)
    updates, _ = optimizer.update(zeros, optimizer.init(params), params)
    return updates

  updates = decayed(apart)
  for path, update in jax.tree_util.tree_leaves_with_path(updates):
    is_matrix = path[-1].key in ('wo', 'kernel')
    np.testing.assert_allclose(update, -0.1 * is_matrix, rtol=1e-5)
  stacked = layer_stacking.unstack(decayed(layer_stacking.stack(apart)))
  jax.tree.map(np.testing.assert_array_equal, updates, stacked)


def after_fifty_steps(scan_layers, params):
  """Parameters apart, trained with a strong decay, from stacked or apart ones."""
  config = dataclasses.replace(SIZES, scan_layers=scan_layers)
  model = token_stage.make(mesh_losses.STAGE, config)
  optimizer = schedules.adamw(schedules.warmup_rsqrt(1e-2, 5), weight_decay=0.5)
  params = (layer_stacking.stack if scan_layers else dict)(params)
  state = train_state.TrainState(
    step=jnp.zeros((), jnp.int32),
    params=jax.tree.map(jnp.copy, params),
    extras={},
    opt_state=optimizer.init(params),
  )
  step = step_lib.make_train_step(model, optimizer)
  data = mesh_losses.batches(mesh_losses.BAD_STEP)
  for batch in itertools.islice(data, 50):
    state, metrics = step(state, batch, jax.random.key(0))
  return layer_stacking.unstack(state.params), float(metrics['loss'])


@pytest.mark.slow
def test_fifty_steps_are_the_same_with_layers_apart_and_stacked():
  model = token_stage.make(mesh_losses.STAGE, SIZES)
  batch = next(mesh_losses.batches(0))
  params = nn.unbox(model.init(jax.random.key(0), batch))['params']
  apart, loss = after_fifty_steps(False, params)
  stacked, stacked_loss = after_fifty_steps(True, params)
  assert stacked_loss == pytest.approx(loss, rel=1e-3)
  for (path, a), b in zip(
    jax.tree_util.tree_leaves_with_path(apart),
    jax.tree.leaves(stacked),
    strict=True,
  ):
    name = jax.tree_util.keystr(path)
    if 'scale' in name:
      np.testing.assert_allclose(b, a, atol=5e-3, err_msg=name)
    assert np.linalg.norm(a - b) < 0.02 * np.linalg.norm(a), name


@pytest.mark.slow
def test_adafactor_factors_and_clips_each_of_stacked_layers_by_itself():
  rng = np.random.default_rng(0)
  # Layers of very different sizes, and as many as a kernel has columns.
  apart = {
    f'decoder_{i}': {
      'wi': jnp.asarray(rng.normal(size=(6, 8)) * 10.0 ** (i % 3)),
      'norm': {'scale': jnp.ones(6)},
    }
    for i in range(8)
  }
  rate = schedules.warmup_rsqrt(1e-2, 5)

  def after_fifty(optimizer, change):
    rng = np.random.default_rng(1)
    params = change(apart)
    state = optimizer.init(params)
    update = jax.jit(optimizer.update)
    for _ in range(50):
      grads = jax.tree.map(
        lambda x: jnp.asarray(rng.normal(size=x.shape) * 10 * abs(x).mean()),
        apart,
      )
      updates, state = update(change(grads), state, params)
      params = optax.apply_updates(params, updates)
    return layer_stacking.unstack(params), state

  options = {'weight_decay': 0.01, 'min_dim_size_to_factor': 6}
  ours = schedules.adafactor(rate, clip_norm=None, **options)
  theirs = optax.adafactor(
    rate,
    min_dim_size_to_factor=6,
    weight_decay_rate=0.01,
    weight_decay_mask=lambda p: jax.tree.map(lambda x: x.ndim > 1, p),
  )
  wanted, _ = after_fifty(theirs, dict)
  for change in (dict, layer_stacking.stack):
    found, state = after_fifty(ours, change)
    jax.tree.map(
      lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-4), found, wanted
    )
  rows = state[1][0].v_row['decoder']['wi']
  columns = state[1][0].v_col['decoder']['wi']
  assert (rows.shape, columns.shape) == ((8, 6), (8, 8))


@pytest.mark.slow
def test_discriminators_are_clipped_by_their_own_norm():
  codec = {'generator': {'w': jnp.ones((2, 2))}}
  clip = schedules.clip_sides(1.0)

  def clipped(scale):
    grads = {**codec, 'discriminator': {'w': scale * jnp.ones(3)}}
    return clip.update(grads, clip.init(grads))[0]

  quiet, loud = clipped(0.1), clipped(3000.0)
  np.testing.assert_array_equal(quiet['generator']['w'], loud['generator']['w'])
  assert float(optax.global_norm(loud['generator'])) == pytest.approx(1.0)
  assert float(optax.global_norm(loud['discriminator'])) == pytest.approx(1.0)
  np.testing.assert_array_equal(quiet['discriminator']['w'], jnp.full(3, 0.1))
  whole = {'a': jnp.ones(2), 'b': jnp.ones(2)}
  np.testing.assert_array_equal(
    clip.update(whole, clip.init(whole))[0]['a'],
    optax.clip_by_global_norm(1.0).update(whole, optax.EmptyState())[0]['a'],
  )
