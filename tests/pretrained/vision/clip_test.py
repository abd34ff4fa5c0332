"""The tower equals Hugging Face's on the same file; frames are those of time.

Weights are written in the layouts of openai/clip-vit-large-patch14, from names
that PyTorch's own `load_state_dict` confirms.
"""

import dataclasses

from flax import serialization
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors import numpy as st

from tests.fakes import large_noise
from v2meow_jax import media
from v2meow_jax import specs
from v2meow_jax import stages
from v2meow_jax.extractors import clip as clip_stream
from v2meow_jax.extractors import picture_stream
from v2meow_jax.extractors import resampling
from v2meow_jax.pretrained.vision import clip
from v2meow_jax.pretrained.vision import clip_weights

TINY = clip.ImageTowerConfig(
  image_size=28,
  patch_size=7,
  emb_dim=16,
  num_layers=2,
  num_heads=2,
  mlp_dim=40,
  projection_dim=12,
)
STREAM = specs.FeatureSpec(name='clip', dim=12, rate_hz=1.0)
PATCHES = specs.FeatureSpec(
  name='clip_patches', dim=16, rate_hz=10.0, num_positions=16
)
# Of float32 against float32, of embeddings of about unit deviation.
TOLERANCE = 1e-4
FC1 = 'vision_model.encoder.layers.1.mlp.fc1.weight'


