"""Reads CLIP's published weights as parameters of a `clip.ImageTower`.

Both files of https://huggingface.co/openai/clip-vit-large-patch14 are read:
model.safetensors, in PyTorch's names and orders of axes, and
flax_model.msgpack. The text tower is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
import os
import pathlib
from typing import Any

from flax import traverse_util
import jax
import jax.numpy as jnp
import numpy as np

from v2meow_jax.pretrained import tensors as tensors_lib
from v2meow_jax.pretrained.vision import clip

_FILES = ('model.safetensors', 'flax_model.msgpack')
_ADVICE = (
  'download model.safetensors or flax_model.msgpack (1.71 GB each) from'
  ' https://huggingface.co/openai/clip-vit-large-patch14'
)
# Our modules and parameters -> those published; a layer's are within it.
_PUBLISHED = {
  'class': 'vision_model/embeddings/class_embedding',
  'positions': 'vision_model/embeddings/position_embedding/embedding',
  'patches': 'vision_model/embeddings/patch_embedding',
  'first_norm': 'vision_model/pre_layrnorm',  # Spelt so.
  'last_norm': 'vision_model/post_layernorm',
  'projection': 'visual_projection',
  'attention_norm': 'layer_norm1',
  'query': 'self_attn/q_proj',
  'key': 'self_attn/k_proj',
  'value': 'self_attn/v_proj',
  'out': 'self_attn/out_proj',
  'mlp_norm': 'layer_norm2',
  'wide': 'mlp/fc1',
  'narrow': 'mlp/fc2',
}
_TOWER = ('vision_model', 'visual_projection')
# 0, 1, 2, ...: in older files, and not a parameter.
_POSITION_IDS = 'vision_model.embeddings.position_ids'
# Axes of our kernels, by their number, in the order in which PyTorch has them.
_PYTORCH_AXES = {2: (1, 0), 4: (3, 2, 0, 1)}


def read(
  path: str | os.PathLike, config: clip.TowerConfig = clip.VIT_L_14
) -> dict[str, Any]:
  """Parameters of `clip.ImageTower(config)`.

  Args:
    path: A .safetensors or .msgpack file in the published layout, or a folder
      that holds one under its published name.
    config: Sizes of the tower that is wanted.

  Returns:
    A nested dict of float32 arrays, whatever floats the file has.

  Raises:
    FileNotFoundError: There is no such file; says where to get it.
    ValueError: The file is damaged, of another kind or of another network;
      names the tensor, what it is and what was wanted.
  """
  file = _find(pathlib.Path(path))
  pytorch = file.suffix == '.safetensors'
  try:
    tensors = tensors_lib.load(file, _TOWER)
  except ValueError as e:
    raise ValueError(f'{e}; {_ADVICE}.') from e
  tensors.pop(_POSITION_IDS, None)
  params = {}
  for name, shape in _shapes(config).items():
    axes = tuple(range(len(shape)))
    if pytorch and name[-1] == 'kernel':
      axes = _PYTORCH_AXES[len(shape)]
    key = _key(name, pytorch)
    tensor = _take(tensors, key, [shape[i] for i in axes], file)
    ours = tensor.transpose(np.argsort(axes))
    params[name] = np.ascontiguousarray(ours, np.float32)
  if tensors:
    key = min(tensors)
    raise ValueError(
      f'{file} has {key!r} of shape {list(tensors[key].shape)}, which'
      f' {config} has not; {_ADVICE}, or choose the config of this file.'
    )
  return traverse_util.unflatten_dict(params)


def _find(path: pathlib.Path) -> pathlib.Path:
  """The file itself, or the one in a folder."""
  candidates = [path / name for name in _FILES] if path.is_dir() else [path]
  for file in candidates:
    if file.is_file():
      return file
  tried = ' nor '.join(str(c) for c in candidates)
  raise FileNotFoundError(
    f'no CLIP weights: there is no {tried}; {_ADVICE} and put it there.'
  )


def _shapes(config: clip.TowerConfig) -> dict[tuple[str, ...], tuple[int, ...]]:
  """Shape of every parameter of a tower by its path."""
  pixels = jnp.zeros((1, config.image_size, config.image_size, 3))
  tower = clip.ImageTower(config)
  variables = jax.eval_shape(tower.init, jax.random.key(0), pixels)
  flat = traverse_util.flatten_dict(variables['params'])
  return {name: leaf.shape for name, leaf in flat.items()}


def _key(name: tuple[str, ...], pytorch: bool) -> str:
  """Published name of a parameter.

  >>> _key(('layer_3', 'query', 'kernel'), pytorch=True)
  'vision_model.encoder.layers.3.self_attn.q_proj.weight'
  """
  parts = []
  for part in name:
    layer = part.removeprefix('layer_')
    if layer != part:
      part = f'vision_model/encoder/layers/{layer}'
    parts += _PUBLISHED.get(part, part).split('/')
  if not pytorch:
    return '/'.join(parts)
  if parts[-1] in ('kernel', 'scale', 'embedding'):
    parts[-1] = 'weight'
  return '.'.join(parts)


def _take(
  tensors: dict[str, np.ndarray],
  key: str,
  shape: Sequence[int],
  file: pathlib.Path,
) -> np.ndarray:
  """Removes a tensor; raises ValueError unless it is there as wanted."""
  if key not in tensors:
    raise ValueError(
      f'{file} lacks {key!r}, wanted as floats of shape {list(shape)}; of what'
      f' is left of its image tower, the first are {sorted(tensors)[:3]};'
      f' {_ADVICE}, or choose the config of this file.'
    )
  tensor = tensors.pop(key)
  floats = jnp.issubdtype(tensor.dtype, jnp.floating)
  if not floats or tensor.shape != tuple(shape):
    raise ValueError(
      f'{file} has {key!r} as {tensor.dtype} of shape {list(tensor.shape)};'
      f' wanted floats of shape {list(shape)}; {_ADVICE}, or choose the config'
      ' of this file.'
    )
  return tensor
