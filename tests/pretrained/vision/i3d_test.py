"""I3D equals a forward pass written in torch, from files of both layouts."""

import functools

import jax
import numpy as np
import pytest
from safetensors import numpy as safetensors_numpy

from tests.fakes import tiny_networks
from tests.fakes import torch_runner
from tests.fakes import torch_vision
from v2meow_jax.pretrained import ledger
from v2meow_jax.pretrained import store
from v2meow_jax.pretrained import tensors
from v2meow_jax.pretrained.vision import i3d
from v2meow_jax.pretrained.vision import i3d_weights

TINY = tiny_networks.I3D

NUM_FRAMES = 24
# Of https://github.com/google-deepmind/kinetics-i3d, i3d.py: kernel, channels
# in and out of what comes first; then channels in and those of the branches.
STEM = {
  'Conv3d_1a_7x7': (7, 2, 64),
  'Conv3d_2b_1x1': (1, 64, 64),
  'Conv3d_2c_3x3': (3, 64, 192),
}
MIXED = {
  'Mixed_3b': (192, 64, 96, 128, 16, 32, 32),
  'Mixed_3c': (256, 128, 128, 192, 32, 96, 64),
  'Mixed_4b': (480, 192, 96, 208, 16, 48, 64),
  'Mixed_4c': (512, 160, 112, 224, 24, 64, 64),
  'Mixed_4d': (512, 128, 128, 256, 24, 64, 64),
  'Mixed_4e': (512, 112, 144, 288, 32, 64, 64),
  'Mixed_4f': (528, 256, 160, 320, 32, 128, 128),
  'Mixed_5b': (832, 256, 160, 320, 32, 128, 128),
  'Mixed_5c': (832, 384, 192, 384, 48, 128, 128),
}
SONNET = {
  'b0': 'Branch_0/Conv3d_0a_1x1',
  'b1a': 'Branch_1/Conv3d_0a_1x1',
  'b1b': 'Branch_1/Conv3d_0b_3x3',
  'b2a': 'Branch_2/Conv3d_0a_1x1',
  'b2b': 'Branch_2/Conv3d_0b_3x3',
  'b3b': 'Branch_3/Conv3d_0b_1x1',
}


def sonnet_variables(state, config):
  """The same numbers under the names of the published checkpoint.

  Names and shapes are those of model.ckpt.index of flow_imagenet.
  """
  variables = {'Flow/inception_i3d/Logits/Conv3d_0c_1x1/conv_3d/w': np.ones(1)}
  for path in config.convolutions:
    name = '/'.join([path[0], *(SONNET[p] for p in path[1:])])
    if path == ('Mixed_5b', 'b2b'):  # As published.
      name = 'Mixed_5b/Branch_2/Conv3d_0a_3x3'
    source, target = '.'.join(path), f'Flow/inception_i3d/{name}'
    kernel = state[f'{source}.conv3d.weight']
    variables[f'{target}/conv_3d/w'] = kernel.transpose(2, 3, 4, 1, 0)
    for ours, theirs in (
      ('bias', 'beta'),
      ('running_mean', 'moving_mean'),
      ('running_var', 'moving_variance'),
    ):
      values = state[f'{source}.bn.{ours}']
      variables[f'{target}/batch_norm/{theirs}'] = values
  return variables


def torch_forward(state, config, x):
  return torch_runner.prepared(torch_vision.i3d, state, config)(x)


def flow(num_frames=NUM_FRAMES, rows=1):
  rng = np.random.default_rng(1)
  shape = (rows, num_frames, 224, 224, 2)
  return rng.uniform(-1, 1, shape).astype(np.float32)


@functools.cache
def network(config):
  return jax.jit(i3d.I3D(config).apply)


def features(config, params, x):
  return np.asarray(network(config)({'params': params}, x))


@pytest.mark.torch
def test_features_are_those_of_torch_from_its_file(tmp_path):
  state = torch_vision.i3d_state(TINY)
  path = tmp_path / 'flow_imagenet.safetensors'
  safetensors_numpy.save_file(state, path)
  params = i3d_weights.read(tensors.load(path), TINY)
  wanted = torch_forward(state, TINY, flow())
  assert wanted.std() > 0.05
  np.testing.assert_allclose(
    features(TINY, params, flow()), wanted, rtol=0, atol=1e-4
  )


