"""Converts weights of PyTorch or TensorFlow to safetensors in a subprocess.

A pickle can run code. `weights_only` makes PyTorch build tensors and plain
containers only; the subprocess contains a hole in that, and the memory.
Integer arrays are also allowed, because training leaves some beside the state,
as in PANNs.

A TensorFlow checkpoint holds tensors by name. Only the checkpoint of a
SavedModel is read, so the program in it never runs.
"""

import importlib.util
import os
import pathlib
import re
import subprocess
import sys
from typing import Literal

import v2meow_jax

Kind = Literal['torch', 'tensorflow']

_TIMEOUT_SECONDS = 1800
# Keeps the tensors of the state, which Lightning calls 'state_dict'.
_TORCH = """
import sys
import numpy as np
import torch
from safetensors import torch as safetensors_torch
source, target = sys.argv[1:]
reconstruct = np.empty(0).__reduce__()[0]
torch.serialization.add_safe_globals([
  (reconstruct, 'numpy.core.multiarray._reconstruct'),  # Before NumPy 2.
  (reconstruct, 'numpy._core.multiarray._reconstruct'),
  np.ndarray, np.dtype, np.dtypes.Int64DType,
])
state = torch.load(source, map_location='cpu', weights_only=True)
for name in ('state_dict', 'model'):
  if isinstance(state.get(name), dict):
    state = state[name]
tensors = {k: v.contiguous().clone() for k, v in state.items()
           if isinstance(v, torch.Tensor)}
if not tensors:
  sys.exit('it holds no tensors by name')
safetensors_torch.save_file(tensors, target)
"""
# Drops integers and strings: steps and the graph of objects.
# Keras is two fifths of what TensorFlow imports; with the older one asked for, which
# is not there, TensorFlow goes without.
_TENSORFLOW = """
import os
import sys
os.environ.update(TF_CPP_MIN_LOG_LEVEL='3', CUDA_VISIBLE_DEVICES='',
                  TF_USE_LEGACY_KERAS='1')
import numpy as np
from safetensors import numpy as safetensors_numpy
import tensorflow as tf
source, target = sys.argv[1:]
try:
  reader = tf.train.load_checkpoint(source)
  tensors = {name: np.asarray(reader.get_tensor(name), order='C')
             for name, dtype in reader.get_variable_to_dtype_map().items()
             if dtype.is_floating}
except (tf.errors.OpError, ValueError) as e:
  sys.exit(f'Error: {e}')
if not tensors:
  sys.exit('it holds no weights by name')
safetensors_numpy.save_file(tensors, target)
"""
_PROGRAMS: dict[Kind, str] = {'torch': _TORCH, 'tensorflow': _TENSORFLOW}
_WANTED: dict[Kind, str] = {
  'torch': (
    'Wanted a state of tensors by name, which PyTorch loads with'
    ' weights_only=True.'
  ),
  'tensorflow': (
    'Wanted a checkpoint of TensorFlow, with all its files, or a SavedModel.'
  ),
}
# What such a file is, what converts it, and the extra that brings that.
_NEEDED: dict[Kind, tuple[str, str, str]] = {
  'torch': ('PyTorch file', 'PyTorch', 'hub'),
  'tensorflow': ('checkpoint of TensorFlow', 'TensorFlow', 'data'),
}
# How files of the first version end, and indices of the second (LevelDB's
# tables).
_TABLE_END = bytes.fromhex('57fb808b247547db')


def require(kind: Kind = 'torch') -> None:
  """Raises ImportError unless the library for such files is installed."""
  if importlib.util.find_spec(kind) is None:
    file, library, extra = _NEEDED[kind]
    raise ImportError(
      f'a {file} is converted by {library}, which is not installed:'
      f' {v2meow_jax.extra_command(extra)}, or import a .safetensors that was converted'
      ' elsewhere'
    )


def tensorflow_files(path: str | os.PathLike) -> list[pathlib.Path]:
  """Finds the files of a TensorFlow checkpoint; none if it is something else.

  Args:
    path: Checkpoint of the first version, one file; or the prefix of one of the
      second (`model.ckpt` for `model.ckpt.index` and
      `model.ckpt.data-00000-of-00001`), or that index; or a folder with one
      such checkpoint; or a SavedModel.

  Returns:
    The one file, or the index and then the data.
  """
  path = pathlib.Path(path)
  if path.is_dir():
    indices = [*path.glob('*.index'), *path.glob('variables/*.index')]
    index = indices[0] if len(indices) == 1 else path / 'variables.index'
  elif path.suffix == '.index':
    index = path
  else:
    index = path.with_name(f'{path.name}.index')
  if index.is_file():
    data = f'{index.stem}.data-'
    parts = [p for p in index.parent.iterdir() if p.name.startswith(data)]
    return [index, *sorted(parts)]
  if path.is_file():
    with path.open('rb') as f:
      f.seek(max(0, path.stat().st_size - len(_TABLE_END)))
      if f.read() == _TABLE_END:
        return [path]
  return []


def to_safetensors(source: os.PathLike, target: os.PathLike) -> None:
  """Converts a .pt, .pth, .ckpt or .bin, or a checkpoint of TensorFlow.

  Args:
    source: Pickle or checkpoint.
    target: Safetensors file to write.

  Raises:
    ImportError: PyTorch or TensorFlow is not installed.
    ValueError: The file holds more than tensors, or none.
  """
  files = tensorflow_files(source)
  kind: Kind = 'tensorflow' if files else 'torch'
  require(kind)
  read = os.fspath(files[0]).removesuffix('.index') if files else source
  done = subprocess.run(
    [
      sys.executable,
      '-I',
      '-c',
      _PROGRAMS[kind],
      os.fspath(read),
      os.fspath(target),
    ],
    capture_output=True,
    text=True,
    timeout=_TIMEOUT_SECONDS,
  )
  if not done.returncode:
    return
  raise ValueError(
    f'{os.fspath(source)} cannot be converted: {_reason(done.stderr)}.'
    f' {_WANTED[kind]}'
  )


def _reason(stderr: str) -> str:
  """Extracts the reason of a failure from a program's stderr."""
  # PyTorch wraps it in advice to load the file all the same.
  if unpickler := re.search(r'WeightsUnpickler error:\s*(\S.*)', stderr):
    reason = unpickler.group(1)
  else:
    lines = stderr.strip().splitlines() or ['no message']
    raised = [x for x in lines if re.match(r'[\w.]*(Error|Exception)\b', x)]
    reason = (raised or lines)[-1]
  return reason.strip()[:300].rstrip('.')
