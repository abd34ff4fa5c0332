"""Visual adaptors: what each makes of patches, and when."""

import dataclasses
import functools

from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from v2meow_jax.models.adaptors import alignment
from v2meow_jax.models.adaptors import patches

pytestmark = pytest.mark.slow


def apply(kind, x, params=None, **config):
  adaptor = patches.PatchAdaptor(
    8, 'float32', patches.PatchAdaptorConfig(kind=kind, **config), x.shape[2]
  )
  if params is None:
    params = nn.unbox(jax.jit(adaptor.init)(jax.random.key(0), x)['params'])
  run = jax.jit(functools.partial(adaptor.apply, mutable=['intermediates']))
  y, sown = run({'params': params}, x)
  gates = sown.get('intermediates', {}).get('gates', (None,))[0]
  return np.asarray(y), gates, params


def random_patches(seed=0):
  return np.random.default_rng(seed).normal(size=(2, 3, 5, 4)).astype('f4')


def projected(x, params):
  return x @ params['kernel'] + params['bias'] + params['places']


def test_gates_weigh_patches_as_they_say():
  x = random_patches()
  for kind in ('softmax', 'sigmoid'):
    y, gates, params = apply(kind, x)
    h = np.asarray(projected(x, params))
    scores = (h @ np.asarray(params['gate']))[..., 0]
    wanted = (
      jax.nn.softmax(scores, -1)
      if kind == 'softmax'
      else jax.nn.sigmoid(scores) / 5
    )
    np.testing.assert_allclose(gates, wanted, rtol=1e-5)
    np.testing.assert_allclose(
      y, np.einsum('bfp,bfpm->bfm', wanted, h), atol=1e-5
    )


def test_the_average_is_one_and_the_class_token_is_the_first_patch():
  x = random_patches()
  y, gates, params = apply('average', x)
  np.testing.assert_allclose(y, projected(x, params).mean(2), atol=1e-5)
  np.testing.assert_allclose(gates, 0.2)
  y, _, params = apply('cls', x, class_token=True)
  np.testing.assert_allclose(
    y, x[:, :, 0] @ params['kernel'] + params['bias'], atol=1e-5
  )
  # The other kinds leave it out.
  y, gates, params = apply('average', x, class_token=True)
  assert gates.shape == (2, 3, 4)
  np.testing.assert_allclose(
    y, projected(x[:, :, 1:], params).mean(2), atol=1e-5
  )


def test_attention_is_that_of_a_learnt_query_on_each_head():
  x = random_patches()
  y, gates, params = apply('attention', x, num_heads=2)
  h = np.asarray(projected(x, params))
  weights = np.asarray(jax.nn.softmax(h @ params['gate'], 2))
  values = h @ np.asarray(params['value'])
  heads = [
    np.einsum('bfp,bfpd->bfd', weights[..., i], values[..., 4 * i : 4 * i + 4])
    for i in range(2)
  ]
  wanted = np.concatenate(heads, -1) @ np.asarray(params['out'])
  np.testing.assert_allclose(y, wanted, atol=1e-5)
  np.testing.assert_allclose(gates, weights.mean(-1), atol=1e-6)
  np.testing.assert_allclose(gates.sum(-1), 1.0, atol=1e-5)


@pytest.mark.parametrize('kind', ['softmax', 'sigmoid', 'attention'])
def test_the_patch_that_alone_matters_gets_the_weight(kind):
  """Least squares on a signal that one patch of five carries."""
  rng = np.random.default_rng(1)
  x = rng.normal(size=(64, 8, 5, 4)).astype('f4')
  wanted = x[:, :, 3, :1]
  adaptor = patches.PatchAdaptor(
    8, 'float32', patches.PatchAdaptorConfig(kind=kind, num_heads=2), 5
  )
  params = {
    'adaptor': nn.unbox(adaptor.init(jax.random.key(0), x)['params']),
    'read': jnp.ones((8, 1)) / 8,
  }

  def loss(p):
    return jnp.mean(
      (adaptor.apply({'params': p['adaptor']}, x) @ p['read'] - wanted) ** 2
    )

  import optax

  optimizer = optax.adam(3e-2)
  state = optimizer.init(params)

  @jax.jit
  def run(params, state):
    def step(carry, _):
      params, state = carry
      updates, state = optimizer.update(jax.grad(loss)(params), state)
      return (optax.apply_updates(params, updates), state), None

    return jax.lax.scan(step, (params, state), None, 300)[0][0]

  trained = run(params, state)
  _, gates, _ = apply(kind, x, trained['adaptor'], num_heads=2)
  shares = np.asarray(gates).mean((0, 1))
  assert shares.argmax() == 3
  assert shares[3] > 1.5 * np.delete(shares, 3).max()


@pytest.mark.parametrize(
  'rates', [(10, 25), (25, 10), (10, 50), (12.5, 10), (3, 7)]
)
def test_an_event_lands_at_its_time_at_any_pair_of_rates(rates):
  source, target = rates
  num_in, num_out = int(4 * source), int(4 * target)
  shares = alignment.overlap(num_in, source, num_out, target)
  np.testing.assert_allclose(shares.sum(1), 1.0, rtol=1e-6)
  times = (np.arange(num_in) + 0.5) / source
  middles = (np.arange(num_out) + 0.5) / target
  # The mean time of what a frame takes is its own, to half of a frame.
  assert abs(shares @ times - middles).max() <= 0.5 / source + 1e-6
  for event in (0.33, 1.97, 3.5):
    frames = np.zeros(num_in)
    frames[int(event * source)] = 1.0
    assert shares[int(event * target)] @ frames > 0
    seen = np.flatnonzero(shares @ frames)
    assert abs(middles[seen] - event).max() <= 1 / source + 0.5 / target


def test_frames_beyond_the_end_take_the_last_one():
  shares = alignment.overlap(2, 1.0, 8, 2.0)
  np.testing.assert_array_equal(shares[4:], [[0, 1]] * 4)


def test_heads_that_do_not_divide_the_width_are_named():
  with pytest.raises(ValueError, match='num_heads of the adaptor is 3'):
    apply('attention', random_patches(), num_heads=3)
  with pytest.raises(ValueError, match='num_heads is 0'):
    dataclasses.replace(patches.PatchAdaptorConfig(), num_heads=0)
