"""Reads CLIP's published weights as parameters of a `clip.ImageTower`.

Both files of https://huggingface.co/openai/clip-vit-large-patch14 are read:
model.safetensors, in PyTorch's names and orders of axes, and
flax_model.msgpack. The text tower is left out.
"""

import os
import pathlib
from typing import Any

from flax import traverse_util
import jax
import jax.numpy as jnp
import numpy as np

from v2meow_jax.pretrained import tensors
from v2meow_jax.pretrained.vision import clip

_FILES = ('model.safetensors', 'flax_model.msgpack')
_ADVICE = (
  'download model.safetensors or flax_model.msgpack (1.71 GB each) from'
  ' https://huggingface.co/openai/clip-vit-large-patch14'
)
# Our modules and parameters -> the published ones; a layer's are inside it.
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
  path: str | os.PathLike, config: clip.ImageTowerConfig = clip.VIT_L_14
) -> dict[str, Any]:
  """Parameters of `clip.ImageTower(config)`.

  Args:
    path: A .safetensors or .msgpack file in the published layout, or a folder
      that holds one under its published name.
    config: Sizes of the tower.

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
    source = tensors.Tensors(
      tensors.load(file, _TOWER), f'weights of {config}', 'clip-vit-l14'
    )
  except ValueError as e:
    raise ValueError(f'{e}; {_ADVICE}.') from e
  params = {}
  for name, shape in _shapes(config).items():
    axes = tuple(range(len(shape)))
    if pytorch and name[-1] == 'kernel':
      axes = _PYTORCH_AXES[len(shape)]
    tensor = source.take(_key(name, pytorch), *(shape[i] for i in axes))
    params[name] = np.ascontiguousarray(tensor.transpose(np.argsort(axes)))
  for key, shape in source.left().items():
    if key != _POSITION_IDS:
      raise ValueError(
        f'{file} has {key!r} of shape {list(shape)}, which'
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


def _shapes(
  config: clip.ImageTowerConfig,
) -> dict[tuple[str, ...], tuple[int, ...]]:
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
