"""Patches equal those of Hugging Face's DINOv2 on the same file."""

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
from v2meow_jax.pretrained.vision import dinov2
from v2meow_jax.pretrained.vision import patch_grid
from v2meow_jax.pretrained.vision import vit

TINY = tiny_networks.DINOV2
PATCHES = specs.FeatureSpec(
  name='patches', dim=16, rate_hz=10.0, num_positions=16
)
TOLERANCE = 1e-4  # Of float32, of features of about unit deviation.


@pytest.fixture(scope='module')
def file(tmp_path_factory):
  path = tmp_path_factory.mktemp('dinov2') / 'model.safetensors'
  st.save_file(torch_vision.dinov2_state(TINY), path)
  return path


def load(file, side=4, config=TINY, token=0):
  stream = dataclasses.replace(PATCHES, num_positions=side**2 + token)
  return network_patches.load_dinov2(
    stream, file, config=dataclasses.asdict(config), batch_size=3
  )


@pytest.mark.torch
@pytest.mark.parametrize('image_size', [28, 49, 56])
@pytest.mark.parametrize('side, token', [(1, 0), (2, 0), (2, 1)])
def test_patches_equal_hugging_face_at_any_size(file, image_size, side, token):
  import torch
  import transformers

  config = dataclasses.replace(TINY, image_size=image_size)
  if config.side % side:
    config = dataclasses.replace(config, image_size=7 * 8)
  extractor = load(file, side, config, token)
  size = config.image_size
  images = np.random.default_rng(1).integers(
    0, 256, (3, size, size, 3), np.uint8
  )
  transformers.Dinov2Config(
    hidden_size=config.emb_dim,
    num_hidden_layers=config.num_layers,
    num_attention_heads=config.num_heads,
    image_size=config.trained_size,
    patch_size=config.patch_size,
  ).save_pretrained(file.parent)
  network, told = transformers.Dinov2Model.from_pretrained(
    file.parent, output_loading_info=True
  )
  # The names of the test are the published ones, all of them.
  assert not any(told[k] for k in ('missing_keys', 'unexpected_keys'))
  pixels = (images / np.float32(255) - vit.MEAN) / vit.STD
  with torch.no_grad():
    states = network.eval()(
      torch.from_numpy(np.moveaxis(pixels, -1, 1))
    ).last_hidden_state.numpy()
  step = config.side // side
  grid = states[:, 1:].reshape(3, side, step, side, step, -1)
  cells = grid.mean((2, 4)).reshape(3, side**2, -1)
  wanted = np.concatenate([states[:, :token], cells], 1)
  assert wanted.std() > 0.1
  np.testing.assert_allclose(
    extractor.outputs(images), wanted, rtol=0, atol=TOLERANCE
  )


@pytest.mark.torch
@pytest.mark.parametrize('source, target', [(37, 16), (7, 4), (4, 7), (5, 5)])
def test_places_are_read_between_as_torch_does(source, target):
  import torch

  places = np.random.default_rng(0).normal(size=(source**2, 3))
  places = places.astype(np.float32)
  grid = torch.from_numpy(places.reshape(1, source, source, 3))
  wanted = torch.nn.functional.interpolate(
    grid.permute(0, 3, 1, 2), (target, target), mode='bicubic'
  )
  np.testing.assert_allclose(
    patch_grid.resized(places, target),
    wanted.permute(0, 2, 3, 1).reshape(-1, 3).numpy(),
    atol=1e-5,
  )


@pytest.mark.parametrize('across, side', [(7, 4), (7, 7), (5, 2), (16, 4)])
def test_cells_are_means_by_area(across, side):
  patches = np.random.default_rng(0).normal(size=(2, across**2, 3))
  grid = patches.reshape(2, across, across, 3)
  # So fine that every cell is of whole pieces.
  fine = grid.repeat(side, 1).repeat(side, 2)
  fine = fine.reshape(2, side, across, side, across, 3).mean((2, 4))
  np.testing.assert_allclose(
    patch_grid.cell_means(jnp.asarray(patches), side),
    fine.reshape(2, side**2, 3),
    atol=1e-6,
  )


def test_an_event_in_a_patch_comes_out_at_its_time_and_place(file):
  times = np.arange(50) / 25
  frames = np.full((50, 28, 28, 3), 90, np.uint8)
  frames[times >= 1.2, 14:21, 7:14] = 250
  found = load(file)(media.Video(frames=frames, times=times, seconds=2.0))
  assert found.shape == (20, 16, 16)
  change = np.abs(np.diff(found, axis=0)).sum(-1)
  # Between the middles of frames 11 and 12, in the third row and second column.
  assert np.unravel_index(change.argmax(), change.shape) == (11, 9)


@pytest.mark.parametrize(
  'config, num_layers, dim', [(dinov2.BASE, 12, 768), (dinov2.LARGE, 24, 1024)]
)
def test_sizes_are_the_published_ones(config, num_layers, dim):
  shapes = jax.eval_shape(
    dinov2.Dinov2(config).init, jax.random.key(0), jnp.zeros((1, 224, 224, 3))
  )
  layer = 12 * dim**2 + (4 + 4 + 1 + 4) * dim + 2 * dim
  # Class, patches with their bias, places of 16 x 16 for 37 x 37, last norm.
  ends = (1 + 3 * 14**2 + 1 + 257 + 2) * dim
  got = sum(x.size for x in jax.tree.leaves(shapes))
  assert got == num_layers * layer + ends
  # 86 and 304 million, as the model cards say.
  assert got / 1e6 == pytest.approx({768: 86, 1024: 304}[dim], rel=0.02)


def test_weights_of_another_kind_are_told_what_they_lack(file):
  stream = dataclasses.replace(PATCHES, dim=17)
  with pytest.raises(ValueError, match='7, 7.; .*wanted .*dinov2-base'):
    network_patches.load_dinov2(stream, file)


def test_a_size_that_the_stream_is_not_of_is_named_with_the_binding(tmp_path):
  path = tmp_path / 'model.safetensors'
  st.save_file({'layernorm.weight': np.ones(768, np.float32)}, path)
  stream = dataclasses.replace(PATCHES, dim=1024)
  told = r'dim 1024, .* of dinov2-base, .*768: .*dinov2-large.*patch_dim=768'
  with pytest.raises(ValueError, match=told):
    network_patches.load_dinov2(stream, path)
