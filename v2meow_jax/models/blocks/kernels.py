"""Kernels of a network, the matrices of its products, in smaller types.

A kernel in int8 has a scale for each output channel, by which what it holds is
multiplied: {'int8': int8[...], 'scale': float32[...]} in place of one array.
Embeddings, norms and biases are no kernels and stay floats.
"""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

Params = Mapping[str, Any]  # A nested dict of arrays, layers apart.

# Axes that a product sums over, by the name of the kernel in `models.layers` and
# in the networks; the others are output channels.
SUMMED_AXES = {
  'query': (0,),
  'key': (0,),
  'value': (0,),
  'out': (0, 1),
  'wi_0': (0,),
  'wi_1': (0,),
  'wo': (0,),
  'logits': (1,),
}
_LARGEST = 127  # Symmetric: -128 is not used.


def quantised(params: Params) -> dict[str, Any]:
  """Parameters whose kernels are int8; what else they hold is float16.

  The largest weight of an output channel becomes +-127, so that no weight moves
  by more than half of a 127th of it.
  """
  return {
    name: quantised(value)
    if isinstance(value, Mapping)
    else _quantised(np.asarray(value, np.float32), SUMMED_AXES[name])
    if name in SUMMED_AXES
    else np.asarray(value, np.float16)
    for name, value in params.items()
  }


def _quantised(
  kernel: np.ndarray, summed: tuple[int, ...]
) -> dict[str, np.ndarray]:
  scale = np.abs(kernel).max(summed, keepdims=True) / _LARGEST
  scale[scale == 0] = 1.0
  return {
    'int8': np.rint(kernel / scale).astype(np.int8),
    'scale': scale.astype(np.float32),
  }


def dequantised(params: Params, path: str = '') -> dict[str, Any]:
  """Parameters as floats, whether their kernels are int8 or not.

  Args:
    params: Parameters, out of a file.
    path: Path of the parameters in the network, for errors.

  Returns:
    Parameters of the network.

  Raises:
    ValueError: An array is no float, or a kernel lacks a scale that fits it.
  """
  floats: dict[str, Any] = {}
  for name, value in params.items():
    here = f'{path}/{name}' if path else name
    if not isinstance(value, Mapping):
      if not np.issubdtype(value.dtype, np.floating):
        raise ValueError(f'{here} is of {value.dtype}; wanted floats.')
      floats[name] = value
    elif 'int8' in value:
      floats[name] = _dequantised(here, SUMMED_AXES.get(name), value)
    else:
      floats[name] = dequantised(value, here)
  return floats


def _dequantised(
  path: str, summed: tuple[int, ...] | None, pair: Params
) -> np.ndarray:
  stored, scale = pair['int8'], pair.get('scale')
  wanted = [
    1 if axis in (summed or ()) else size
    for axis, size in enumerate(stored.shape)
  ]
  if (
    summed is None
    or scale is None
    or set(pair) != {'int8', 'scale'}
    or (stored.dtype, scale.dtype) != (np.int8, np.float32)
    or list(scale.shape) != wanted
    or not np.isfinite(scale).all()
  ):
    arrays = {name: f'{x.dtype}{list(x.shape)}' for name, x in pair.items()}
    raise ValueError(
      f'{path} holds {arrays}; wanted int8 of a kernel, one of'
      f' {sorted(SUMMED_AXES)}, and a finite scale, float32{wanted}.'
    )
  return stored * scale


def cast(params: Params, dtype: str) -> dict[str, Any]:
  """Parameters whose kernels are of the type in which a network computes.

  A network casts its kernels itself, so this changes no result: it saves
  memory, and casting at every call. The arrays stay on the host, as they may be
  larger than a device.
  """
  return {
    name: cast(value, dtype)
    if isinstance(value, Mapping)
    else np.asarray(value).astype(jnp.dtype(dtype), copy=False)
    if name in SUMMED_AXES
    else value
    for name, value in params.items()
  }
