"""Reads what T5X saved, without T5X: its checkpoints are orbax trees.

T5X keeps the state after step n in `MODEL_DIR/checkpoint_<n>`: the parameters
under 'target', the optimiser under 'state'.
"""

from __future__ import annotations

from typing import Any

from etils import epath
import jax
import numpy as np
import orbax.checkpoint as ocp

from v2meow_jax.training.checkpoints import stored_step

_FOLDERS = ocp.path.step.standard_name_format(step_prefix='checkpoint')


def find(path: epath.PathLike) -> dict[int, epath.Path]:
  """The checkpoints that T5X finished, by step.

  Args:
    path: A MODEL_DIR, or one `checkpoint_<step>` in it.

  Returns:
    {step: folder}, {} when T5X saved nothing there.
  """
  path = stored_step.absolute(path)
  # T5X's own glob sees folders that a killed run left half written.
  found = {m.step: m.path for m in _FOLDERS.find_all(path)}
  one = {m.step: m.path for m in _FOLDERS.find_all(path.parent)}
  return found or {step: p for step, p in one.items() if p == path}


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