def published_shapes():
  """Of the convolutions by their names in the PyTorch port."""
  kernels = dict(STEM)
  for name, (width, b0, b1a, b1b, b2a, b2b, b3b) in MIXED.items():
    kernels |= {
      f'{name}.b0': (1, width, b0),
      f'{name}.b1a': (1, width, b1a),
      f'{name}.b1b': (3, b1a, b1b),
      f'{name}.b2a': (1, width, b2a),
      f'{name}.b2b': (3, b2a, b2b),
      f'{name}.b3b': (1, width, b3b),
    }
  return {
    f'{name}.conv3d.weight': (outputs, inputs, size, size, size)
    for name, (size, inputs, outputs) in kernels.items()
  }


@pytest.mark.slow
@pytest.mark.torch
def test_the_published_size_is_that_of_torch_through_its_file(tmp_path):
  config = i3d.I3DConfig()
  state = torch_vision.i3d_state(config)
  shapes = {
    name: x.shape
    for name, x in state.items()
    if name.endswith('conv3d.weight') and not name.startswith('logits')
  }
  assert shapes == published_shapes() and len(shapes) == 57
  path = tmp_path / 'flow_imagenet.safetensors'
  safetensors_numpy.save_file(state, path)
  params = i3d_weights.read(tensors.load(path), config)
  x = flow()
  wanted = torch_forward(state, config, x)
  assert wanted.shape == (1, 1024) and wanted.std() > 0.05
  np.testing.assert_allclose(
    features(config, params, x), wanted, rtol=0, atol=1e-4
  )


def test_two_streams_of_the_published_size_have_25_million_parameters():
  def count(**sizes):
    shapes = i3d.I3DConfig(**sizes).convolutions.values()
    # Each with the offset of its batch normalisation; then 400 classes.
    body = sum((size**3 * n + 1) * m for size, n, m in shapes)
    return body + 1025 * 400

  published = sum(np.prod(s) + s[0] for s in published_shapes().values())
  assert count() == published + 1025 * 400
  # Carreira and Zisserman 2017, table 1: 25M.
  assert round((count() + count(in_channels=3)) / 1e6) == 25


def clip(*shape, seed=2):
  """float32[1, frames, height, width, channels], of both signs."""
  return np.random.default_rng(seed).normal(size=(1, *shape)).astype(np.float32)


def to_torch(x):
  import torch

  return torch.from_numpy(x).permute(0, 4, 1, 2, 3)


