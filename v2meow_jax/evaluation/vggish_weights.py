"""Reads published VGGish weights, of TensorFlow's layout and of PyTorch's."""

from __future__ import annotations

from collections.abc import Mapping
import dataclasses
import os
import pathlib
from typing import Any

import numpy as np

from v2meow_jax.evaluation import vggish_input
from v2meow_jax.weights import tensors

_WANTED = 'VGGish of tensorflow/models or of torchvggish'
_SCOPE = 'vggish/'
# Of the released file, and of the state of the PyTorch port as a whole.
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
    channels: Of the convolutions; each group ends in a pooling by 2 x 2.
    hidden: Of the dense layers before the embedding.
    dim: Of the embedding.
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
    """By group; the names are those of the published checkpoint."""
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
    """The last is the embedding."""
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
    state: From `tensors.load`; names of the port (https://github.com/
      harritaylor/torchvggish: `features.0.weight`, `embeddings.0.weight`) or
      of the variables of vggish_model.ckpt (`vggish/conv1/weights`), which
      `from_checkpoint` makes a file of.
    config: Sizes.

  Returns:
    {layer: {'kernel', 'bias'}}.

  Raises:
    ValueError: A tensor is missing or of another shape, or not finite.
  """
  source = tensors.Tensors(state, _WANTED, 'vggish')
  if source.has(_SCOPE):
    return _read_variables(source, config)
  return _read_port(source, config)


def _read_variables(source: tensors.Tensors, config: VggishConfig):
  def layer(name, *shape):
    # conv3_1 lies in vggish/conv3/conv3_1, conv1 in vggish/conv1.
    group, numbered, _ = name.partition('_')
    path = f'{_SCOPE}{group}/{name}' if numbered else f'{_SCOPE}{name}'
    return {
      'kernel': source.take(f'{path}/weights', *shape),
      'bias': source.take(f'{path}/biases', shape[-1]),
    }

  params = {}
  for group in config.convolutions:
    for name, inputs, outputs in group:
      params[name] = layer(name, 3, 3, inputs, outputs)
  for name, inputs, outputs in config.dense:
    params[name] = layer(name, inputs, outputs)
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
  """Whether `read_whitening` finds something to read."""
  return any(vectors in state for vectors, _ in _WHITENING)


def read_whitening(
  state: Mapping[str, Any], config: VggishConfig = PUBLISHED
) -> Whitening:
  """The whitening of vggish_pca_params.npz, or of the port (`pproc.*`).

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


def from_checkpoint(
  checkpoint: str | os.PathLike, target: str | os.PathLike
) -> None:
  """Makes a safetensors file of the released vggish_model.ckpt.

  >>> from_checkpoint(  # doctest: +SKIP
  ...   'vggish_model.ckpt', 'vggish.safetensors')

  The checkpoint is at https://storage.googleapis.com/audioset/vggish_model.ckpt;
  it holds tensors by name and nothing that runs. The file made of it is given
  to `networks.load('vggish', weights='vggish.safetensors')`.

  Args:
    checkpoint: Of TensorFlow.
    target: Ends in .safetensors; is written whole or not at all.

  Raises:
    ImportError: TensorFlow is not installed.
    ValueError: It is no checkpoint of VGGish.
  """
  from safetensors import numpy as safetensors_numpy

  try:
    import tensorflow as tf
  except ImportError as e:
    raise ImportError(
      'a checkpoint of TensorFlow is read by TensorFlow: python -m pip install'
      " -c requirements.lock -e '.[data]'"
    ) from e
  try:
    reader = tf.train.load_checkpoint(os.fspath(checkpoint))
  except (tf.errors.OpError, ValueError) as e:
    raise ValueError(f'{checkpoint} is no checkpoint of TensorFlow: {e}') from e
  names = [
    n for n in reader.get_variable_to_shape_map() if n.startswith(_SCOPE)
  ]
  if not names:
    raise ValueError(f'{checkpoint} has no variable of {_SCOPE}: not VGGish.')
  path = pathlib.Path(target)
  partial = path.with_name(f'partial-{path.name}')
  try:
    safetensors_numpy.save_file(
      {name: np.ascontiguousarray(reader.get_tensor(name)) for name in names},
      partial,
    )
    partial.replace(path)
  finally:
    partial.unlink(missing_ok=True)
