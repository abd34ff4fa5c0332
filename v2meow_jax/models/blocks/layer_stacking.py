"""Parameters of layers apart, as they are released, and stacked, as scanned.

Apart, `encoder_0`, `encoder_1`, ... each hold one layer; stacked, `encoder`
holds all of them, every array with the layer as its first axis.
"""

from collections.abc import Mapping
import re
from typing import Any

import jax
import jax.numpy as jnp

Params = Mapping[str, Any]  # A nested dict of arrays, not boxed.

# Names of what has layers.
STACKS = ('encoder', 'music', 'decoder')


def is_stacked(path: tuple[Any, ...]) -> bool:
  """Whether a parameter, by its path in the tree, has an axis of layers."""
  return bool(path) and getattr(path[0], 'key', None) in STACKS


def stack(params: Params) -> dict[str, Any]:
  """Joins the layers of each stack; what is stacked already stays as it is.

  Args:
    params: Parameters of a `transformer.Transformer`.

  Returns:
    Those of the same network with `scan_layers`.
  """
  stacked = dict(params)
  for name in STACKS:
    places = [k for k in params if re.fullmatch(rf'{name}_\d+', k)]
    layers = [stacked.pop(f'{name}_{i}') for i in range(len(places))]
    if layers:
      stacked[name] = jax.tree.map(lambda *x: jnp.stack(x), *layers)
  return stacked


def unstack(params: Params) -> dict[str, Any]:
  """The inverse of `stack`; what stands apart already stays as it is."""
  apart = dict(params)
  for name in STACKS:
    layers = apart.pop(name, None)
    if layers is None:
      continue
    for i in range(len(jax.tree.leaves(layers)[0])):
      apart[f'{name}_{i}'] = jax.tree.map(lambda x, i=i: x[i], layers)
  return apart
