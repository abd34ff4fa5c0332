"""Reads published safetensors of PyTorch networks into Flax parameters.

A network whose modules are named as the published ones needs no table of
names: the path of a parameter is its key. 'encoder/block_0/conv1/kernel' is
read from 'encoder.block.0.conv1.weight', or folded from the two factors that
weight normalisation (https://arxiv.org/abs/1602.07868) trains in its place.
"""

from collections.abc import Collection
from collections.abc import Mapping
import re
from typing import Any

from etils import epath
from flax import traverse_util
import flax.linen as nn
import jax
from jaxtyping import Array
from jaxtyping import Float
import numpy as np

from v2meow_jax.pretrained import tensors as tensors_lib

FILE_NAME = 'model.safetensors'

# Names of magnitude and direction, of older and of newer versions of PyTorch.
_FACTORS = (
  ('{}_g', '{}_v'),
  ('parametrizations.{}.original0', 'parametrizations.{}.original1'),
)
# Flax's names of what PyTorch calls a weight.
_WEIGHTS = ('kernel', 'taps', 'embedding')


class TransposedConv(nn.Module):
  """A transposed convolution over time whose kernel is two strides long.

  Step m writes the places m * stride .. (m + 2) * stride - 1, so each place
  hears two steps: a convolution to `stride` times the channels, unfolded.

  Attributes:
    features: Output channels.
    stride: Up-sampling.
  """

  features: int
  stride: int

  @nn.compact
  def __call__(
    self, x: Float[Array, 'b steps channels']
  ) -> Float[Array, 'b steps_out features']:
    """float[b, steps, channels] -> float[b, (steps + 1) * stride, features]."""
    # Of the step before, then of the step itself.
    taps = self.param(
      'taps',
      nn.initializers.lecun_normal(in_axis=(0, 1)),
      (2, x.shape[-1], self.stride, self.features),
    )
    bias = self.param('bias', nn.initializers.zeros, (self.features,))
    y = jax.lax.conv_general_dilated(
      x,
      taps.reshape(2, x.shape[-1], -1),
      window_strides=(1,),
      padding=((1, 1),),
      dimension_numbers=('NWC', 'WIO', 'NWC'),
    )
    return y.reshape(x.shape[0], -1, self.features) + bias


def published_key(path: tuple[str, ...]) -> str:
  """The key of a parameter in a published file.

  >>> published_key(('encoder', 'block_0', 'conv1', 'kernel'))
  'encoder.block.0.conv1.weight'
  """
  *modules, leaf = path
  names = [re.sub(r'_(\d+)$', r'.\1', name) for name in modules]
  return '.'.join([*names, 'weight' if leaf in _WEIGHTS else leaf])


def read(
  path: epath.Path,
  wanted: Mapping[str, Any],
  source: str,
  unused: Collection[str] = (),
) -> dict[str, Any]:
  """Parameters of a network from a published file.

  Args:
    path: The file, or the folder that holds a `model.safetensors`.
    wanted: Parameters whose shapes are right, as `jax.eval_shape` gives them.
    source: Repository of the Hugging Face hub that publishes the file.
    unused: Last parts of the keys that only training needs.

  Returns:
    float32 arrays in the structure of `wanted`.

  Raises:
    ValueError: The file is missing, is no safetensors file, or its keys, types
      or shapes are not those of the network.
  """
  file = path / FILE_NAME if path.is_dir() else path
  tensors = _load(file, source)
  advice = f'wanted the {FILE_NAME} of {source}, and its configuration'
  params = {}
  for keys, parameter in traverse_util.flatten_dict(wanted).items():
    key = published_key(keys)
    tensor = _take(tensors, key, file)
    shape = published_shape(keys[-1], parameter.shape)
    if tensor is None:
      raise ValueError(f'{file} lacks {key}, {list(shape)}; {advice}.')
    if tensor.shape != shape:
      raise ValueError(
        f'{file}: {key} is {list(tensor.shape)}, wanted {list(shape)};'
        f' {advice}.'
      )
    params[keys] = _to_flax(keys[-1], tensor)
  left = [k for k in tensors if k.rpartition('.')[2] not in unused]
  if left:
    raise ValueError(
      f'{file} has {len(left)} keys that the network lacks, the first is'
      f' {left[0]}; {advice}.'
    )
  return traverse_util.unflatten_dict(params)


def _load(file: epath.Path, source: str) -> dict[str, np.ndarray]:
  try:
    return tensors_lib.load(file)
  except FileNotFoundError as e:
    raise ValueError(
      f'{file} is missing; download'
      f' https://huggingface.co/{source}/resolve/main/{FILE_NAME} and put it'
      ' there.'
    ) from e
  except ValueError as e:
    raise ValueError(
      f'{file} is no safetensors file ({e}); download {FILE_NAME} of {source}'
      ' again.'
    ) from e


def _take(
  tensors: dict[str, np.ndarray], key: str, file: epath.Path
) -> np.ndarray | None:
  """Removes a parameter from `tensors`, folded and in float32."""

  def floats(name):
    tensor = tensors.pop(name)
    if not tensors_lib.is_floating(tensor):
      raise ValueError(
        f'{file}: {name} is {tensor.dtype} {list(tensor.shape)}, wanted floats.'
      )
    return tensor.astype(np.float32)

  if key in tensors:
    return floats(key)
  module, _, name = key.rpartition('.')
  for factors in _FACTORS:
    magnitude, direction = (f'{module}.{f.format(name)}' for f in factors)
    if magnitude in tensors and direction in tensors:
      g, v = floats(magnitude), floats(direction)
      norm = np.sqrt(np.sum(v**2, axis=tuple(range(1, v.ndim)), keepdims=True))
      return v * (g / norm)
  return None


def published_shape(leaf: str, shape: tuple[int, ...]) -> tuple[int, ...]:
  """The shape in a published file of a parameter named `leaf`.

  >>> published_shape('kernel', (7, 1, 64))
  (64, 1, 7)
  """
  match leaf:
    case 'kernel':
      size, inputs, outputs = shape
      return outputs, inputs, size
    case 'taps':
      halves, inputs, stride, outputs = shape
      return inputs, outputs, halves * stride
    case 'alpha':
      return 1, *shape, 1
  return shape


def _to_flax(leaf: str, tensor: np.ndarray) -> np.ndarray:
  match leaf:
    case 'kernel':
      tensor = tensor.transpose(2, 1, 0)
    case 'taps':
      # [in, out, 2 * stride] -> [2, in, stride, out]; a step writes with the
      # second half of its kernel where the next one writes with the first.
      inputs, outputs, size = tensor.shape
      halves = tensor.reshape(inputs, outputs, 2, size // 2)[:, :, ::-1]
      tensor = halves.transpose(2, 0, 3, 1)
    case 'alpha':
      tensor = tensor.reshape(-1)
  return np.ascontiguousarray(tensor)
