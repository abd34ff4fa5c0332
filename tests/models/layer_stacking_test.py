"""Layers apart and stacked are the same layers in the same order."""

import jax
import numpy as np

from v2meow_jax.models.blocks import layer_stacking


def params_of(num_layers):
  """Norms and biases lie beside the layers, and are none of them."""
  layers = {
    f'{stack}_{i}': {'mlp': {'wo': np.full((2, 3), i)}, 'scale': np.full(4, i)}
    for stack in ('encoder', 'decoder')
    for i in range(num_layers)
  }
  return layers | {'decoder_bias': np.zeros(5), 'encoder_norm': np.ones(6)}


def test_layers_are_stacked_by_number_and_not_by_name():
  stacked = layer_stacking.stack(params_of(12))
  assert sorted(stacked) == [
    'decoder',
    'decoder_bias',
    'encoder',
    'encoder_norm',
  ]
  # 'encoder_10' sorts before 'encoder_2'.
  np.testing.assert_array_equal(stacked['encoder']['scale'][:, 0], range(12))


def test_taking_apart_undoes_stacking():
  params = params_of(3)
  again = layer_stacking.unstack(layer_stacking.stack(params))
  jax.tree.map(np.testing.assert_array_equal, again, params)


def test_what_is_done_already_stays():
  params = params_of(2)
  jax.tree.map(
    np.testing.assert_array_equal, layer_stacking.unstack(params), params
  )
  stacked = layer_stacking.stack(params)
  jax.tree.map(
    np.testing.assert_array_equal, layer_stacking.stack(stacked), stacked
  )
