"""Verifies a saved step while training goes on."""

import threading

from etils import epath
import jax

from v2meow_jax.training import distributed
from v2meow_jax.training.checkpoints import stored_step

_PENDING, _GOOD, _UNREADABLE, _DAMAGED = range(4)


class Verification:
  """One reading of a step, on a thread of the first process.

  The other processes wait for no file: they learn the verdict when they ask for
  it together.

  Attributes:
    step: Number of the step.
  """

  def __init__(self, step_path: epath.Path):
    """Starts reading, in the first process."""
    self.step = int(step_path.name)
    self._path = step_path
    self._cause: BaseException | None = None
    self._thread = None
    if jax.process_index() == 0:
      # A daemon: a run that fails does not wait for a reading.
      self._thread = threading.Thread(
        target=self._read, name='verification', daemon=True
      )
      self._thread.start()

  def _read(self) -> None:
    try:
      stored_step.verify(self._path)
    except BaseException as e:  # The training thread asks for it.
      self._cause = e

  def is_done(self, *, waits: bool = False) -> bool:
    """Whether the step was read; all processes ask together.

    Args:
      waits: Whether to wait until it was.

    Raises:
      stored_step.DamagedError: The step differs from its digests.
      stored_step.UnreadableError: The storage gave no answer.
    """
    verdict = distributed.worst(self._verdict(waits))
    cause = self._cause or 'the first process says so'
    if verdict == _DAMAGED:
      raise stored_step.DamagedError(str(cause))
    if verdict == _UNREADABLE:
      raise stored_step.UnreadableError(str(cause))
    return verdict == _GOOD

  def _verdict(self, waits: bool) -> int:
    if self._thread is None:
      return _PENDING
    if waits:
      self._thread.join()
    if self._thread.is_alive():
      return _PENDING
    if self._cause is None:
      return _GOOD
    is_damage = isinstance(self._cause, stored_step.DamagedError)
    return _DAMAGED if is_damage else _UNREADABLE
