"""Reads what T5X saved, without T5X: its checkpoints are orbax trees.

T5X keeps the state after step n in `MODEL_DIR/checkpoint_<n>`: the parameters
under 'target', the optimiser under 'state'.
"""

from __future__ import annotations

import re
from typing import Any

from etils import epath
import jax
import numpy as np
import orbax.checkpoint as ocp

_FOLDER = re.compile(r'checkpoint_(\d+)')


def find(path: epath.PathLike) -> dict[int, epath.Path]:
  """The checkpoints that T5X finished, by step.

  Args:
    path: A MODEL_DIR, or one `checkpoint_<step>` in it.

  Returns:
    {step: folder}, {} when T5X saved nothing there.
  """
  path = epath.Path(path).resolve()
  if _FOLDER.fullmatch(path.name):
    folders = [path]
  else:
    folders = list(path.glob('checkpoint_*'))
  steps = {f: _FOLDER.fullmatch(f.name) for f in folders}
  return {int(step[1]): f for f, step in steps.items() if step and f.is_dir()}


def restore_variables(path: epath.PathLike) -> tuple[dict[str, Any], int]:
  """The newest variables that T5X saved, as numpy arrays, and their step.

  Args:
    path: A MODEL_DIR that T5X trained in, or one `checkpoint_<step>` in it.

  Returns:
    ({'params': ...}, step).

  Raises:
    FileNotFoundError: T5X saved nothing there.
  """
  found = find(path)
  if not found:
    raise FileNotFoundError(f'{path} holds no checkpoint_<step> of T5X.')
  step = max(found)
  with ocp.PyTreeCheckpointer() as checkpointer:
    folder = found[step] / 'state'
    tree = checkpointer.metadata(folder).item_metadata.tree
    target = {'target': tree['target']}
    restored = checkpointer.restore(
      folder,
      args=ocp.args.PyTreeRestore(
        item=target,
        restore_args=jax.tree.map(
          lambda _: ocp.RestoreArgs(restore_type=np.ndarray), target
        ),
        # The moments of the optimiser stay on disk.
        partial_restore=True,
      ),
    )
  return {'params': restored['target']}, step
