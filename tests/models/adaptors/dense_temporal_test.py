"""Windows see what they should; the cost grows with the frames, not their square."""

import dataclasses
import functools

from flax.core import meta
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from v2meow_jax import specs
from v2meow_jax.models.adaptors import dense_temporal

pytestmark = pytest.mark.slow

STREAM = specs.FeatureSpec(name='patches', dim=5, rate_hz=10.0, num_positions=6)
SIZES = dense_temporal.DenseTemporalSizes(
  emb_dim=16, num_heads=2, head_dim=8, mlp_dim=24, window_frames=4
)


def inputs(frames, rows=1, seed=0):
  rng = np.random.default_rng(seed)
  return rng.normal(size=(rows, frames, 6, 5)).astype(np.float32)


def module(**changes):
  return dense_temporal.DenseTemporal(
    dataclasses.replace(SIZES, **changes), STREAM
  )


@functools.partial(jax.jit, static_argnums=0)
def run(net, params, x):
  return net.apply(params, x)


@pytest.fixture(scope='module')
def params():
  return meta.unbox(jax.jit(module().init)(jax.random.key(0), inputs(8)))


@pytest.mark.parametrize('frames', [1, 7, 20, 100])
def test_every_fourth_of_a_second_has_a_vector_and_the_whole_has_one(
  frames, params
):
  out, fine = run(module(), params, inputs(frames))
  assert out.shape == (1, -(-frames // 4) + 1, 16)
  assert fine.shape == (1, frames, 16)
  times = SIZES.times(STREAM, frames / 10)
  assert len(times) == out.shape[1] and np.isnan(times[-1])
  np.testing.assert_allclose(
    times[:-1], (np.arange(len(times) - 1) + 0.5) * 0.4
  )


def test_a_frame_reaches_its_windows_and_the_whole_alone(params):
  # One layer: windows of 4 frames, and those beside them.
  one = module(num_layers=1, num_poolings=0)
  x = inputs(24)
  y = x.copy()
  y[:, 9] += 1
  first, second = (run(one, params, v)[0] for v in (x, y))
  changed = np.abs(first - second).max((0, 2)) > 1e-6
  # Frame 9 is in the window from 8 to 11; 4 to 15 see it, and the last vector.
  wanted = np.zeros(25, bool)
  wanted[4:16] = wanted[24] = True
  np.testing.assert_array_equal(changed, wanted)


def test_through_the_whole_every_frame_is_known_in_two_layers(params):
  two = module(num_layers=2, num_poolings=0)
  x = inputs(48)
  y = x.copy()
  y[:, 0] += 1
  first, second = (run(two, params, v)[0] for v in (x, y))
  assert (np.abs(first - second).max((0, 2)) > 1e-7).all()


def test_one_window_of_all_frames_is_full_attention(params):
  x = inputs(20)
  wide = run(module(window_frames=20), params, x)[0]
  full = run(module(window_frames=None), params, x)[0]
  np.testing.assert_allclose(wide, full, atol=1e-5)


def test_frames_that_complete_a_window_do_not_count(params):
  # In the first layer 24 frames fill windows of 4 and 6, but not of 5.
  one = {'num_layers': 1, 'num_poolings': 0}
  x = inputs(24)
  full = run(module(**one, window_frames=24), params, x)[0]
  padded = run(module(**one, window_frames=25), params, x)[0]
  np.testing.assert_allclose(padded, full, atol=1e-5)


def test_a_patch_is_known_by_its_place(params):
  x = np.zeros((1, 4, 6, 5), np.float32)
  y = x.copy()
  x[:, 2, 1] = y[:, 2, 4] = 3.0
  first, second = (run(module(), params, v)[1] for v in (x, y))
  assert np.abs(first - second)[0, 2].max() > 1e-2


def test_patches_are_pooled_by_attention_with_a_key_and_a_value_of_each(params):
  own = jax.tree.map(np.float64, params['params']['patches'])
  x = inputs(3, rows=2)
  places = x @ own['kernel'] + own['places']
  key, value = (
    np.einsum('bfpm,mhd->bfphd', places, own[name]) for name in ('key', 'value')
  )
  scores = np.exp((key * own['query']).sum(-1))
  weights = scores / scores.sum(2, keepdims=True)
  summed = (weights[..., None] * value).sum(2)
  wanted = places.mean(2) + np.einsum('bfhd,hdm->bfm', summed, own['out'])
  pooling = dense_temporal._PatchPooling(SIZES)
  got = pooling.apply({'params': params['params']['patches']}, x)
  np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-5)


def test_positions_are_seconds(params):
  """A stream of half the rate sees twice the time between its frames."""
  slow = dataclasses.replace(STREAM, rate_hz=5.0)
  one = dataclasses.replace(SIZES, num_layers=1, num_poolings=0)
  x = inputs(8)
  fast = run(dense_temporal.DenseTemporal(one, STREAM), params, x)[0]
  late = run(dense_temporal.DenseTemporal(one, slow), params, x)[0]
  assert np.abs(fast - late).max() > 1e-3


def flops(frames, window):
  net = module(window_frames=window, num_poolings=0)
  shapes = jax.eval_shape(net.init, jax.random.key(0), inputs(frames))
  x = jax.ShapeDtypeStruct((1, frames, 6, 5), np.float32)
  lowered = jax.jit(lambda p, x: net.apply(p, x)[0]).lower(shapes, x)
  return lowered.cost_analysis()['flops']


def test_cost_is_linear_in_the_frames_where_full_attention_is_not():
  counts = (100, 400, 1600)
  windows = [flops(n, 8) for n in counts]
  full = [flops(n, None) for n in counts]
  for few, many in zip(windows, windows[1:], strict=False):
    assert many / few == pytest.approx(4, rel=0.05)
  assert full[2] / full[1] > 6
  assert full[2] > 5 * windows[2]


def test_rows_do_not_depend_on_each_other(params):
  x = inputs(20, rows=3)
  together = run(module(), params, x)[0]
  alone = run(module(), params, x[1:2])[0]
  np.testing.assert_allclose(together[1:2], alone, atol=1e-5)


def test_bfloat16_is_near_float32(params):
  x = inputs(20)
  exact = run(module(), params, x)[0]
  rounded = run(module(dtype='bfloat16'), params, x)[0]
  assert rounded.dtype == jnp.bfloat16
  np.testing.assert_allclose(np.asarray(rounded, np.float32), exact, atol=0.15)


def test_sizes_that_make_no_sense_are_refused():
  with pytest.raises(ValueError, match='num_poolings is 5; wanted 0 to'):
    dataclasses.replace(SIZES, num_poolings=5)
  with pytest.raises(ValueError, match='window_frames is 0'):
    dataclasses.replace(SIZES, window_frames=0)
