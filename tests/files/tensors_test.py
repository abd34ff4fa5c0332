"""A tree of arrays comes back from its file as it was written."""

import numpy as np

from v2meow_jax.files import tensors

TREE = {
  'a': {'w': np.linspace(0, 1, 6, dtype=np.float32).reshape(2, 3)},
  'scale': np.float32(2.5),
}


def test_a_tree_comes_back_as_written(tmp_path):
  tensors.write(tmp_path / 'm.safetensors', TREE)
  tree = tensors.read(tmp_path / 'm.safetensors')
  np.testing.assert_array_equal(tree['a']['w'], TREE['a']['w'])
  assert tree['scale'].shape == ()
  assert tree['scale'] == TREE['scale']


def test_half_precision_comes_back_as_float32_within_its_rounding(tmp_path):
  tensors.write(tmp_path / 'm.safetensors', TREE, 'float16')
  w = tensors.read(tmp_path / 'm.safetensors')['a']['w']
  assert w.dtype == np.float32
  np.testing.assert_allclose(w, TREE['a']['w'], rtol=2**-10)
