"""Codes equal those of MaskGIT's tokenizer, written again in torch."""

from flax import serialization
from flax import traverse_util
import jax
import numpy as np
import pytest

from tests.fakes import nearest_codes
from tests.fakes import tiny_networks
from tests.fakes import torch_runner
from tests.fakes import torch_vision
from v2meow_jax.pretrained import tensors
from v2meow_jax.pretrained.vision import vqgan

TINY = tiny_networks.VQGAN


def nested(state):
  return traverse_util.unflatten_dict(state, sep='/')


def torch_codes(state, c, images):
  return torch_runner.prepared(torch_vision.vqgan, state, c)(images)


def pictures(c, count=2):
  """Patches of one colour each, which differ more than noise does."""
  rng = np.random.default_rng(3)
  colors = rng.uniform(0, 1, (count, 16, 16, 3))
  size = c.image_size // 16
  return colors.repeat(size, 1).repeat(size, 2).astype(np.float32)


def codes(c, params, images):
  apply = jax.jit(vqgan.Vqgan(c).apply)
  return np.asarray(apply({'params': params}, images))


def codes_and_vectors(c, params, images):
  """Of one picture: codes, and what their quantisation is given."""

  @jax.jit
  def apply(params, images):
    return vqgan.Vqgan(c).apply(
      {'params': params},
      images,
      capture_intermediates=lambda module, _: module.name == 'encoder',
      mutable=['intermediates'],
    )

  (found,), kept = apply(params, images)
  ((vectors,),) = kept['intermediates']['encoder']['__call__']
  return np.asarray(found), np.asarray(vectors).reshape(len(found), -1)


@pytest.mark.torch
def test_codes_are_those_of_torch_from_the_file(tmp_path):
  state = torch_vision.vqgan_state(TINY)
  path = tmp_path / 'tokenizer_imagenet256_checkpoint'
  path.write_bytes(serialization.to_bytes(nested(state)))
  images = pictures(TINY, 8)
  found = codes(TINY, vqgan.read(tensors.load(path), TINY), images)
  wanted = torch_codes(state, TINY, images)
  assert len(np.unique(wanted)) > 10
  np.testing.assert_array_equal(found, wanted)


@pytest.mark.slow
@pytest.mark.torch
def test_the_published_size_is_that_of_torch_through_the_file(tmp_path):
  c = vqgan.VqganConfig()
  assert c.num_tokens == 256
  state = torch_vision.vqgan_state(c)
  path = tmp_path / 'tokenizer_imagenet256_checkpoint'
  path.write_bytes(serialization.to_bytes(nested(state)))
  params = vqgan.read(tensors.load(path), c)
  images = pictures(c, 1)
  found, vectors = codes_and_vectors(c, params, images)
  # In float32 torch itself is 2e-4 from this.
  doubles = {name: x.astype(np.float64) for name, x in state.items()}
  forward = torch_runner.prepared(torch_vision.vqgan_vectors, doubles, c)
  (wanted,) = forward(images.astype(np.float64))
  assert wanted.std() > 0.1
  np.testing.assert_allclose(vectors, wanted, rtol=0, atol=1e-4)
  codebook = doubles['params/quantizer/codebook']
  theirs = ((codebook**2).sum(-1) - 2 * wanted @ codebook.T).argmin(-1)
  assert len(np.unique(theirs)) > 20
  distance = np.linalg.norm(vectors - wanted, axis=-1)
  nearest_codes.check_ties(found, theirs, wanted, codebook, distance)


def test_wrong_weights_are_named():
  state = torch_vision.vqgan_state(TINY)
  del state['params/encoder/ResBlock_1/Conv_2/kernel']
  name = "no 'params/encoder/ResBlock_1/Conv_2/kernel'"
  with pytest.raises(ValueError, match=name):
    vqgan.read(state, TINY)
