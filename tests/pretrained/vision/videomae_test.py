"""Patches of two frames equal those of Hugging Face's VideoMAE, renamed.

That is the first version's network, which the second one's is, with a norm of
means as its classifier has.
"""

import dataclasses
import re

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
from v2meow_jax.pretrained.vision import videomae
from v2meow_jax.pretrained.vision import vit

TINY = tiny_networks.VIDEOMAE
PATCHES = specs.FeatureSpec(
  name='patches', dim=16, rate_hz=10.0, num_positions=16
)
TOLERANCE = 1e-4  # Of float32, of features of about unit deviation.
# Names of Hugging Face, for those that OpenGVLab publishes.
RENAMED = {
  r'patch_embed\.proj': 'embeddings.patch_embeddings.projection',
  r'blocks\.(\d+)': r'encoder.layer.\1',
  'attn.proj': 'attention.output.dense',
  'norm1': 'layernorm_before',
  'norm2': 'layernorm_after',
  'mlp.fc1': 'intermediate.dense',
  'mlp.fc2': 'output.dense',
  r'attn\.([qv])_bias': r'attention.attention.\1.bias',
  'attention.q.bias': 'attention.query.bias',
  'attention.v.bias': 'attention.value.bias',
}


@pytest.fixture(scope='module')
def file(tmp_path_factory):
  path = tmp_path_factory.mktemp('videomae') / 'model.safetensors'
  st.save_file(torch_vision.videomae_state(TINY), path)
  return path


def load(file, side=4, rate_hz=10.0):
  stream = dataclasses.replace(PATCHES, num_positions=side**2, rate_hz=rate_hz)
  return network_patches.load_videomae(
    stream, file, config=dataclasses.asdict(TINY), batch_size=3
  )


def hugging_face(state, config, frames):
  """float32[b, steps, patches, dim], as the last layer leaves them."""
  import torch
  import transformers

  renamed = {}
  for name, tensor in state.items():
    new = name.removeprefix('model.')
    for was, becomes in RENAMED.items():
      new = re.sub(was, becomes, new)
    renamed[new] = torch.from_numpy(tensor)
  norm = [renamed.pop(f'fc_norm.{k}') for k in ('weight', 'bias')]
  for i in range(config.num_layers):
    attention = f'encoder.layer.{i}.attention.attention'
    joint = renamed.pop(f'encoder.layer.{i}.attn.qkv.weight')
    for name, kernel in zip(
      ('query', 'key', 'value'), joint.chunk(3), strict=True
    ):
      renamed[f'{attention}.{name}.weight'] = kernel
  network = transformers.VideoMAEModel(
    transformers.VideoMAEConfig(
      image_size=config.image_size,
      patch_size=config.patch_size,
      num_frames=config.num_frames,
      hidden_size=config.emb_dim,
      num_hidden_layers=config.num_layers,
      num_attention_heads=config.num_heads,
      intermediate_size=4 * config.emb_dim,
      layer_norm_eps=1e-6,
      use_mean_pooling=True,
    )
  )
  network.load_state_dict(renamed)  # Strict: every name has its place.
  pixels = (frames / np.float32(255) - vit.MEAN) / vit.STD
  with torch.no_grad():
    states = network.eval()(
      torch.from_numpy(np.moveaxis(pixels, -1, 2))
    ).last_hidden_state
  states = states.reshape(len(frames), config.num_steps, -1, config.emb_dim)

  def normed(x):
    return torch.nn.functional.layer_norm(x, x.shape[-1:], *norm, 1e-6).numpy()

  return states, normed


def clips(num, config=TINY):
  shape = (num, config.num_frames, config.image_size, config.image_size, 3)
  return np.random.default_rng(1).integers(0, 256, shape, np.uint8)


@pytest.mark.torch
@pytest.mark.parametrize('side', [1, 2, 4])
def test_cells_of_each_step_equal_hugging_faces(file, side):
  frames = clips(3)
  states, normed = hugging_face(tensors.load(file), TINY, frames)
  step = 4 // side
  grid = states.reshape(3, 4, side, step, side, step, -1)
  wanted = normed(grid.mean((3, 5))).reshape(3, 4, side**2, -1)
  assert wanted.std() > 0.1
  np.testing.assert_allclose(
    load(file, side).embed_clips(frames), wanted, rtol=0, atol=TOLERANCE
  )


