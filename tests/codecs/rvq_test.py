import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from v2meow_jax.codecs import rvq

pytestmark = pytest.mark.slow


def _config(**kwargs):
  sizes = dict(num_levels=4, codebook_size=16, code_dim=8)
  return rvq.RvqConfig(**(sizes | kwargs))


def _clusters(num=512, dim=8, seed=0):
  # 16 well separated clusters, so that k-means has something to find.
  rng = np.random.default_rng(seed)
  centres = 4 * rng.normal(size=(16, dim))
  x = centres[rng.integers(16, size=num)] + rng.normal(size=(num, dim))
  return x.astype(np.float32)


_quantize = jax.jit(rvq.quantize)
_kmeans = jax.jit(rvq.kmeans, static_argnums=(2, 3))
_kmeans_state = jax.jit(rvq.kmeans_state, static_argnums=2)


def _error(vectors, x, num_levels):
  codes = _quantize(vectors, x)[0][:num_levels]
  return float(np.mean((rvq.lookup(vectors, codes.T) - x) ** 2))


def test_nearest_equals_brute_force():
  rng = np.random.default_rng(0)
  x, vectors = rng.normal(size=(50, 3)), rng.normal(size=(7, 3))
  wanted = np.linalg.norm(x[:, None] - vectors[None], axis=-1).argmin(-1)
  np.testing.assert_array_equal(rvq.nearest(x, vectors), wanted)


def test_error_falls_with_every_level():
  x = _clusters()
  state = _kmeans_state(jax.random.key(0), x, _config())
  errors = [_error(state['vectors'], x, k) for k in (1, 2, 3, 4)]
  assert errors == sorted(errors, reverse=True) and errors[3] < errors[0] / 2


def test_codes_name_the_vectors_that_were_chosen():
  x = _clusters()
  vectors = _kmeans_state(jax.random.key(0), x, _config())['vectors']
  codes, residuals, chosen = _quantize(vectors, x)
  np.testing.assert_allclose(
    rvq.lookup(vectors, codes.T), chosen.sum(0), atol=1e-5
  )
  np.testing.assert_allclose(residuals[1], x - chosen[0], atol=1e-5)


def test_codes_of_too_many_levels_are_refused():
  with pytest.raises(ValueError, match='5 levels but the quantiser has 4'):
    rvq.lookup(jnp.zeros((4, 16, 8)), jnp.zeros((2, 5), int))


def test_kmeans_beats_random_rows():
  x = _clusters()
  fitted = _kmeans(jax.random.key(0), x, 16, 10)
  drawn = x[np.random.default_rng(0).choice(len(x), 16, replace=False)]
  assert _error(fitted[None], x, 1) < 0.7 * _error(jnp.array(drawn)[None], x, 1)


def test_kmeans_with_more_centres_than_rows_leaves_the_next_level_work():
  # A centre for each row would leave residuals of 0.
  x = _clusters(num=32)
  few = _kmeans(jax.random.key(0), x, 8, 10)
  many = _kmeans(jax.random.key(0), x, 64, 10)
  assert many.shape == (64, 8)
  assert 0.2 < _error(many[None], x, 1) / _error(few[None], x, 1) < 1


def test_ema_update_equals_closed_form():
  # Code 1 of level 0 gets rows 2 and 4, code 0 none.
  state = {
    'vectors': jnp.array([[[1.0], [5.0]]]),
    'sums': jnp.array([[[3.0], [10.0]]]),
    'counts': jnp.array([[3.0, 2.0]]),
    'age': jnp.zeros((), int),
  }
  out = rvq.ema_update(
    state, jnp.array([[1, 1]]), jnp.array([[[2.0], [4.0]]]), 0.9
  )
  np.testing.assert_allclose(out['counts'], [[2.7, 2.0]])
  np.testing.assert_allclose(out['sums'], [[[2.7], [9.6]]], rtol=1e-6)
  np.testing.assert_allclose(out['vectors'], [[[1.0], [4.8]]], rtol=1e-6)


def test_ema_codebook_converges_to_the_mean_of_what_chose_it():
  x = _clusters()[None]
  state = rvq.initial_state(_config(num_levels=1, codebook_size=1))
  update = jax.jit(rvq.ema_update)
  for _ in range(200):
    state = update(state, jnp.zeros(x.shape[:2], int), x, 0.9)
  np.testing.assert_allclose(state['vectors'][0, 0], x.mean((0, 1)), rtol=1e-4)


