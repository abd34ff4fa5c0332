"""Whatever differs in a file of a network is named, with where to get it.

Of the networks that `tensors.Tensors` reads; those with readers of their own
have such tests beside theirs.
"""

import numpy as np
import pytest
from safetensors import numpy as safetensors_numpy

from tests.fakes import tiny_networks
from tests.fakes import torch_audio
from tests.fakes import torch_vision
from v2meow_jax.pretrained import ledger
from v2meow_jax.pretrained import tensors
from v2meow_jax.pretrained.audio import panns
from v2meow_jax.pretrained.audio import vggish
from v2meow_jax.pretrained.vision import dinov2
from v2meow_jax.pretrained.vision import hiera
from v2meow_jax.pretrained.vision import i3d_weights
from v2meow_jax.pretrained.vision import videomae
from v2meow_jax.pretrained.vision import vit_vqgan
from v2meow_jax.pretrained.vision import vqgan


def of_state(read, config):
  return lambda file: read(tensors.load(file), config)


# By name in the ledger: a state, a loader of its file, a key and its shape.
LOADERS = {
  'i3d-flow': (
    lambda: torch_vision.i3d_state(tiny_networks.I3D),
    of_state(i3d_weights.read, tiny_networks.I3D),
    'Mixed_4c.b1b.conv3d.weight',
    (4, 3, 3, 3, 3),
  ),
  'dinov2-base': (
    lambda: torch_vision.dinov2_state(tiny_networks.DINOV2),
    of_state(dinov2.read, tiny_networks.DINOV2),
    'encoder.layer.1.mlp.fc1.weight',
    (64, 16),
  ),
  'hiera-base': (
    lambda: torch_vision.hiera_state(tiny_networks.HIERA),
    of_state(hiera.read, tiny_networks.HIERA),
    'hiera.encoder.stages.1.layers.0.attn.qkv.weight',
    (48, 8),
  ),
  'videomae2-base': (
    lambda: torch_vision.videomae_state(tiny_networks.VIDEOMAE),
    of_state(videomae.read, tiny_networks.VIDEOMAE),
    'model.blocks.1.attn.qkv.weight',
    (48, 16),
  ),
  'vit-vqgan-base': (
    lambda: torch_vision.vit_vqgan_state(tiny_networks.VIT_VQGAN),
    of_state(vit_vqgan.read, tiny_networks.VIT_VQGAN),
    'encoder.transformer.layers.1.1.fn.net.0.weight',
    (40, 24),
  ),
  'maskgit-vqgan': (
    lambda: torch_vision.vqgan_state(tiny_networks.VQGAN),
    of_state(vqgan.read, tiny_networks.VQGAN),
    'params/encoder/ResBlock_1/Conv_2/kernel',
    (1, 1, 16, 16),
  ),
  'vggish': (
    lambda: torch_audio.vggish_state(tiny_networks.VGGISH),
    lambda file: vggish.load('vggish', file, tiny_networks.VGGISH),
    'features.8.weight',
    (5, 4, 3, 3),
  ),
  'panns-cnn14-16khz': (
    lambda: torch_audio.panns_state(tiny_networks.PANNS),
    lambda file: panns.load('panns-softmax', file, tiny_networks.PANNS),
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
  state = torch_audio.vggish_state(
    tiny_networks.VGGISH
  ) | torch_audio.vggish_whitening(8)
  state['pca_means'] = np.zeros(7, np.float32)
  safetensors_numpy.save_file(state, file)
  with pytest.raises(ValueError, match=r'\(7,\); wanted .*\(8,\)') as caught:
    vggish.load('vggish-pca', file, tiny_networks.VGGISH)
  assert str(file) in str(caught.value)
  assert ledger.find('vggish-pca').page in str(caught.value)
