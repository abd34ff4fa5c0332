"""Reads published VGGish weights, in the layouts of TensorFlow and PyTorch."""

from collections.abc import Mapping
import dataclasses
import itertools
from typing import Any

import numpy as np

from v2meow_jax.pretrained import tensors
from v2meow_jax.pretrained.audio import vggish_input

_WANTED = 'VGGish of tensorflow/models or of torchvggish'
_SCOPE = 'vggish/'
# vggish_export_tfhub.py of the authors keeps the variables of its module in a
# list, in the order in which the layers make them.
_EXPORTED = '_variables/'
# Names in the released file, and in the state of the whole PyTorch port.
_WHITENING = (
  ('pca_eigen_vectors', 'pca_means'),
  ('pproc.pca_matrix', 'pproc.pca_means'),
)

# (name, inputs, outputs)
Layer = tuple[str, int, int]


@dataclasses.dataclass(frozen=True, kw_only=True)
class VggishConfig:
  """Sizes; the defaults are the published network's.

  Attributes:
    channels: Channels of the convolutions; each group ends in a pooling by 2 x
      2.
    hidden: Widths of the dense layers before the embedding.
    dim: Width of the embedding.
  """

  channels: tuple[tuple[int, ...], ...] = (
    (64,),
    (128,),
    (256,) * 2,
    (512,) * 2,
  )
  hidden: tuple[int, ...] = (4096, 4096)
  dim: int = 128

  @property
  def convolutions(self) -> list[list[Layer]]:
    """Layers by group, named as in the published checkpoint."""
    groups, inputs = [], 1
    for i, channels in enumerate(self.channels, 1):
      group = []
      for j, outputs in enumerate(channels, 1):
        name = f'conv{i}' if len(channels) == 1 else f'conv{i}_{j}'
        group.append((name, inputs, outputs))
        inputs = outputs
      groups.append(group)
    return groups

  @property
  def dense(self) -> list[Layer]:
    """Dense layers; the last is the embedding."""
    halved = 2 ** len(self.channels)
    frames, bands = vggish_input.NUM_FRAMES, vggish_input.NUM_BANDS
    inputs = (frames // halved) * (bands // halved) * self.channels[-1][-1]
    layers = []
    for i, outputs in enumerate(self.hidden, 1):
      layers.append((f'fc1_{i}', inputs, outputs))
      inputs = outputs
    return [*layers, ('fc2', inputs, self.dim)]


PUBLISHED = VggishConfig()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Whitening:
  """Principal components of the embeddings of AudioSet.

  Attributes:
    vectors: float32[dim, dim], a row a component.
    means: float32[dim].
  """

  vectors: np.ndarray
  means: np.ndarray


def read(
  state: Mapping[str, Any], config: VggishConfig = PUBLISHED
) -> dict[str, dict[str, np.ndarray]]:
  """Parameters of `vggish.Body` from a published state.

  Args:
    state: Tensors of `tensors.load`, named as in the port
      (https://github.com/harritaylor/torchvggish: `features.0.weight`,
      `embeddings.0.weight`), as the variables of vggish_model.ckpt
      (`vggish/conv1/weights`), or numbered as in the SavedModel
      google/vggish/1. `v2meow weights import vggish` converts each.
    config: Sizes.

  Returns:
    {layer: {'kernel', 'bias'}}.

  Raises:
    ValueError: A tensor is missing or of another shape, or not finite.
  """
  source = tensors.Tensors(state, _WANTED, 'vggish')
  if source.has(_SCOPE) or source.has(_EXPORTED):
    return _read_variables(source, config)
  return _read_port(source, config)


def _read_variables(source: tensors.Tensors, config: VggishConfig):
  convolutions = itertools.chain(*config.convolutions)
  layers = [
    *((name, (3, 3, *sizes)) for name, *sizes in convolutions),
    *((name, tuple(sizes)) for name, *sizes in config.dense),
  ]
  params = {}
  for number, (layer, shape) in enumerate(layers):
    if source.has(_SCOPE):
      # conv3_1 lies in vggish/conv3/conv3_1, conv1 in vggish/conv1.
      group, numbered, _ = layer.partition('_')
      path = f'{_SCOPE}{group}/{layer}' if numbered else f'{_SCOPE}{layer}'
      kernel, bias = f'{path}/weights', f'{path}/biases'
    else:
      kernel, bias = (
        f'{_EXPORTED}{2 * number + i}/.ATTRIBUTES/VARIABLE_VALUE'
        for i in (0, 1)
      )
    params[layer] = {
      'kernel': source.take(kernel, *shape),
      'bias': source.take(bias, shape[-1]),
    }
  return params


def _read_port(source: tensors.Tensors, config: VggishConfig):
  params, index = {}, 0
  for group in config.convolutions:
    for name, inputs, outputs in group:
      kernel = source.take(f'features.{index}.weight', outputs, inputs, 3, 3)
      bias = source.take(f'features.{index}.bias', outputs)
      params[name] = {'kernel': kernel.transpose(2, 3, 1, 0), 'bias': bias}
      index += 2  # The ReLU counts.
    index += 1  # And so does the pooling.
  # The port flattens in the order of the checkpoint: time, band, channel.
  for i, (name, inputs, outputs) in enumerate(config.dense):
    kernel = source.take(f'embeddings.{2 * i}.weight', outputs, inputs)
    bias = source.take(f'embeddings.{2 * i}.bias', outputs)
    params[name] = {'kernel': kernel.T, 'bias': bias}
  return params


def has_whitening(state: Mapping[str, Any]) -> bool:
  """Whether there is something to read for `read_whitening`."""
  return any(vectors in state for vectors, _ in _WHITENING)


def read_whitening(
  state: Mapping[str, Any], config: VggishConfig = PUBLISHED
) -> Whitening:
  """Reads the whitening of vggish_pca_params.npz or the port (`pproc.*`).

  Raises:
    ValueError: A tensor is missing or of another shape, or not finite.
  """
  released, port = _WHITENING
  vectors, means = port if port[0] in state else released
  source = tensors.Tensors(state, 'the whitening of VGGish', 'vggish-pca')
  # One column in the port; the released means are made one on reading.
  column = np.shape(state.get(means, ())) == (config.dim, 1)
  return Whitening(
    vectors=source.take(vectors, config.dim, config.dim),
    means=source.take(means, config.dim, *(1,) * column).reshape(-1),
  )