def test_only_dead_codes_are_revived_and_as_rows_of_the_batch():
  state = {
    'vectors': jnp.array([[[100.0], [0.5]]]),
    'sums': jnp.array([[[1.0], [1.0]]]),
    'counts': jnp.array([[0.01, 2.0]]),
  }
  rows = jnp.array([[[1.0], [2.0], [3.0], [4.0]]])
  out = rvq.revive(jax.random.key(0), state, rows, dead_share=0.2)
  assert float(out['vectors'][0, 0, 0]) in (1.0, 2.0, 3.0, 4.0)
  assert float(out['vectors'][0, 1, 0]) == 0.5
  # The revived code starts with the count of a code in average use, 4 / 2.
  np.testing.assert_allclose(out['counts'], [[2.0, 2.0]])
  np.testing.assert_allclose(
    out['sums'][0, 0] / out['counts'][0, 0], out['vectors'][0, 0]
  )


def test_perplexity_of_uniform_single_and_two_code_use():
  counts = jnp.array([[1.0, 1, 1, 1], [7, 0, 0, 0], [3, 0, 3, 0]])
  np.testing.assert_allclose(rvq.perplexity(counts), [4, 1, 2], rtol=1e-4)


def test_level_dropout_draws_every_depth_alike():
  mask = rvq.level_mask(jax.random.key(0), 8000, _config())
  depths = np.bincount(np.asarray(mask.sum(1)).astype(int), minlength=5)
  assert depths[0] == 0
  np.testing.assert_allclose(depths[1:] / 8000, 0.25, atol=0.02)
  # Dropped levels are the last ones.
  assert np.all(np.diff(mask, axis=1) <= 0)


def test_no_level_dropout_uses_all_levels():
  config = _config(level_dropout_rate=0.0)
  assert rvq.level_mask(jax.random.key(0), 9, config).min() == 1


def _module(config, latents):
  module = rvq.ResidualVectorQuantizer(config, latents.shape[-1])
  init = jax.jit(functools.partial(module.init, train=False))
  variables = init(jax.random.key(0), latents)
  return module, variables


@functools.partial(jax.jit, static_argnums=0)
def _apply_training(module, variables, latents):
  return module.apply(
    variables,
    latents,
    train=True,
    rngs={'codebooks': jax.random.key(1)},
    mutable=['codebooks'],
  )


def _train_step(module, variables, latents):
  (out, commitment), updated = _apply_training(module, variables, latents)
  return out, commitment, {**variables, **updated}


def test_straight_through_gradient_is_that_of_no_quantisation():
  latents = _clusters(64).reshape(4, 16, 8)
  module, variables = _module(_config(), latents)
  _, _, variables = _train_step(module, variables, latents)

  def plain(module, x):
    return module.from_code(module.project(x))

  weights = np.random.default_rng(0).normal(size=(4, 16, 8))

  def gradient(decoded):
    return jax.jit(jax.grad(lambda x: jnp.sum(weights * decoded(x))))(latents)

  ours = gradient(lambda x: module.apply(variables, x, train=False)[0])
  wanted = gradient(lambda x: module.apply(variables, x, method=plain))
  np.testing.assert_allclose(ours, wanted, atol=1e-5)


def test_first_step_fits_codebooks_and_later_ones_move_them_a_little():
  latents = _clusters().reshape(8, 64, 8)
  module, variables = _module(_config(dead_share=0.0), latents)
  assert not variables['codebooks']['state']['vectors'].any()
  _, first, variables = _train_step(module, variables, latents)
  before = variables['codebooks']['state']['vectors']
  _, _, variables = _train_step(module, variables, latents)
  after = variables['codebooks']['state']['vectors']
  assert float(first) < 0.5  # Latents have unit variance.
  assert 0 < np.abs(after - before).max() < 0.1


def test_warm_up_passes_latents_through_and_then_fits():
  latents = _clusters().reshape(8, 64, 8)
  config = _config(warmup_steps=2, level_dropout_rate=0.0)
  module, variables = _module(config, latents)

  def plain(module, x):
    return module.from_code(module.project(x))

  wanted = module.apply(variables, latents, method=plain)
  outs = []
  for _ in range(3):
    out, commitment, variables = _train_step(module, variables, latents)
    outs.append((np.abs(out - wanted).max(), float(commitment)))
  assert outs[0] == (pytest.approx(0, abs=1e-5), 0)
  assert outs[1] == (pytest.approx(0, abs=1e-5), 0)
  assert outs[2][0] > 1e-2 and 0 < outs[2][1] < 0.5


def test_decoding_codes_equals_the_quantised_latents():
  latents = _clusters(64).reshape(4, 16, 8)
  module, variables = _module(_config(), latents)
  _, _, variables = _train_step(module, variables, latents)
  apply = jax.jit(module.apply, static_argnames=('train', 'method'))
  out, _ = apply(variables, latents, train=False)
  codes = apply(variables, latents, method='encode')
  assert codes.dtype == jnp.int32 and codes.shape == (4, 16, 4)
  np.testing.assert_allclose(
    apply(variables, codes, method='decode'), out, atol=1e-5
  )
