"""Codes equal those of the published network, written again in torch."""

import jax
import numpy as np
import pytest
from safetensors import numpy as safetensors_numpy

from benchmarks import torch_networks
from v2meow_jax.features import vit_vqgan
from v2meow_jax.weights import tensors

TINY = vit_vqgan.VitVqganConfig(
  image_size=32,
  patch_size=8,
  emb_dim=24,
  num_layers=2,
  num_heads=3,
  head_dim=8,
  mlp_dim=40,
  code_dim=6,
  codebook_size=50,
)


def torch_codes(state, c, images):
  return torch_networks.prepared(torch_networks.vit_vqgan, state, c)(images)


def pictures(c, count=2):
  """Patches of one colour each, which differ more than noise does."""
  rng = np.random.default_rng(3)
  colors = rng.uniform(0, 1, (count, 16, 16, 3))
  size = c.image_size // 16
  return colors.repeat(size, 1).repeat(size, 2).astype(np.float32)


def codes(c, params, images):
  apply = jax.jit(vit_vqgan.VitVqgan(c).apply)
  return np.asarray(apply({'params': params}, images))


@pytest.mark.torch
def test_codes_are_those_of_torch_from_its_file(tmp_path):
  state = torch_networks.vit_vqgan_state(TINY)
  safetensors_numpy.save_file(state, tmp_path / 'vit.safetensors')
  params = vit_vqgan.read(tensors.load(tmp_path / 'vit.safetensors'), TINY)
  images = pictures(TINY, 8)
  found = codes(TINY, params, images)
  wanted = torch_codes(state, TINY, images)
  assert len(np.unique(wanted)) > 10
  np.testing.assert_array_equal(found, wanted)


@pytest.mark.slow
@pytest.mark.torch
def test_the_published_size_is_that_of_torch():
  c = vit_vqgan.VitVqganConfig()
  assert c.num_tokens == 1024
  state = torch_networks.vit_vqgan_state(c)
  images = pictures(c, 1)
  found = codes(c, vit_vqgan.read(state, c), images)
  wanted = torch_codes(state, c, images)
  assert len(np.unique(wanted)) > 100
  # Of 8,192 random codes two can be equally near, up to rounding.
  assert (found == wanted).mean() > 0.995


def test_the_parameters_are_those_of_the_network():
  shapes = jax.eval_shape(
    vit_vqgan.VitVqgan(TINY).init, jax.random.key(0), pictures(TINY)
  )
  params = vit_vqgan.read(torch_networks.vit_vqgan_state(TINY), TINY)
  wanted = jax.tree.map(lambda s: s.shape, shapes['params'])
  assert jax.tree.map(np.shape, params) == wanted


def test_wrong_weights_are_named():
  state = torch_networks.vit_vqgan_state(TINY)
  del state['encoder.transformer.layers.1.0.fn.to_out.bias']
  with pytest.raises(ValueError, match="no 'encoder.transformer.layers.1.0.fn"):
    vit_vqgan.read(state, TINY)
  state = torch_networks.vit_vqgan_state(TINY)
  state['quantizer.embedding.weight'] = np.zeros((3, 6))
  with pytest.raises(ValueError, match=r'\(3, 6\); wanted floats .*\(50, 6\)'):
    vit_vqgan.read(state, TINY)