@pytest.mark.torch
def test_the_mean_of_a_clip_is_what_its_classifier_reads(file):
  frames = clips(2)
  states, normed = hugging_face(tensors.load(file), TINY, frames)
  params = videomae.read(tensors.load(file), TINY)
  with jax.default_matmul_precision('float32'):
    got = videomae.VideoMae(TINY).apply(
      {'params': params['network']}, vit.normalize(jnp.asarray(frames))
    )
    got = vit.norm('norm').apply({'params': params['norm']}, got.mean(1))
  np.testing.assert_allclose(
    got, normed(states.mean((1, 2))), rtol=0, atol=TOLERANCE
  )


def moving(seconds, rate_hz=20.0, start=0.0):
  """A picture that differs in every frame."""
  count = round(seconds * rate_hz)
  times = start + np.arange(count) / rate_hz
  shape = (count, 28, 28, 3)
  frames = np.random.default_rng(2).integers(0, 256, shape, np.uint8)
  return media.Video(
    frames=frames, times=times, seconds=seconds, start_seconds=start
  )


@pytest.mark.parametrize('start', [0.0, 6.0])
def test_a_stretch_is_clips_of_whole_steps_of_two_frames_each(file, start):
  video = moving(1.1, start=start)
  extractor = load(file)
  found = extractor(video)
  # 11 steps: clips of 4 from steps 0, 4 and 7, of frames 0, 8 and 14.
  frames = video.frames
  wanted = extractor.embed_clips(
    np.stack([frames[:8], frames[8:16], frames[14:22]])
  )
  assert found.shape == (11, 16, 16)
  np.testing.assert_array_equal(found[:4], wanted[0])
  np.testing.assert_array_equal(found[4:7], wanted[1][:3])
  np.testing.assert_array_equal(found[7:], wanted[2])


def test_a_stretch_shorter_than_a_clip_goes_on_with_its_last_frame(file):
  video = moving(0.2)
  extractor = load(file)
  held = [*video.frames, *[video.frames[-1]] * 4]
  wanted = extractor.embed_clips(np.stack([held] * 3))
  np.testing.assert_array_equal(extractor(video), wanted[0][:2])


def test_steps_do_not_depend_on_how_many_clips_are_one_batch(file):
  video = moving(2.0)
  one = network_patches.load_videomae(
    PATCHES, file, config=dataclasses.asdict(TINY), batch_size=1
  )
  np.testing.assert_allclose(one(video), load(file)(video), atol=1e-5)


def test_one_position_is_a_vector_a_step(file):
  assert load(file, side=1)(moving(1.0)).shape == (10, 16)


def test_steps_too_long_for_the_stretches_of_a_video_are_refused(file):
  with pytest.raises(ValueError, match=r'step every 1 s.*takes 4 s.*rate_hz=2'):
    load(file, rate_hz=1.0)


@pytest.mark.parametrize(
  'config, num_layers, dim',
  [(videomae.BASE, 12, 768), (videomae.LARGE, 24, 1024)],
)
def test_sizes_are_the_published_ones(config, num_layers, dim):
  shapes = jax.eval_shape(
    videomae.VideoMae(config).init,
    jax.random.key(0),
    jnp.zeros((1, 16, 224, 224, 3)),
  )
  got = sum(x.size for x in jax.tree.leaves(shapes)) + 2 * dim
  layer = 12 * dim**2 + (4 + 4 + 1 + 4) * dim
  assert got == num_layers * layer + (2 * 3 * 16**2 + 1 + 2) * dim
  # Files of 345 and 1,220 MB of float32, without biases of keys.
  megabytes = 4e-6 * (got - num_layers * dim)
  assert megabytes == pytest.approx({768: 345, 1024: 1220}[dim], rel=0.005)


@pytest.mark.parametrize(
  'change', [{'num_frames': 7}, {'image_size': 30}, {'num_heads': 3}]
)
def test_sizes_that_are_none_are_refused(change):
  with pytest.raises(ValueError, match='num_frames must be even, patch_size'):
    dataclasses.replace(TINY, **change)
