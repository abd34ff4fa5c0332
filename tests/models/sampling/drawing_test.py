"""Draws of one code: temperature, the likeliest codes, no long runs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from v2meow_jax.models.sampling import autoregressive
from v2meow_jax.models.sampling import drawing
from v2meow_jax.models.sampling import options

pytestmark = pytest.mark.slow

PROBABILITIES = np.array([0.05, 0.4, 0.25, 0.3])


def draw_many(sampling, probabilities=PROBABILITIES, num=20_000):
  logits = jnp.tile(jnp.log(probabilities), (num, 1))
  rngs = jax.random.split(jax.random.key(0), num)
  codes = autoregressive.draw(logits, rngs, jnp.int32(3), sampling)
  return np.bincount(codes, minlength=len(probabilities)) / num


@pytest.mark.parametrize(
  ('top_p', 'kept'),
  [(0.1, [1]), (0.4, [1]), (0.5, [1, 3]), (0.72, [1, 2, 3]), (1.0, range(4))],
)
def test_top_p_draws_among_the_fewest_codes_that_weigh_it(top_p, kept):
  wanted = np.zeros(4)
  wanted[list(kept)] = PROBABILITIES[list(kept)]
  seen = draw_many(options.Sampling(top_p=top_p))
  np.testing.assert_allclose(seen, wanted / wanted.sum(), atol=0.015)


def test_top_p_weighs_the_tempered_probabilities():
  # At temperature 1/2 they are 0.007, 0.51, 0.2 and 0.29.
  seen = draw_many(options.Sampling(temperature=0.5, top_p=0.5))
  np.testing.assert_array_equal(seen, [0, 1, 0, 0])


def test_top_p_at_temperature_zero_is_the_argmax():
  seen = draw_many(options.Sampling(temperature=0.0, top_p=0.9), num=10)
  np.testing.assert_array_equal(seen, [0, 1, 0, 0])


def test_runs_are_counted_by_level_as_python_counts_them():
  frames = np.array([[[3, 1], [3, 2], [5, 2], [5, 2]], [[1, 1]] * 4])
  runs = drawing.runs(jnp.asarray(frames, jnp.int32))
  np.testing.assert_array_equal(runs.codes, [[5, 2], [1, 1]])
  np.testing.assert_array_equal(runs.lengths, [[2, 3], [4, 4]])
  runs = runs.add(jnp.int32(1), jnp.array([2, 7]))
  np.testing.assert_array_equal(runs.codes, [[5, 2], [1, 7]])
  np.testing.assert_array_equal(runs.lengths, [[2, 4], [4, 1]])


def test_a_code_that_stood_long_enough_is_not_drawn_again():
  runs = drawing.runs(jnp.array([[[2], [2]], [[2], [1]]], jnp.int32))
  logits = jnp.array([[0.0, 1.0, 9.0]] * 2)
  left = drawing.without_long_runs(logits, runs, jnp.int32(0), 2)
  np.testing.assert_array_equal(left.argmax(-1), [1, 2])
  np.testing.assert_array_equal(
    drawing.without_long_runs(logits, runs, jnp.int32(0), 3), logits
  )
