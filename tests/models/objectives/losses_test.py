"""Losses against closed forms."""

import jax.numpy as jnp
import numpy as np
import pytest

from v2meow_jax.models.objectives import losses


def test_uniform_logits_cost_log_n():
  loss, z = losses.cross_entropy(jnp.zeros((2, 5, 128)), jnp.ones((2, 5), int))
  np.testing.assert_allclose(loss, np.log(128), rtol=1e-6)
  np.testing.assert_allclose(z, np.log(128) ** 2, rtol=1e-6)


def test_loss_of_two_classes_is_the_softplus_of_the_margin():
  logits = jnp.array([[3.0, 1.0], [-1.0, 1.5]])
  loss, _ = losses.cross_entropy(logits, jnp.array([1, 1]))
  np.testing.assert_allclose(loss, np.log1p(np.exp([2.0, -2.5])), rtol=1e-5)


def test_only_weighted_values_count():
  values, weights = jnp.array([1.0, 3.0, 100.0]), jnp.array([1.0, 1.0, 0.0])
  assert losses.weighted_mean(values, weights) == pytest.approx(2.0)
  assert losses.weighted_mean(values, jnp.zeros(3)) == 0
