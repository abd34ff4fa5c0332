"""Reads published files of tensors, and takes tensors by name and shape."""

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


class NamedTensors(dict[str, np.ndarray]):
  """Tensors by name, with the file that they were read from, for errors.

  Attributes:
    file: File that the tensors were read from.
  """

  def __init__(self, tensors: Mapping[str, np.ndarray], file: pathlib.Path):
    """Copies the dict, not the arrays."""
    super().__init__(tensors)
    self.file = file


class Tensors:
  """Takes tensors of a file, with errors that say what was wanted instead."""

  def __init__(
    self,
    tensors: Mapping[str, Any],
    wanted: str,
    artefact: str | None = None,
  ):
    """Wraps tensors.

    Args:
      tensors: Tensors by name.
      wanted: Description of the wanted file, for errors.
      artefact: Name in the ledger, if it is there, for errors.
    """
    self._tensors = dict(tensors)
    self._taken: set[str] = set()
    self._file = (
      tensors.file if isinstance(tensors, NamedTensors) else 'the file'
    )
    self._wanted = wanted
    if artefact is not None:
      page = ledger.find(artefact).page
      self._wanted += f': `v2meow weights fetch {artefact}`, or see {page}'

  def has(self, prefix: str) -> bool:
    """Whether a name begins with `prefix`."""
    return any(name.startswith(prefix) for name in self._tensors)

  def left(self) -> dict[str, tuple[int, ...]]:
    """Shapes of the tensors that were not taken, by sorted names."""
    left = sorted(self._tensors.keys() - self._taken)
    return {name: np.shape(self._tensors[name]) for name in left}

  def take(self, name: str, *shape: int) -> np.ndarray:
    """Takes one tensor, as float32; it may be taken again.

    Args:
      name: Name of the tensor.
      *shape: Expected shape.

    Returns:
      The tensor, whatever floats the file has.

    Raises:
      ValueError: It is missing, of another shape, no floats, or not finite;
        names the file, the tensor, what it is and what was wanted.
    """
    floats = f'wanted floats of shape {shape}'
    if name not in self._tensors:
      some = ', '.join(sorted(self._tensors)[:3])
      raise ValueError(
        f'{self._file} has no {name!r}, {floats}, among its'
        f' {len(self._tensors)} tensors ({some}, ...); wanted {self._wanted}.'
      )
    self._taken.add(name)
    tensor = np.asarray(self._tensors[name])
    if tensor.shape != shape or not is_floating(tensor):
      raise ValueError(
        f'{self._file} has {name!r} as {tensor.dtype} of shape {tensor.shape};'
        f' {floats}. It is of other sizes than configured, or not'
        f' {self._wanted}.'
      )
    tensor = tensor.astype(np.float32)
    if not np.isfinite(tensor).all():
      raise ValueError(
        f'{self._file} has {name!r} with numbers that are not finite; get it'
        f' again: {self._wanted}.'
      )
    return tensor

  def dense(
    self, name: str, inputs: int, outputs: int
  ) -> dict[str, np.ndarray]:
    """Parameters of a `flax.linen.Dense` from `name`'s weight and bias.

    Args:
      name: Name of the layer, as PyTorch's `Linear` has it.
      inputs: Width of what comes in.
      outputs: Width of what comes out.
    """
    return {
      'kernel': self.take(f'{name}.weight', outputs, inputs).T,
      'bias': self.take(f'{name}.bias', outputs),
    }

  def norm(self, name: str, dim: int) -> dict[str, np.ndarray]:
    """Parameters of a `flax.linen.LayerNorm` of `dim` numbers from `name`'s."""
    return {
      'scale': self.take(f'{name}.weight', dim),
      'bias': self.take(f'{name}.bias', dim),
    }


def is_floating(tensor: np.ndarray) -> bool:
  """Whether a tensor holds floats, including bfloat16."""
  # bfloat16 is no float to NumPy, because a library adds it.
  return tensor.dtype.kind == 'f' or tensor.dtype.name == 'bfloat16'


def load(
  path: str | os.PathLike, prefixes: str | tuple[str, ...] = ''
) -> NamedTensors:
  """Reads the tensors of a file by name; names in nested trees are 'a/b/c'.

  Args:
    path: .safetensors, .npz, what Flax serialised (.msgpack or no suffix), or
      the folder of an Orbax checkpoint. A pickle (.pt, .pth, .bin) is not read,
      because it can run code.
    prefixes: Prefixes of the names to read; other tensors are skipped, and in a
      safetensors or npz file not even read.

  Returns:
    {name: array}.

  Raises:
    FileNotFoundError: There is no such file.
    ValueError: It is of another kind, or damaged.
  """
  file = pathlib.Path(path)
  if (file / _ORBAX).is_file():
    return NamedTensors(_read_orbax(file, prefixes), file)
  if not file.is_file():
    raise FileNotFoundError(f'there are no weights at {file}.')
  if file.suffix not in _READERS:
    raise ValueError(
      f'{file} is a {file.suffix} file; wanted .safetensors, .npz or what Flax'
      ' serialised. A PyTorch pickle can run code: convert it with'
      ' torch.load(..., weights_only=True) and safetensors.'
    )
  try:
    return NamedTensors(_READERS[file.suffix](file, prefixes), file)
  except Exception as e:
    raise ValueError(f'{file} is damaged or another kind of file: {e}') from e


def names(path: str | os.PathLike) -> list[str]:
  """Reads the names of the tensors of a file; of safetensors, the header only.

  For a TFLite file, whose graph is not parsed here, returns the four letters
  that identify its format, 'TFL3'.

  Raises:
    FileNotFoundError, ValueError: See `load`.
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
    # A buffer is enough; reading it whole would hold a large file twice.
    tree = serialization.msgpack_restore(cast(bytes, content))
  flat = traverse_util.flatten_dict(tree, sep='/')
  return {k: np.asarray(x) for k, x in flat.items() if k.startswith(prefixes)}


# A file in folders that `ocp.PyTreeCheckpointer` wrote.
_ORBAX = '_METADATA'


def _read_orbax(folder: pathlib.Path, prefixes) -> dict[str, np.ndarray]:
  """Reads all arrays to this process, whatever devices they were saved from."""
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
