"""Chooses the moments by which a stage standardises its inputs."""

from collections.abc import Callable
from typing import Any

from etils import epath

from v2meow_jax.training.checkpoints import checkpoints


def moments(
  model_dir: epath.PathLike, recorded: Callable[[], dict[str, Any]]
) -> dict[str, Any]:
  """Returns the moments of a run that was begun, or else of its records.

  So weights keep the moments that they were trained with, whatever is evaluated
  with them and wherever the run goes on.

  Args:
    model_dir: MODEL_DIR of the run.
    recorded: Function that reads the moments of the records.
  """
  if (epath.Path(model_dir) / checkpoints.DESCRIPTION_NAME).exists():
    return checkpoints.read_description(model_dir).get('moments', {})
  return recorded()
