"""Runs that start from random numbers instead of compiling what draws them.

A recipe whose first parameters nobody looks at is traced as ever; only the
program that would draw them, most of the time of a short run, is left out.
"""

from collections.abc import Iterator
import contextlib

import jax
import numpy as np
import pytest

from v2meow_jax.training import loop


@contextlib.contextmanager
def drawn_by_numpy() -> Iterator[None]:
  """New runs start from small random parameters; what else is there is zero."""
  initial_state = loop._initial_state

  def drawn(planned, example, order, checkpoints):
    if checkpoints.latest_step() is not None:
      return initial_state(planned, example, order, checkpoints)
    rng = np.random.default_rng(order['seed'])

    def small(x):
      return (0.1 * rng.standard_normal(x.shape)).astype(x.dtype)

    zeros = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), planned.shapes)
    params = jax.tree.map(small, planned.shapes.params)
    return jax.device_put(zeros.replace(params=params), planned.shardings)

  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(loop, '_initial_state', drawn)
    yield