def published(config):
  """Random weights by their published names, with those that are ignored."""
  draw = large_noise.Noise()
  tensors = {}

  def add(name, *shape, mean=0.0):
    # Deviation of a sum over the inputs about 1, so that no part is silent.
    deviation = np.prod(shape[1:]) ** -0.5 if len(shape) > 1 else 0.3
    tensors[name] = draw(shape, mean, deviation)

  def affine(name, outputs, inputs):
    add(f'{name}.weight', outputs, inputs)
    add(f'{name}.bias', outputs)

  def norm(name):
    add(f'{name}.weight', config.emb_dim, mean=1.0)
    add(f'{name}.bias', config.emb_dim)

  dim, patch = config.emb_dim, config.patch_size
  num_positions = (config.image_size // patch) ** 2 + 1
  add('vision_model.embeddings.class_embedding', dim)
  add('vision_model.embeddings.position_embedding.weight', num_positions, dim)
  add('vision_model.embeddings.patch_embedding.weight', dim, 3, patch, patch)
  norm('vision_model.pre_layrnorm')
  norm('vision_model.post_layernorm')
  for i in range(config.num_layers):
    layer = f'vision_model.encoder.layers.{i}'
    norm(f'{layer}.layer_norm1')
    norm(f'{layer}.layer_norm2')
    for name in ('q_proj', 'k_proj', 'v_proj', 'out_proj'):
      affine(f'{layer}.self_attn.{name}', dim, dim)
    affine(f'{layer}.mlp.fc1', config.mlp_dim, dim)
    affine(f'{layer}.mlp.fc2', dim, config.mlp_dim)
  add('visual_projection.weight', config.projection_dim, dim)
  add('text_model.final_layer_norm.weight', 8)
  add('text_projection.weight', 8, 8)
  tensors['logit_scale'] = np.array(4.6052, np.float32)
  tensors['vision_model.embeddings.position_ids'] = np.arange(num_positions)[
    None
  ]
  return tensors


def in_flax(tensors):
  """The same, named and turned as in flax_model.msgpack."""
  tree = {}
  for name, x in tensors.items():
    if name.endswith('position_ids'):
      continue
    *parents, leaf = name.split('.')
    if leaf == 'weight' and 'norm' in parents[-1]:
      leaf = 'scale'
    elif leaf == 'weight' and parents[-1] == 'position_embedding':
      leaf = 'embedding'
    elif leaf == 'weight':
      leaf = 'kernel'
      x = np.moveaxis(x, (0, 1), (-1, -2))
    node = tree
    for parent in parents:
      node = node.setdefault(parent, {})
    node[leaf] = np.ascontiguousarray(x)
  return tree


@pytest.fixture(scope='module')
def tensors():
  return published(TINY)


@pytest.fixture(scope='module')
def folder(tensors, tmp_path_factory):
  path = tmp_path_factory.mktemp('clip')
  st.save_file(tensors, path / 'model.safetensors')
  return path


@pytest.fixture(scope='module')
def extractor(folder):
  params = clip_weights.read(folder, TINY)
  return clip_stream.ImageEmbedding(STREAM, TINY, params, batch_size=4)


def squares(count, config=TINY):
  side = config.image_size
  return np.random.default_rng(1).integers(
    0, 256, (count, side, side, 3), np.uint8
  )


def hugging_face(config, tensors):
  """The reference's tower with these weights."""
  import torch
  import transformers

  with torch.device('meta'):
    tower = transformers.CLIPVisionModelWithProjection(
      transformers.CLIPVisionConfig(
        hidden_size=config.emb_dim,
        intermediate_size=config.mlp_dim,
        projection_dim=config.projection_dim,
        num_hidden_layers=config.num_layers,
        num_attention_heads=config.num_heads,
        image_size=config.image_size,
        patch_size=config.patch_size,
      )
    )
  own = {
    name: torch.from_numpy(x)
    for name, x in tensors.items()
    if name.startswith('vis') and not name.endswith('position_ids')
  }
  # Strict: the names and shapes of the test are the reference's, all of them.
  tower.load_state_dict(own, strict=True, assign=True)
  embeddings = tower.vision_model.embeddings
  embeddings.position_ids = torch.arange(embeddings.num_positions)[None]
  return tower.eval()


def reference_embedding(tower, images):
  """float32[n, dim] of the reference, from its own pixels."""
  import torch

  side = tower.config.image_size
  with torch.no_grad():
    pixels = torch.from_numpy(np.stack([processed(x, side) for x in images]))
    return tower(pixels.permute(0, 3, 1, 2)).image_embeds.numpy()


def processed(image, side=224):
  """float32[side, side, 3] of the reference's processor."""
  from transformers.models.clip import image_processing_pil_clip as pil

  processor = pil.CLIPImageProcessorPil(
    size={'shortest_edge': side}, crop_size={'height': side, 'width': side}
  )
  pixels = processor(image, return_tensors='np')['pixel_values'][0]
  return np.moveaxis(pixels, 0, -1)


@pytest.mark.torch
def test_tower_equals_hugging_face_through_a_file(extractor, tensors):
  images = squares(3)
  wanted = reference_embedding(hugging_face(TINY, tensors), images)
  assert wanted.std() > 0.3
  got = extractor.embed(images)
  assert got.dtype == np.float32
  np.testing.assert_allclose(got, wanted, rtol=0, atol=TOLERANCE)


@pytest.mark.torch
@pytest.mark.parametrize('token', [0, 1])
@pytest.mark.parametrize('side', [1, 2, 4])
def test_patches_equal_hugging_face_through_a_file(
  folder, tensors, side, token
):
  import torch

  stream = dataclasses.replace(PATCHES, num_positions=side**2 + token)
  extractor = clip_stream.load_patches(
    stream, folder, config=dataclasses.asdict(TINY), batch_size=4
  )
  images = squares(3)
  tower = hugging_face(TINY, tensors)
  with torch.no_grad():
    pixels = torch.from_numpy(np.stack([processed(x, 28) for x in images]))
    states = tower.vision_model(pixels.permute(0, 3, 1, 2)).last_hidden_state
  # After the class token 4 x 4 patches, of which cells are means.
  states = states.numpy()
  grid = states[:, 1:].reshape(3, side, 4 // side, side, 4 // side, -1)
  cells = grid.mean((2, 4)).reshape(3, side**2, -1)
  wanted = np.concatenate([states[:, :token], cells], 1)
  got = extractor.outputs(np.pad(images, ((0, 1), *((0, 0),) * 3)))[:3]
  assert wanted.std() > 0.3
  np.testing.assert_allclose(got, wanted, rtol=0, atol=TOLERANCE)


@pytest.mark.slow
def test_an_event_in_a_patch_comes_out_at_its_time_and_place(folder):
  extractor = clip_stream.load_patches(
    PATCHES, folder, config=dataclasses.asdict(TINY)
  )
  times = np.arange(50) / 25
  frames = np.full((50, 28, 28, 3), 90, np.uint8)
  frames[times >= 1.2, 14:21, 7:14] = 250
  found = extractor(media.Video(frames=frames, times=times, seconds=2.0))
  assert found.shape == (20, 16, 16)
  change = np.abs(np.diff(found, axis=0)).sum(-1)
  # Between the middles of frames 11 and 12, in the third row and second column.
  assert np.unravel_index(change.argmax(), change.shape) == (11, 9)


def test_positions_that_are_no_grid_of_the_tower_are_refused():
  for count in (3, 10, 25):
    stream = dataclasses.replace(PATCHES, num_positions=count)
    with pytest.raises(ValueError, match=f'{count} positions a frame'):
      picture_stream.PatchFeatures(stream, TINY, clip.patch_features, {})
  for count in (3, 18, 26):
    stream = dataclasses.replace(PATCHES, num_positions=count)
    with pytest.raises(ValueError, match='or one position more for the token'):
      picture_stream.PatchFeatures(
        stream, TINY, clip.patch_features, {}, has_class_token=True
      )


@pytest.mark.slow
@pytest.mark.torch
def test_full_tower_equals_hugging_face_through_a_file(tmp_path):
  tensors = published(clip.VIT_L_14)
  file = tmp_path / 'model.safetensors'
  st.save_file(tensors, file)
  params = clip_weights.read(file)
  file.unlink()  # 1.2 GB, which pytest would keep.
  extractor = clip_stream.ImageEmbedding(
    stages.PAPER['clip'], clip.VIT_L_14, params, batch_size=1
  )
  images = squares(1, clip.VIT_L_14)
  tower = hugging_face(clip.VIT_L_14, tensors)
  wanted = reference_embedding(tower, images)
  assert wanted.shape == (1, 768) and wanted.std() > 0.3
  np.testing.assert_allclose(
    extractor.embed(images), wanted, rtol=0, atol=TOLERANCE
  )


@pytest.mark.torch
@pytest.mark.parametrize(
  'height, width',
  [
    (33, 17),
    (17, 33),
    (224, 224),
    (225, 401),
    (223, 640),
    (641, 359),
    (360, 640),
    (1080, 1921),
    (5, 2),
  ],
)
def test_pixels_equal_the_reference_processor(height, width):
  rng = np.random.default_rng(height)
  image = rng.integers(0, 256, (height, width, 3), np.uint8)
  # A border that the kernel overshoots at both ends of the range.
  image[: height // 2] = np.where(image[: height // 2] > 127, 255, 0)
  got = clip.normalize(resampling.center_square(image[None], 224)[0])
  # A step of 8 bits is 0.014: the rest is rounding of the last operations.
  np.testing.assert_allclose(got, processed(image), rtol=0, atol=1e-6)


def test_resizing_keeps_flat_colour_and_takes_the_middle():
  image = np.zeros((1, 60, 200, 3), np.uint8)
  image[:, :, 70:130] = (10, 200, 255)
  square = resampling.center_square(image, 30)
  assert square.shape == (1, 30, 30, 3)
  np.testing.assert_array_equal(
    square[0, :, 2:-2], np.broadcast_to([10, 200, 255], (30, 26, 3))
  )


def test_both_published_files_give_the_same_parameters(
  folder, tensors, tmp_path
):
  file = tmp_path / 'flax_model.msgpack'
  file.write_bytes(serialization.to_bytes(in_flax(tensors)))
  got = clip_weights.read(tmp_path, TINY)
  jax.tree.map(
    np.testing.assert_array_equal, got, clip_weights.read(folder, TINY)
  )


def test_half_precision_is_read_as_float32(tensors, tmp_path):
  file = tmp_path / 'half.safetensors'
  for dtype in (np.float16, jnp.bfloat16):
    st.save_file({k: x.astype(dtype) for k, x in tensors.items()}, file)
    params = clip_weights.read(file, TINY)
    kernel = params['layer_1']['wide']['kernel']
    assert kernel.dtype == np.float32
    np.testing.assert_array_equal(
      kernel, tensors[FC1].T.astype(dtype).astype(np.float32)
    )


@pytest.mark.slow
def test_full_tower_has_304_million_parameters():
  pixels = jnp.zeros((1, 224, 224, 3))
  tower = clip.ImageTower(clip.VIT_L_14)
  shapes = jax.eval_shape(tower.init, jax.random.key(0), pixels)
  dim, mlp_dim = 1024, 4096
  attention = 4 * (dim + 1) * dim
  mlp = 2 * dim * mlp_dim + mlp_dim + dim
  norms = 4 * dim
  # Class, positions, patches, projection, the first and the last norm.
  ends = (1 + 257 + 3 * 14 * 14 + 768 + 4) * dim
  num_parameters = 24 * (attention + mlp + norms) + ends
  assert sum(x.size for x in jax.tree.leaves(shapes)) == num_parameters


def test_missing_file_says_what_to_download_and_where_to_put_it(tmp_path):
  with pytest.raises(FileNotFoundError) as e:
    clip_weights.read(tmp_path, TINY)
  assert str(tmp_path / 'model.safetensors') in str(e.value)
  assert 'huggingface.co/openai/clip-vit-large-patch14' in str(e.value)
  with pytest.raises(FileNotFoundError, match='nowhere.safetensors'):
    clip_weights.read(tmp_path / 'nowhere.safetensors', TINY)


def test_missing_tensor_is_named(tensors, tmp_path):
  file = tmp_path / 'model.safetensors'
  st.save_file({k: x for k, x in tensors.items() if k != FC1}, file)
  with pytest.raises(ValueError, match=rf'no .{FC1}.*\(40, 16\)'):
    clip_weights.read(file, TINY)


def test_tensor_of_another_shape_or_type_is_named(tensors, tmp_path):
  file = tmp_path / 'model.safetensors'
  st.save_file({**tensors, FC1: tensors[FC1].T.copy()}, file)
  with pytest.raises(ValueError, match=rf'{FC1}.*\(16, 40\).*\(40, 16\)'):
    clip_weights.read(file, TINY)
  st.save_file({**tensors, FC1: tensors[FC1].astype(np.int32)}, file)
  with pytest.raises(ValueError, match=rf'{FC1}.*int32.*wanted floats'):
    clip_weights.read(file, TINY)
  tree = in_flax(tensors)
  tree['visual_projection']['kernel'] = np.zeros((16, 13), np.float32)
  file = tmp_path / 'flax_model.msgpack'
  file.write_bytes(serialization.to_bytes(tree))
  with pytest.raises(
    ValueError, match=r'visual_projection/kernel.*\(16, 13\).*\(16, 12\)'
  ):
    clip_weights.read(file, TINY)


def test_file_of_a_deeper_tower_is_refused(folder):
  shallow = dataclasses.replace(TINY, num_layers=1)
  with pytest.raises(ValueError, match=r'layers\.1\..*num_layers=1'):
    clip_weights.read(folder, shallow)


@pytest.mark.parametrize('name', ['model.safetensors', 'flax_model.msgpack'])
@pytest.mark.parametrize('content', [b'', b'<html>not found</html>', b'\x80'])
def test_file_of_another_kind_is_refused(tmp_path, name, content):
  (tmp_path / name).write_bytes(content)
  with pytest.raises(ValueError, match=name):
    clip_weights.read(tmp_path, TINY)


def test_truncated_file_is_refused(folder, tensors, tmp_path):
  whole = {
    'model.safetensors': (folder / 'model.safetensors').read_bytes(),
    'flax_model.msgpack': serialization.to_bytes(in_flax(tensors)),
  }
  for name, content in whole.items():
    file = tmp_path / name
    file.write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match='damaged'):
      clip_weights.read(file, TINY)


def test_pickled_weights_are_refused(tmp_path):
  file = tmp_path / 'pytorch_model.bin'
  file.write_bytes(b'')
  with pytest.raises(ValueError, match='wanted .safetensors'):
    clip_weights.read(file, TINY)


def test_frames_are_those_on_screen_in_the_middle_of_each_second(extractor):
  rng = np.random.default_rng(2)
  times = np.concatenate([[0.0], np.cumsum(rng.uniform(0.02, 0.4, 40))])
  frames = rng.integers(0, 256, (len(times), 30, 41, 3), np.uint8)
  video = media.Video(
    frames=frames, times=times, start_seconds=1.0, seconds=4.6
  )
  shown = [np.flatnonzero(times <= t)[-1] for t in (1.5, 2.5, 3.5, 4.5, 5.5)]
  wanted = extractor.embed(resampling.center_square(frames[shown], 28))
  np.testing.assert_allclose(extractor(video), wanted, rtol=0, atol=1e-5)


def test_an_embedding_depends_on_its_image_alone(extractor, folder):
  images = squares(7)
  together = extractor.embed(images)
  assert together.shape == (7, 12)
  others = images.copy()
  others[1:] = 255 - others[1:]
  np.testing.assert_array_equal(extractor.embed(others)[0], together[0])
  params = clip_weights.read(folder, TINY)
  alone = clip_stream.ImageEmbedding(STREAM, TINY, params, batch_size=1)
  np.testing.assert_allclose(
    np.concatenate([alone.embed(x[None]) for x in images]),
    together,
    rtol=0,
    atol=1e-5,
  )


def test_stream_that_does_not_fit_is_refused():
  wide = dataclasses.replace(STREAM, dim=13)
  with pytest.raises(ValueError, match='dim 13, but its extractor gives 12'):
    clip_stream.ImageEmbedding(wide, TINY, {})
  static = dataclasses.replace(STREAM, rate_hz=0.0)
  with pytest.raises(ValueError, match='rate_hz=0'):
    clip_stream.ImageEmbedding(static, TINY, {})


def test_sizes_that_do_not_divide_are_refused():
  with pytest.raises(ValueError, match='patch_size must divide image_size'):
    dataclasses.replace(TINY, patch_size=8)
