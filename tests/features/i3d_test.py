"""I3D equals a forward pass written in torch, from files of both layouts."""

import functools

import jax
import numpy as np
import pytest
from safetensors import numpy as safetensors_numpy

from benchmarks import torch_networks
from v2meow_jax.features import i3d
from v2meow_jax.features import i3d_weights
from v2meow_jax.weights import ledger
from v2meow_jax.weights import store
from v2meow_jax.weights import tensors

TINY = i3d.I3DConfig(
  stem=(4, 3, 6),
  blocks=tuple(
    (name, (2, 3, 4, 2, 3, 1)) for name, _ in i3d.I3DConfig().blocks
  ),
)
NUM_FRAMES = 24
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
  return torch_networks.prepared(torch_networks.i3d, state, config)(x)


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
  state = torch_networks.i3d_state(TINY)
  path = tmp_path / 'flow_imagenet.safetensors'
  safetensors_numpy.save_file(state, path)
  params = i3d_weights.read(tensors.load(path), TINY)
  wanted = torch_forward(state, TINY, flow())
  assert wanted.std() > 0.05
  np.testing.assert_allclose(
    features(TINY, params, flow()), wanted, rtol=0, atol=1e-4
  )


@pytest.mark.slow
@pytest.mark.torch
def test_the_published_size_is_that_of_torch():
  config = i3d.I3DConfig()
  assert config.dim == 1024
  state = torch_networks.i3d_state(config)
  params = i3d_weights.read(state, config)
  x = flow(num_frames=i3d.MIN_FRAMES)
  np.testing.assert_allclose(
    features(config, params, x), torch_forward(state, config, x), atol=1e-4
  )


def unscaled_state():
  """Sonnet's normalisation has no scale."""
  state = torch_networks.i3d_state(TINY)
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
  assert here.verify(flow_network).startswith('as it came')


def test_both_layouts_are_the_same_network():
  state = unscaled_state()
  ours = i3d_weights.read(state, TINY)
  theirs = i3d_weights.read(sonnet_variables(state, TINY), TINY)
  jax.tree.map(np.testing.assert_array_equal, ours, theirs)


def test_the_parameters_are_those_of_the_network():
  shapes = jax.eval_shape(i3d.I3D(TINY).init, jax.random.key(0), flow())
  wanted = jax.tree.map(lambda s: s.shape, shapes['params'])
  params = i3d_weights.read(torch_networks.i3d_state(TINY), TINY)
  assert jax.tree.map(np.shape, params) == wanted


@pytest.mark.parametrize(
  ('change', 'said'),
  [
    (lambda s: s.pop('Mixed_4c.b1b.conv3d.weight'), "no 'Mixed_4c.b1b.conv3d"),
    (
      lambda s: s.update(
        {'Conv3d_1a_7x7.conv3d.weight': np.zeros((4, 3, 7, 7, 7))}
      ),
      r'shape \(4, 3, 7, 7, 7\), wanted \(4, 2, 7, 7, 7\)',
    ),
    (
      lambda s: s['Mixed_3b.b0.bn.running_var'].fill(np.nan),
      "'Mixed_3b.b0.bn.running_var' .* not finite",
    ),
  ],
)
def test_wrong_weights_are_named(change, said):
  state = torch_networks.i3d_state(TINY)
  change(state)
  with pytest.raises(ValueError, match=said):
    i3d_weights.read(state, TINY)
