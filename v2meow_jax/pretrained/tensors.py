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

from v2meow_jax.pretrained import ledger


class State(dict[str, np.ndarray]):
  """Tensors by name, and for errors the file that they were read of.

  Attributes:
    file: Of `load`.
  """

  def __init__(self, tensors: Mapping[str, np.ndarray], file: pathlib.Path):
    """Copies tensors, not their numbers."""
    super().__init__(tensors)
    self.file = file


class Tensors:
  """What a file of weights holds, and what to say when it is another file."""

  def __init__(
    self,
    tensors: Mapping[str, Any],
    wanted: str,
    artefact: str | None = None,
  ):
    """Wraps tensors.

    Args:
      tensors: By name.
      wanted: What the file should be, for errors.
      artefact: Its name in the ledger, where it is there, for errors too.
    """
    self._tensors = tensors
    self._file = tensors.file if isinstance(tensors, State) else 'the file'
    self._wanted = wanted
    if artefact is not None:
      page = ledger.find(artefact).page
      self._wanted += f': `v2meow weights fetch {artefact}`, or see {page}'

  def has(self, prefix: str) -> bool:
    """Whether a name begins with `prefix`."""
    return any(name.startswith(prefix) for name in self._tensors)

  def take(self, name: str, *shape: int) -> np.ndarray:
    """One tensor as float32.

    Args:
      name: Of the tensor.
      *shape: That it should have.

    Returns:
      The tensor, whatever floats the file has.

    Raises:
      ValueError: It is not there, or not so, or not finite; names the file,
        the tensor, what it is and what was wanted.
    """
    floats = f'wanted floats of shape {shape}'
    if name not in self._tensors:
      some = ', '.join(sorted(self._tensors)[:3])
      raise ValueError(
        f'{self._file} has no {name!r}, {floats}, among its'
        f' {len(self._tensors)} tensors ({some}, ...); wanted {self._wanted}.'
      )
    found = np.asarray(self._tensors[name])
    if found.shape != shape or not is_floating(found):
      raise ValueError(
        f'{self._file} has {name!r} as {found.dtype} of shape {found.shape};'
        f' {floats}. It is of other sizes than configured, or not'
        f' {self._wanted}.'
      )
    found = found.astype(np.float32)
    if not np.isfinite(found).all():
      raise ValueError(
        f'{self._file} has {name!r} with numbers that are not finite; get it'
        f' again: {self._wanted}.'
      )
    return found


def is_floating(tensor: np.ndarray) -> bool:
  """Whether a tensor holds floats, bfloat16 among them."""
  # To NumPy, bfloat16 is no float: a library adds it.
  return tensor.dtype.kind == 'f' or tensor.dtype.name == 'bfloat16'


def load(
  path: str | os.PathLike, prefixes: str | tuple[str, ...] = ''
) -> State:
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
    return State(_read_orbax(file, prefixes), file)
  if not file.is_file():
    raise FileNotFoundError(f'there are no weights at {file}.')
  if file.suffix not in _READERS:
    raise ValueError(
      f'{file} is a {file.suffix} file; wanted .safetensors, .npz or what Flax'
      ' serialised. A PyTorch pickle runs what it holds: convert it with'
      ' torch.load(..., weights_only=True) and safetensors.'
    )
  try:
    return State(_READERS[file.suffix](file, prefixes), file)
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
