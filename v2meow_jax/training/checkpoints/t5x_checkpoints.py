"""Reads checkpoints of T5X, which are orbax trees, without T5X.

T5X stores the state after step n in `MODEL_DIR/checkpoint_<n>`: the parameters
under 'target', the optimiser under 'state'.
"""

from typing import Any

from etils import epath
import jax
import numpy as np
import orbax.checkpoint as ocp

from v2meow_jax.training.checkpoints import stored_step

_FOLDERS = ocp.path.step.standard_name_format(step_prefix='checkpoint')


def find(path: epath.PathLike) -> dict[int, epath.Path]:
  """Finds the finished checkpoints of T5X.

  Args:
    path: A MODEL_DIR, or one `checkpoint_<step>` in it.

  Returns:
    {step: folder}, empty if there are none.
  """
  path = stored_step.absolute(path)
  # T5X's own glob also matches half-written folders of a killed run.
  inside = {m.step: m.path for m in _FOLDERS.find_all(path)}
  beside = {m.step: m.path for m in _FOLDERS.find_all(path.parent)}
  return inside or {step: p for step, p in beside.items() if p == path}


def restore_variables(path: epath.PathLike) -> tuple[dict[str, Any], int]:
  """Restores the newest variables of T5X as numpy arrays, and their step.

  Args:
    path: A MODEL_DIR of T5X, or one `checkpoint_<step>` in it.

  Returns:
    ({'params': ...}, step).

  Raises:
    FileNotFoundError: There is no checkpoint.
  """
  folders = find(path)
  if not folders:
    raise FileNotFoundError(f'{path} holds no checkpoint_<step> of T5X.')
  step = max(folders)
  with ocp.PyTreeCheckpointer() as checkpointer:
    folder = folders[step] / 'state'
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
