"""Codes equal those of the published network, written again in torch."""

import dataclasses

import jax
import numpy as np
import pytest
from safetensors import numpy as safetensors_numpy

from tests.fakes import nearest_codes
from tests.fakes import tiny_networks
from tests.fakes import torch_runner
from tests.fakes import torch_vision
from v2meow_jax.pretrained import tensors
from v2meow_jax.pretrained.vision import vit_vqgan

TINY = tiny_networks.VIT_VQGAN


def torch_codes(state, c, images):
  return torch_runner.prepared(torch_vision.vit_vqgan, state, c)(images)


def torch_vectors(state, c, images):
  forward = torch_vision.vit_vqgan_vectors
  return torch_runner.prepared(forward, state, c)(images)


def unit(x):
  return x / np.linalg.norm(x, axis=-1, keepdims=True)


def pictures(c, count=2):
  """Patches of one colour each, which differ more than noise does."""
  rng = np.random.default_rng(3)
  colors = rng.uniform(0, 1, (count, 16, 16, 3))
  size = c.image_size // 16
  return colors.repeat(size, 1).repeat(size, 2).astype(np.float32)


def codes(c, params, images):
  apply = jax.jit(vit_vqgan.VitVqgan(c).apply)
  return np.asarray(apply({'params': params}, images))


def codes_and_vectors(c, params, images):
  """Codes, and what their quantisation is given."""

  @jax.jit
  def apply(params, images):
    return vit_vqgan.VitVqgan(c).apply(
      {'params': params},
      images,
      capture_intermediates=lambda module, _: module.name == 'pre_quant',
      mutable=['intermediates'],
    )

  found, kept = apply(params, images)
  (vectors,) = kept['intermediates']['pre_quant']['__call__']
  return np.asarray(found), np.asarray(vectors)


@pytest.mark.torch
def test_codes_are_those_of_torch_from_its_file(tmp_path):
  state = torch_vision.vit_vqgan_state(TINY)
  safetensors_numpy.save_file(state, tmp_path / 'vit.safetensors')
  params = vit_vqgan.read(tensors.load(tmp_path / 'vit.safetensors'), TINY)
  images = pictures(TINY, 8)
  found = codes(TINY, params, images)
  wanted = torch_codes(state, TINY, images)
  assert len(np.unique(wanted)) > 10
  np.testing.assert_array_equal(found, wanted)


def test_a_smaller_picture_has_the_places_of_the_first_corner():
  state = torch_vision.vit_vqgan_state(TINY)
  side = TINY.side // 2
  small = dataclasses.replace(
    TINY, image_size=TINY.image_size // 2, trained_size=TINY.image_size
  )
  params = vit_vqgan.read(state, small)
  places = state['encoder.en_pos_embedding'][0]
  corner = [places[y * TINY.side + x] for y in range(side) for x in range(side)]
  np.testing.assert_array_equal(params['positions'], corner)
  assert codes(small, params, pictures(small)).shape[1] == side**2
  with pytest.raises(ValueError, match='no larger than those of the training'):
    dataclasses.replace(small, trained_size=TINY.image_size // 4)


@pytest.mark.slow
@pytest.mark.torch
def test_the_published_size_is_that_of_torch_through_its_file(tmp_path):
  c = vit_vqgan.VitVqganConfig()
  assert c.num_tokens == 1024
  state = torch_vision.vit_vqgan_state(c)
  path = tmp_path / 'imagenet_vitvq_base.safetensors'
  safetensors_numpy.save_file(state, path)
  params = vit_vqgan.read(tensors.load(path), c)
  path.unlink()  # 340 MB, which pytest would keep.
  images = pictures(c, 1)
  found, vectors = codes_and_vectors(c, params, images)
  wanted = torch_vectors(state, c, images)
  assert wanted.std() > 0.2
  np.testing.assert_allclose(vectors, wanted, rtol=0, atol=1e-4)
  theirs = torch_codes(state, c, images)
  assert len(np.unique(theirs)) > 100
  vectors, wanted = unit(vectors[0]), unit(wanted[0])
  nearest_codes.check_ties(
    found[0],
    theirs[0],
    wanted,
    unit(state['quantizer.embedding.weight']),
    np.linalg.norm(vectors - wanted, axis=-1),
  )


def test_the_parameters_are_those_of_the_network():
  shapes = jax.eval_shape(
    vit_vqgan.VitVqgan(TINY).init, jax.random.key(0), pictures(TINY)
  )
  params = vit_vqgan.read(torch_vision.vit_vqgan_state(TINY), TINY)
  wanted = jax.tree.map(lambda s: s.shape, shapes['params'])
  assert jax.tree.map(np.shape, params) == wanted


def test_wrong_weights_are_named():
  state = torch_vision.vit_vqgan_state(TINY)
  del state['encoder.transformer.layers.1.0.fn.to_out.bias']
  with pytest.raises(ValueError, match="no 'encoder.transformer.layers.1.0.fn"):
    vit_vqgan.read(state, TINY)
  state = torch_vision.vit_vqgan_state(TINY)
  state['quantizer.embedding.weight'] = np.zeros((3, 6))
  with pytest.raises(ValueError, match=r'\(3, 6\); wanted floats .*\(50, 6\)'):
    vit_vqgan.read(state, TINY)
