"""Tokens and what is made of them equal Hugging Face's Hiera on the same file."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors import numpy as st

from tests.fakes import tiny_networks
from tests.fakes import torch_vision
from v2meow_jax import media
from v2meow_jax import specs
from v2meow_jax.extractors import network_patches
from v2meow_jax.pretrained import tensors
from v2meow_jax.pretrained.vision import hiera
from v2meow_jax.pretrained.vision import vit

TINY = tiny_networks.HIERA
PATCHES = specs.FeatureSpec(
  name='patches', dim=64, rate_hz=10.0, num_positions=4
)
TOLERANCE = 1e-4  # Of float32, of features of about unit deviation.


def write(folder, config):
  st.save_file(torch_vision.hiera_state(config), folder / 'model.safetensors')
  return folder / 'model.safetensors'


@pytest.fixture(scope='module')
def file(tmp_path_factory):
  return write(tmp_path_factory.mktemp('hiera'), TINY)


def load(file, side=2, config=TINY):
  stream = dataclasses.replace(PATCHES, num_positions=side**2)
  return network_patches.load_hiera(
    stream, file, config=dataclasses.asdict(config), batch_size=3
  )


def pictures(config):
  shape = (3, config.image_size, config.image_size, 3)
  return np.random.default_rng(1).integers(0, 256, shape, np.uint8)


def hugging_face(file, config, images):
  """Tokens of the last stage, row by row, and what the classifier reads."""
  import torch
  import transformers

  transformers.HieraConfig(
    image_size=[config.image_size] * 2,
    embed_dim=config.first_dim,
    depths=list(config.layers),
    num_heads=[config.first_heads * 2**i for i in range(4)],
    num_labels=5,
  ).save_pretrained(file.parent)
  network, told = transformers.HieraForImageClassification.from_pretrained(
    file.parent, output_loading_info=True
  )
  # The names of the test are the published ones, all of them.
  assert not any(told[k] for k in ('missing_keys', 'unexpected_keys'))
  pixels = (images / np.float32(255) - vit.MEAN) / vit.STD
  with torch.no_grad():
    found = network.eval().hiera(
      torch.from_numpy(np.moveaxis(pixels, -1, 1)), output_hidden_states=True
    )
  return (
    found.reshaped_hidden_states[-1].numpy().reshape(3, -1, config.emb_dim),
    found.pooler_output.numpy(),
  )


@pytest.mark.torch
@pytest.mark.parametrize(
  'image_size, heads, layers',
  [(64, 1, (1, 2, 2, 2)), (96, 2, (2, 1, 3, 1))],
)
def test_tokens_and_what_a_classifier_reads_equal_hugging_faces(
  tmp_path, image_size, heads, layers
):
  config = dataclasses.replace(
    TINY, image_size=image_size, first_heads=heads, layers=layers
  )
  file, images = write(tmp_path, config), pictures(config)
  tokens, pooled = hugging_face(file, config, images)
  params = hiera.read(tensors.load(file), config)
  with jax.default_matmul_precision('float32'):
    got = hiera.Hiera(config).apply(
      {'params': params['network']}, vit.normalize(jnp.asarray(images))
    )
  assert tokens.std() > 0.1
  np.testing.assert_allclose(got, tokens, rtol=0, atol=TOLERANCE)
  # One cell: the norm of the mean of all.
  got = load(file, 1, config).outputs(images)[:, 0]
  assert pooled.std() > 0.1
  np.testing.assert_allclose(got, pooled, rtol=0, atol=TOLERANCE)


@pytest.mark.slow
def test_an_event_in_a_cell_comes_out_at_its_time_and_place(file):
  times = np.arange(50) / 25
  frames = np.full((50, 64, 64, 3), 90, np.uint8)
  frames[times >= 1.2, 32:, :32] = 250
  found = load(file)(media.Video(frames=frames, times=times, seconds=2.0))
  assert found.shape == (20, 4, 64)
  change = np.abs(np.diff(found, axis=0)).sum(-1)
  # Between the middles of frames 11 and 12, in the second row, first column.
  assert np.unravel_index(change.argmax(), change.shape) == (11, 2)


@pytest.mark.slow
@pytest.mark.parametrize(
  'config, millions', [(hiera.BASE, 50.8), (hiera.LARGE, 212.4)]
)
def test_sizes_are_the_published_ones(config, millions):
  shapes = jax.eval_shape(
    hiera.Hiera(config).init, jax.random.key(0), jnp.zeros((1, 224, 224, 3))
  )
  got = sum(x.size for x in jax.tree.leaves(shapes)) + 2 * config.emb_dim
  # 51.52 and 213.74 million by facebookresearch/hiera, less the classifier's.
  assert got / 1e6 == pytest.approx(millions, rel=0.005)


@pytest.mark.slow
def test_both_sizes_are_told_from_their_files(tmp_path):
  for config, other in ((hiera.BASE, 1152), (hiera.LARGE, 768)):
    path = tmp_path / 'model.safetensors'
    vectors = {
      k: x for k, x in torch_vision.hiera_state(config).items() if x.ndim == 1
    }
    st.save_file(vectors, path)
    stream = dataclasses.replace(PATCHES, dim=other)
    told = f'weights are of {config.artefact}, which gives {config.emb_dim}:'
    with pytest.raises(ValueError, match=told):
      network_patches.load_hiera(stream, path)


@pytest.mark.parametrize(
  'change, told',
  [
    ({'image_size': 100}, '32 must divide image_size'),
    ({'first_heads': 3}, 'first_heads first_dim'),
    ({'layers': (1, 2, 3)}, 'layers must be of four stages'),
  ],
)
def test_sizes_that_are_none_are_refused(change, told):
  with pytest.raises(ValueError, match=told):
    dataclasses.replace(TINY, **change)
