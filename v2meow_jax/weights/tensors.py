"""Tensors of a published file, each taken by its name and with its shape."""

from __future__ import annotations

from collections.abc import Mapping
import mmap
import os
import pathlib
from typing import Any
from typing import cast

from flax import serialization
from flax import traverse_util
import numpy as np
import safetensors


class Tensors:
  """What a file of weights holds, and what to say when it is another file."""

  def __init__(self, tensors: Mapping[str, Any], wanted: str):
    """Wraps tensors.

    Args:
      tensors: By name.
      wanted: What the file should be, for errors.
    """
    self._tensors = tensors
    self._wanted = wanted

  def has(self, prefix: str) -> bool:
    """Whether a name begins with `prefix`."""
    return any(name.startswith(prefix) for name in self._tensors)

  def take(self, name: str, *shape: int) -> np.ndarray:
    """One tensor as float32; ValueError unless it is there, so, and finite."""
    if name not in self._tensors:
      some = ', '.join(sorted(self._tensors)[:3])
      raise ValueError(
        f'the weights have no {name!r} among their {len(self._tensors)} tensors'
        f' ({some}, ...); wanted {self._wanted}.'
      )
    found = np.asarray(self._tensors[name])
    if found.shape != shape:
      raise ValueError(
        f'{name!r} of the weights has shape {found.shape}, wanted {shape}: it'
        f' is not {self._wanted}, or not of the configured sizes.'
      )
    found = found.astype(np.float32)
    if not np.isfinite(found).all():
      raise ValueError(f'{name!r} of the weights is not finite; get it again.')
    return found


def load(
  path: str | os.PathLike, prefixes: str | tuple[str, ...] = ''
) -> dict[str, np.ndarray]:
  """The tensors of a file, by name; of a nested tree as 'a/b/c'.

  Args:
    path: .safetensors, .npz, what Flax serialised (.msgpack or no suffix), or
      the folder of an Orbax checkpoint. A pickle (.pt, .pth, .bin) is not read:
      it runs what it holds.
    prefixes: What a name begins with; other tensors are left out, and in a
      safetensors or npz file not even read.

  Returns:
    {name: array}.

  Raises:
    FileNotFoundError: There is no such file.
    ValueError: It is of another kind, or damaged.
  """
  file = pathlib.Path(path)
  if (file / _ORBAX).is_file():
    return _read_orbax(file, prefixes)
  if not file.is_file():
    raise FileNotFoundError(f'there are no weights at {file}.')
  if file.suffix not in _READERS:
    raise ValueError(
      f'{file} is a {file.suffix} file; wanted .safetensors, .npz or what Flax'
      ' serialised. A PyTorch pickle runs what it holds: convert it with'
      ' torch.load(..., weights_only=True) and safetensors.'
    )
  try:
    return _READERS[file.suffix](file, prefixes)
  except Exception as e:
    raise ValueError(f'{file} is damaged or another kind of file: {e}') from e


def names(path: str | os.PathLike) -> list[str]:
  """The names of the tensors of a file; of a safetensors reads its header only.

  Of a TFLite file, whose graph no reader here takes apart, it is the four
  letters by which such a file names its kind, 'TFL3'.

  Raises:
    FileNotFoundError, ValueError: As `load`.
  """
  file = pathlib.Path(path)
  if file.suffix == '.tflite' and file.is_file():
    with file.open('rb') as f:
      return [f.read(8)[4:].decode('ascii', 'replace')]
  if file.suffix != '.safetensors' or not file.is_file():
    return list(load(file))
  try:
    with safetensors.safe_open(file, 'numpy') as opened:
      return list(opened.keys())
  except safetensors.SafetensorError as e:
    raise ValueError(f'{file} is damaged or another kind of file: {e}') from e


def _read_safetensors(file, prefixes) -> dict[str, np.ndarray]:
  with safetensors.safe_open(file, 'numpy') as f:
    return {k: f.get_tensor(k) for k in f.keys() if k.startswith(prefixes)}


def _read_npz(file, prefixes) -> dict[str, np.ndarray]:
  with np.load(file, allow_pickle=False) as arrays:
    return {k: arrays[k] for k in arrays if k.startswith(prefixes)}


def _read_flax(file, prefixes) -> dict[str, np.ndarray]:
  with (
    file.open('rb') as f,
    mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ) as content,
  ):
    # A buffer will do: read whole, a large file would be in memory twice.
    tree = serialization.msgpack_restore(cast(bytes, content))
  flat = traverse_util.flatten_dict(tree, sep='/')
  return {k: np.asarray(x) for k, x in flat.items() if k.startswith(prefixes)}


# In the folder of a checkpoint that `ocp.PyTreeCheckpointer` wrote.
_ORBAX = '_METADATA'


def _read_orbax(folder: pathlib.Path, prefixes) -> dict[str, np.ndarray]:
  """Whole, as arrays of this process whatever devices they were saved from."""
  import orbax.checkpoint as ocp

  checkpointer = ocp.PyTreeCheckpointer()
  try:
    about: Any = checkpointer.metadata(folder.resolve())
    tree = about.item_metadata.tree
    as_numpy = ocp.RestoreArgs(restore_type=np.ndarray)
    wanted = dict.fromkeys(traverse_util.flatten_dict(tree), as_numpy)
    tree = checkpointer.restore(
      folder.resolve(), restore_args=traverse_util.unflatten_dict(wanted)
    )
    flat = traverse_util.flatten_dict(tree, sep='/')
  except Exception as e:
    raise ValueError(f'{folder} is a damaged checkpoint: {e}') from e
  return {k: np.asarray(x) for k, x in flat.items() if k.startswith(prefixes)}


_READERS = {
  '.safetensors': _read_safetensors,
  '.npz': _read_npz,
  '.msgpack': _read_flax,
  '': _read_flax,
}
