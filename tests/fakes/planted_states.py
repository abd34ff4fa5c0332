"""States whose every value is known from their step."""

import jax
import numpy as np

from v2meow_jax.training import train_state

SIZE = 48


def state(step, size=SIZE, put=jax.device_put):
  """A state like that of a small model; `put` places each array."""
  rng = np.random.default_rng(step)

  def array(*shape):
    return put(rng.normal(size=shape).astype(np.float32))

  return train_state.TrainState(
    step=put(np.asarray(step, np.int32)),
    params={'dense': {'kernel': array(size, size)}, 'bias': array(size)},
    extras={'ema': {'count': array()}},
    opt_state=({'mu': {'kernel': array(size, size)}}, ()),
  )


def assert_is_that_of_step(restored, step, **kwargs):
  """Every leaf is what `state` says it was, bit for bit."""
  wanted = state(step, **kwargs)
  assert jax.tree.structure(restored) == jax.tree.structure(wanted)
  for a, b in zip(
    jax.tree.leaves(restored), jax.tree.leaves(wanted), strict=True
  ):
    assert a.dtype == b.dtype
    np.testing.assert_array_equal(a, b)
