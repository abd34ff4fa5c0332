"""Whatever differs in a file of a network is named, with where to get it.

Of the networks that `tensors.Tensors` reads; those with readers of their own
have such tests beside theirs.
"""

import numpy as np
import pytest
from safetensors import numpy as safetensors_numpy

from benchmarks import torch_listeners
from benchmarks import torch_networks
from tests.pretrained.audio import panns_test
from tests.pretrained.audio import vggish_test
from tests.pretrained.vision import i3d_test
from tests.pretrained.vision import vit_vqgan_test
from tests.pretrained.vision import vqgan_test
from v2meow_jax.pretrained import ledger
from v2meow_jax.pretrained import tensors
from v2meow_jax.pretrained.audio import panns
from v2meow_jax.pretrained.audio import vggish
from v2meow_jax.pretrained.vision import i3d_weights
from v2meow_jax.pretrained.vision import vit_vqgan
from v2meow_jax.pretrained.vision import vqgan


def of_state(read, config):
  return lambda file: read(tensors.load(file), config)


# By name in the ledger: a state, a loader of its file, a key and its shape.
LOADERS = {
  'i3d-flow': (
    lambda: torch_networks.i3d_state(i3d_test.TINY),
    of_state(i3d_weights.read, i3d_test.TINY),
    'Mixed_4c.b1b.conv3d.weight',
    (4, 3, 3, 3, 3),
  ),
  'vit-vqgan-base': (
    lambda: torch_networks.vit_vqgan_state(vit_vqgan_test.TINY),
    of_state(vit_vqgan.read, vit_vqgan_test.TINY),
    'encoder.transformer.layers.1.1.fn.net.0.weight',
    (40, 24),
  ),
  'maskgit-vqgan': (
    lambda: torch_networks.vqgan_state(vqgan_test.TINY),
    of_state(vqgan.read, vqgan_test.TINY),
    'params/encoder/ResBlock_1/Conv_2/kernel',
    (1, 1, 16, 16),
  ),
  'vggish': (
    lambda: torch_listeners.vggish_state(vggish_test.TINY),
    lambda file: vggish.load('vggish', file, vggish_test.TINY),
    'features.8.weight',
    (5, 4, 3, 3),
  ),
  'panns-cnn14-16khz': (
    lambda: torch_listeners.panns_state(panns_test.TINY),
    lambda file: panns.load('panns-softmax', file, panns_test.TINY),
    'conv_block3.conv1.weight',
    (5, 4, 3, 3),
  ),
}


@pytest.mark.parametrize('name', LOADERS)
def test_what_differs_is_named_with_what_was_wanted(name, tmp_path):
  make, load, key, shape = LOADERS[name]
  state, file = make(), tmp_path / 'weights.safetensors'
  safetensors_numpy.save_file(state, file)
  load(file)
  for value, got in (
    (None, 'no'),
    (np.zeros((3, 2), np.float32), f'{key!r} as float32 of shape (3, 2);'),
    (state[key].astype(np.int32), f'{key!r} as int32 of shape {shape};'),
  ):
    changed = {k: v for k, v in state.items() if k != key}
    changed |= {} if value is None else {key: value}
    safetensors_numpy.save_file(changed, file)
    with pytest.raises(ValueError) as caught:
      load(file)
    said = str(caught.value)
    assert said.startswith(f'{file} has {got}') and repr(key) in said
    assert f'wanted floats of shape {shape}' in said
    assert f'v2meow weights fetch {name}' in said
    assert ledger.find(name).page in said


def test_whitening_that_differs_is_named_with_its_file(tmp_path):
  file = tmp_path / 'whitened.safetensors'
  state = torch_listeners.vggish_state(
    vggish_test.TINY
  ) | vggish_test.whitening(8)
  state['pca_means'] = np.zeros(7, np.float32)
  safetensors_numpy.save_file(state, file)
  with pytest.raises(ValueError, match=r'\(7,\); wanted .*\(8,\)') as caught:
    vggish.load('vggish-pca', file, vggish_test.TINY)
  assert str(file) in str(caught.value)
  assert ledger.find('vggish-pca').page in str(caught.value)
