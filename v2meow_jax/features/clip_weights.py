"""Reads CLIP's published weights as parameters of a `clip.ImageTower`.

Both files of https://huggingface.co/openai/clip-vit-large-patch14 are read:
model.safetensors, in PyTorch's names and orders of axes, and
flax_model.msgpack. The text tower is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
import mmap
import os
import pathlib
from typing import Any

from flax import serialization
from flax import traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import safetensors

from v2meow_jax.features import clip

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
  tensors = _read_safetensors(file) if pytorch else _read_msgpack(file)
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
      break
  else:
    tried = ' nor '.join(str(c) for c in candidates)
    raise FileNotFoundError(
      f'no CLIP weights: there is no {tried}; {_ADVICE} and put it there.'
    )
  if file.suffix not in ('.safetensors', '.msgpack'):
    raise ValueError(
      f'{file} is a {file.suffix or "nameless"} file; wanted .safetensors or'
      f' .msgpack: {_ADVICE}.'
    )
  return file


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


def _read_safetensors(file: pathlib.Path) -> dict[str, np.ndarray]:
  """The image tower's tensors by name."""
  try:
    with safetensors.safe_open(file, 'numpy') as f:
      keys = [k for k in f.keys() if k.partition('.')[0] in _TOWER]
      return {k: f.get_tensor(k) for k in keys if k != _POSITION_IDS}
  except safetensors.SafetensorError as e:
    raise ValueError(
      f'{file} is damaged or no safetensors file: {e}; {_ADVICE} again.'
    ) from e


def _read_msgpack(file: pathlib.Path) -> dict[str, np.ndarray]:
  """The image tower's tensors by path."""
  try:
    with (
      file.open('rb') as f,
      mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ) as data,
    ):
      tree = serialization.msgpack_restore(data)
    towers = {k: v for k, v in tree.items() if k in _TOWER}
    flat = traverse_util.flatten_dict(towers, sep='/')
    return {k: np.asarray(v) for k, v in flat.items()}
  except (ValueError, TypeError, AttributeError) as e:
    raise ValueError(
      f'{file} is damaged or no parameters of Flax: {e}; {_ADVICE} again.'
    ) from e
