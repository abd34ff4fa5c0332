"""A PyTorch pickle as safetensors, by a process of its own.

A pickle runs what it holds. `weights_only` lets PyTorch build tensors and plain
containers and nothing else; that it happens in another process keeps a hole in
it, and its memory, away from this one. Arrays of whole numbers are let through
too: training leaves them beside the state, in PANNs for one.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys

_TIMEOUT_SECONDS = 1800
# Only tensors of the state are kept: of a Lightning checkpoint 'state_dict'.
_PROGRAM = """
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


def require() -> None:
  """Raises ImportError unless PyTorch is here to read its files."""
  if importlib.util.find_spec('torch') is None:
    raise ImportError(
      'a PyTorch file is converted by PyTorch, which is not installed: python'
      " -m pip install -c requirements.lock -e '.[dev]', or import a"
      ' .safetensors that was converted elsewhere'
    )


def to_safetensors(source: os.PathLike, target: os.PathLike) -> None:
  """Converts a .pt, .pth, .ckpt or .bin.

  Args:
    source: The pickle.
    target: Is written.

  Raises:
    ImportError: PyTorch is not installed.
    ValueError: The file holds more than tensors, or none.
  """
  require()
  done = subprocess.run(
    [
      sys.executable,
      '-I',
      '-c',
      _PROGRAM,
      os.fspath(source),
      os.fspath(target),
    ],
    capture_output=True,
    text=True,
    timeout=_TIMEOUT_SECONDS,
  )
  if not done.returncode:
    return
  lines = done.stderr.strip().splitlines() or ['it said nothing']
  reason = next((x for x in lines if 'Error' in x), lines[-1])
  raise ValueError(
    f'{os.fspath(source)} cannot be converted: {reason[:300]}. Wanted a state'
    ' of tensors by name, which PyTorch loads with weights_only=True.'
  )