def padded(x, window, strides, value):
  """As TensorFlow's SAME: what is odd goes after; outputs are n / stride."""
  from torch.nn import functional

  sides = []
  for n, size, stride in zip(x.shape[2:], window, strides, strict=True):
    after = n % stride or stride
    total = max(size - after, 0)
    sides = [total // 2, total - total // 2, *sides]
  return functional.pad(x, sides, value=value)


def unit_in_torch(x, params):
  """A convolution of one step, its bias, relu."""
  import torch

  kernel = torch.from_numpy(params['kernel']).permute(4, 3, 0, 1, 2)
  bias = torch.from_numpy(params['bias'])
  return torch.conv3d(x, kernel, bias, padding='same').relu()


def from_torch(x):
  return x.permute(0, 2, 3, 4, 1).numpy()


def random_params(module, x):
  rng = np.random.default_rng(3)
  shapes = jax.eval_shape(module.init, jax.random.key(0), x)['params']
  return jax.tree.map(
    lambda s: rng.normal(0, 0.3, s.shape).astype(np.float32), shapes
  )


@pytest.mark.torch
@pytest.mark.parametrize(('size', 'stride'), [(1, 1), (3, 1), (7, 2)])
@pytest.mark.parametrize('shape', [(5, 9, 13), (6, 8, 11)])
def test_a_unit_is_that_of_torch(size, stride, shape):
  import torch

  x = clip(*shape, 3)
  unit = i3d.Unit(4, size, stride)
  params = random_params(unit, x)
  kernel = torch.from_numpy(params['kernel']).permute(4, 3, 0, 1, 2)
  wanted = torch.conv3d(
    padded(to_torch(x), (size,) * 3, (stride,) * 3, 0.0),
    kernel,
    torch.from_numpy(params['bias']),
    stride=stride,
  ).relu()
  assert (wanted > 0).float().mean() > 0.2
  found = unit.apply({'params': params}, x)
  np.testing.assert_allclose(found, from_torch(wanted), rtol=0, atol=1e-4)


@pytest.mark.torch
def test_an_inception_block_is_that_of_torch():
  import torch

  x = clip(4, 7, 9, 5)
  block = i3d.Inception((2, 3, 4, 2, 3, 1))
  params = random_params(block, x)
  p, y = params, to_torch(x)
  pooled = torch.nn.functional.max_pool3d(y, 3, 1, 1)
  wanted = torch.cat(
    [
      unit_in_torch(y, p['b0']),
      unit_in_torch(unit_in_torch(y, p['b1a']), p['b1b']),
      unit_in_torch(unit_in_torch(y, p['b2a']), p['b2b']),
      unit_in_torch(pooled, p['b3b']),
    ],
    1,
  )
  found = block.apply({'params': params}, x)
  np.testing.assert_allclose(found, from_torch(wanted), rtol=0, atol=1e-4)


@pytest.mark.torch
@pytest.mark.parametrize(
  ('window', 'strides'),
  [
    ((1, 3, 3), (1, 2, 2)),
    ((3, 3, 3), (2, 2, 2)),
    ((2, 2, 2), (2, 2, 2)),
  ],
)
@pytest.mark.parametrize('shape', [(5, 7, 9), (6, 8, 7), (4, 8, 12)])
def test_pooling_of_odd_and_even_sides_is_that_of_torch(window, strides, shape):
  import torch

  # All below zero: zeros at the edges would win.
  x = clip(*shape, 3) - 9
  edged = padded(to_torch(x), window, strides, -np.inf)
  wanted = torch.nn.functional.max_pool3d(edged, window, strides)
  found = i3d.max_pool(x, window, strides)
  np.testing.assert_array_equal(found, from_torch(wanted))
  halves = tuple(-(-n // s) for n, s in zip(shape, strides, strict=True))
  assert found.shape[1:4] == halves


@pytest.mark.torch
@pytest.mark.parametrize('shape', [(2, 7, 7), (3, 7, 7), (4, 8, 9)])
def test_the_last_pooling_is_that_of_torch(shape):
  import torch

  x = clip(*shape, 6)
  wanted = torch.nn.functional.avg_pool3d(to_torch(x), (2, 7, 7), 1)
  np.testing.assert_allclose(
    i3d.last_pool(x), wanted.mean((2, 3, 4)).numpy(), rtol=0, atol=1e-5
  )


def unscaled_state():
  """Sonnet's normalisation has no scale."""
  state = torch_vision.i3d_state(TINY)
  for name, x in state.items():
    if name.endswith('bn.weight'):
      x.fill(1)
  return state


@pytest.mark.data
def test_the_published_checkpoint_is_imported_as_the_same_network(tmp_path):
  import tensorflow as tf

  v1, state = tf.compat.v1, unscaled_state()
  folder = tmp_path / 'flow_imagenet'
  with tf.Graph().as_default(), v1.Session() as session:
    for name, value in sonnet_variables(state, TINY).items():
      v1.get_variable(name, initializer=value.astype(np.float32))
    session.run(v1.global_variables_initializer())
    v1.train.Saver().save(session, str(folder / 'model.ckpt'))
  here, flow_network = store.Store(path=tmp_path), ledger.find('i3d-flow')
  file = here.take(flow_network, folder / 'model.ckpt')
  assert here.locate(flow_network) == file
  ours = i3d_weights.read(state, TINY)
  theirs = i3d_weights.read(tensors.load(file), TINY)
  jax.tree.map(np.testing.assert_array_equal, ours, theirs)
  assert here.verify(flow_network).startswith('as fetched')


def test_both_layouts_are_the_same_network():
  state = unscaled_state()
  ours = i3d_weights.read(state, TINY)
  theirs = i3d_weights.read(sonnet_variables(state, TINY), TINY)
  jax.tree.map(np.testing.assert_array_equal, ours, theirs)


def test_the_parameters_are_those_of_the_network():
  shapes = jax.eval_shape(i3d.I3D(TINY).init, jax.random.key(0), flow())
  wanted = jax.tree.map(lambda s: s.shape, shapes['params'])
  params = i3d_weights.read(torch_vision.i3d_state(TINY), TINY)
  assert jax.tree.map(np.shape, params) == wanted


@pytest.mark.parametrize(
  ('change', 'said'),
  [
    (lambda s: s.pop('Mixed_4c.b1b.conv3d.weight'), "no 'Mixed_4c.b1b.conv3d"),
    (
      lambda s: s.update(
        {'Conv3d_1a_7x7.conv3d.weight': np.zeros((4, 3, 7, 7, 7))}
      ),
      r'shape \(4, 3, 7, 7, 7\); wanted floats of shape \(4, 2, 7, 7, 7\)',
    ),
    (
      lambda s: s['Mixed_3b.b0.bn.running_var'].fill(np.nan),
      "'Mixed_3b.b0.bn.running_var' .* not finite",
    ),
  ],
)
def test_wrong_weights_are_named(change, said):
  state = torch_vision.i3d_state(TINY)
  change(state)
  with pytest.raises(ValueError, match=said):
    i3d_weights.read(state, TINY)
