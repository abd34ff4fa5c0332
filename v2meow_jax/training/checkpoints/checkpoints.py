"""Saves and restores a run with orbax, with config and facts beside the weights.

`Checkpoints.restore` sets damaged steps aside and uses the one before.
"""

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
import contextlib
import json
import secrets
import threading
import time
from typing import Any

from absl import logging
from etils import epath
import jax
import numpy as np
import orbax.checkpoint as ocp

from v2meow_jax.files import atomic
from v2meow_jax.files import paths
from v2meow_jax.training import distributed
from v2meow_jax.training import train_state
from v2meow_jax.training.checkpoints import digests
from v2meow_jax.training.checkpoints import run_facts
from v2meow_jax.training.checkpoints import run_lock
from v2meow_jax.training.checkpoints import stored_step
from v2meow_jax.training.checkpoints import t5x_checkpoints
from v2meow_jax.training.checkpoints import verification

CONFIG_NAME = 'config.gin'
DESCRIPTION_NAME = 'model.json'
CORRUPT = 'corrupt-'

CheckpointError = stored_step.CheckpointError

# Failed saves in a row that end a run.
MAX_FAILED_SAVES = 3

_FOLDER = 'checkpoints'
# How long writers of a failed save are waited for.
_WRITERS_SECONDS = 30.0


class SaveError(CheckpointError):
  """A state was not saved.

  Attributes:
    in_a_row: Number of saves that failed one after another, this one included.
  """

  in_a_row = 1


class Checkpoints:
  """Checkpoints of one model directory, locked for this writer.

  Saves are asynchronous; `close` waits for them, and so does leaving a `with`
  block. All processes of a job create one each and call it together.
  """

  def __init__(
    self,
    model_dir: epath.PathLike,
    *,
    max_to_keep: int = 2,
    keep_every: int | None = None,
  ):
    """Opens or creates `model_dir`.

    Args:
      model_dir: Directory of the run, local or in a bucket.
      max_to_keep: Number of newest steps to keep. Older ones are deleted only
        once a newer one was verified, which happens in the background.
      keep_every: Steps between permanent checkpoints; None: none are permanent.

    Raises:
      CheckpointError: The directory is not writable, or another trainer uses it.
    """
    self.path = stored_step.absolute(model_dir)
    self._steps_path = self.path / _FOLDER
    self._max_to_keep = max_to_keep
    self._keep_every = keep_every
    self._config_digest: str | None = None
    self._lock: run_lock.RunLock | None = None
    self._failed_in_row = 0
    self._is_under_way = False
    self._verification: verification.Verification | None = None
    self._verified_step = -1
    try:
      distributed.together(self._open, f'opening {self.path}')
    except OSError as e:
      raise CheckpointError(
        f'MODEL_DIR {self.path} cannot be written: {e}. Name another, or allow'
        ' writing there.'
      ) from e
    except distributed.ElsewhereError:
      if self._lock is not None:
        self._lock.release()
      raise
    except run_lock.LockedError as e:
      raise CheckpointError(str(e)) from e
    self._manager = ocp.CheckpointManager(
      self._steps_path,
      options=ocp.CheckpointManagerOptions(
        cleanup_tmp_directories=True,
        lightweight_initialize=True,
      ),
      item_names=('variables', 'optimizer', stored_step.INFO, digests.ITEM),
    )

  def _open(self):
    """Makes the folder, tries to write there and takes the lock."""
    self._steps_path.mkdir(parents=True, exist_ok=True)
    # In containers every process may have the same number.
    probe = self._steps_path / f'.writable-{secrets.token_hex(8)}'
    probe.write_text('', 'utf-8')
    probe.unlink()
    if jax.process_index() == 0:
      self._lock = run_lock.RunLock(self.path)
      # Orbax removes those of a disk itself.
      if paths.is_remote(self.path):
        self._remove_leftovers()

  def __enter__(self):
    return self

  def __exit__(self, *_):
    self.close()

  def write_facts(self, config_text: str, description: dict[str, Any]) -> None:
    """Writes config and description of the model beside the weights.

    Args:
      config_text: Gin text of the run, for people and for another run.
      description: Description that rebuilds the model without parsing gin.
    """
    self._config_digest = run_facts.config_digest(config_text)
    texts = {
      CONFIG_NAME: config_text,
      DESCRIPTION_NAME: json.dumps(description, indent=1) + '\n',
    }

    def write():
      for name, text in texts.items():
        atomic.write_text(self.path / name, text)

    _on_primary(write, f'writing to {self.path}')

  def save(self, state: train_state.TrainState, info: dict[str, Any]) -> None:
    """Starts saving a state, unless its step is saved already.

    Args:
      state: State to save; it may be changed or donated once this returns.
      info: Facts to store beside it, as JSON.

    Raises:
      SaveError: The save before failed, which leaves this state unsaved, or this
        one does.
    """
    self.wait()
    self._drop_old()
    step = int(state.step)
    if step in stored_step.committed(self._steps_path):
      return
    items = {'variables': state.variables, 'optimizer': state.opt_state}
    facts = {
      'step': step,
      'config_sha256': self._config_digest,
      **run_facts.of_code(),
      **run_facts.of_state(state),
      digests.ITEM: 'crc32',
      **info,
    }
    with self._failures_of_a_save():
      self._is_under_way = True
      started = self._manager.save(
        step,
        force=True,
        args=ocp.args.Composite(
          **{name: ocp.args.StandardSave(tree) for name, tree in items.items()},
          **{
            stored_step.INFO: ocp.args.JsonSave(facts),
            digests.ITEM: digests.DigestArgs(step, items),
          },
        ),
      )
      if not started:
        raise ValueError(f'orbax left out step {step}')

  def check(self) -> None:
    """Raises SaveError when a save has failed; waits for nothing."""
    if not self._manager.is_saving_in_progress():
      self.wait()

  def wait(self) -> None:
    """Waits for the save under way; raises SaveError if it failed."""
    with self._failures_of_a_save():
      self._manager.wait_until_finished()
    if self._is_under_way:
      self._is_under_way, self._failed_in_row = False, 0

  def close(self) -> None:
    """Waits for the save under way, and releases the directory.

    Raises:
      SaveError: The save failed.
    """
    try:
      with self._failures_of_a_save():
        try:
          self._manager.wait_until_finished()
          self._drop_old(waits=True)
        finally:
          self._manager.close()
    finally:
      if self._lock is not None:
        self._lock.release()

  def latest_step(self) -> int | None:
    """Returns the newest saved step; None in a new directory.

    Raises:
      CheckpointError: All steps were set aside.
    """
    steps = stored_step.committed(self._steps_path)
    if not steps:
      _refuse_to_start_afresh(self._steps_path)
    return max(steps, default=None)

  def restore(
    self,
    like: train_state.TrainState,
    same: Mapping[str, Any] | None = None,
  ) -> train_state.TrainState:
    """Restores the newest undamaged state.

    Compares every leaf with its digest. Logs a damaged step, renames it to
    corrupt-STEP, and tries the next older.

    Args:
      like: State of the same structure, shapes, dtypes and shardings; values are
        unused.
      same: Entries of `info` in `save` that must not have changed since.

    Raises:
      CheckpointError: There is no checkpoint, all are damaged, or one does not
        fit `like`, which sets no step aside.
    """
    causes = []
    for step in sorted(stored_step.committed(self._steps_path), reverse=True):
      try:
        state = self._restore_step(step, like)
        self._refuse_another_run(step, same or {})
      except stored_step.DamagedError as e:
        causes.append(f'step {step}: {e}')
        self._set_aside(step, str(e))
      else:
        logging.info('Restored %s at step %d.', self.path, step)
        return state
    _refuse_to_start_afresh(self._steps_path, causes)
    raise CheckpointError(f'{self.path} holds no checkpoint to restore.')

  def _restore_step(self, step, like) -> train_state.TrainState:
    restored = stored_step.restore(
      self._steps_path / str(step),
      {'variables': like.variables, 'optimizer': like.opt_state},
    )
    variables = dict(restored['variables'])
    return train_state.TrainState(
      step=jax.device_put(np.asarray(step, np.int32), like.step.sharding),
      params=variables.pop('params'),
      extras=variables,
      opt_state=restored['optimizer'],
    )

  def _refuse_another_run(self, step, same) -> None:
    path = self._steps_path / str(step)
    facts = stored_step.facts(path)
    changed = [
      line
      for name, value in same.items()
      for line in run_facts.differences(facts.get(name, value), value, name)
    ]
    if changed:
      raise CheckpointError(
        f'{path}: {", ".join(changed)}. The order of examples depends on it, so'
        ' this run could not go on with those that are left. Set it back, or'
        ' begin a new MODEL_DIR from these weights:'
        f' --gin.loop.train.warm_start="\'{self.path}\'".'
      )

  def _drop_old(self, *, waits: bool = False) -> None:
    """Deletes steps beyond those to keep that are older than a verified one.

    Begins to verify the newest step, once, while training goes on.

    Args:
      waits: Whether to wait for the verdict, where a step would go by it.
    """
    self._take_verdict(waits)
    steps = sorted(stored_step.committed(self._steps_path))
    is_new = bool(steps) and steps[-1] > self._verified_step
    if is_new and self._verification is None:
      if not waits or len(steps) > len(self._kept(steps)):
        path = self._steps_path / str(steps[-1])
        self._verification = verification.Verification(path)
        self._take_verdict(waits)
        steps = sorted(stored_step.committed(self._steps_path))
    kept = self._kept(steps)
    for step in steps:
      if step not in kept and step < self._verified_step:
        self._manager.delete(step)

  def _kept(self, steps: Sequence[int]) -> list[int]:
    """Returns the newest of some steps, and the permanent ones."""
    every = self._keep_every
    old = steps[: -self._max_to_keep]
    return [s for s in steps if s not in old or (every and s % every == 0)]

  def _take_verdict(self, waits: bool) -> None:
    """Notes what a verification has found, if it is done; sets damage aside."""
    if self._verification is None:
      return
    step = self._verification.step
    try:
      if not self._verification.is_done(waits=waits):
        return
      self._verified_step = step
    except stored_step.DamagedError as e:
      if step in stored_step.committed(self._steps_path):
        self._set_aside(step, str(e))
    except stored_step.UnreadableError as e:
      logging.warning('No step before %d is deleted now: %s', step, e)
    self._verification = None

  def _set_aside(self, step: int, cause: str) -> None:
    source = self._steps_path / str(step)
    target = self._steps_path / f'{CORRUPT}{step}'
    count = 1
    while target.exists():
      count += 1
      target = self._steps_path / f'{CORRUPT}{step}.{count}'
    logging.error('Damaged: %s, now %s: %s', source, target.name, cause)
    distributed.worst(0)  # All have seen which name is free.
    _on_primary(lambda: source.rename(target), f'renaming {source}')
    self._manager.reload()

  def _remove_unfinished(self) -> None:
    """Removes what a failed save left, which fills disks and blocks its step.

    Orbax gives up at the first part that fails, while others still write.
    """
    end = time.monotonic() + _WRITERS_SECONDS
    for thread in threading.enumerate():
      if type(thread).__name__ == '_SignalingThread':
        # Their own `join` raises again what they ended with.
        threading.Thread.join(thread, max(0.0, end - time.monotonic()))
        if thread.is_alive():
          return
    if jax.process_index() == 0:
      self._remove_leftovers()

  def _remove_leftovers(self) -> None:
    try:
      if paths.is_remote(self._steps_path):
        left = stored_step.steps_in_bucket(
          self._steps_path, are_committed=False
        )
      else:
        is_left = ocp.path.step.is_tmp_checkpoint
        left = [p for p in self._steps_path.iterdir() if is_left(p)]
      for path in left:
        logging.info('Removing %s, which a save left half-written.', path)
        path.rmtree()
    except OSError as e:
      logging.warning('A half-written step is left: %s', e)

  @contextlib.contextmanager
  def _failures_of_a_save(self) -> Iterator[None]:
    """Turns what orbax raises about a save into a SaveError."""
    try:
      yield
    except CheckpointError:
      raise
    except Exception as e:
      self._is_under_way = False
      self._failed_in_row += 1
      self._remove_unfinished()
      # Orbax counts the step as saved, and has dropped those before it.
      self._manager.reload()
      error = SaveError(
        f'saving to {self._steps_path} failed; the steps before it are kept:'
        f' {stored_step.one_line(e)}'
      )
      error.in_a_row = self._failed_in_row
      raise error from e


def read_description(model_dir: epath.PathLike) -> dict[str, Any]:
  """Reads `model.describe()` of a run; raises CheckpointError without one."""
  path = stored_step.absolute(model_dir) / DESCRIPTION_NAME
  if not path.exists():
    raise CheckpointError(
      f'{path} is missing: {model_dir} is not the MODEL_DIR of a run.'
    )
  try:
    return json.loads(path.read_bytes())
  except ValueError as e:
    raise CheckpointError(
      f'{path} is damaged: {e}. Train on with the same config, which writes it'
      ' again.'
    ) from e


def restore_variables(
  model_dir: epath.PathLike,
) -> tuple[dict[str, Any], int]:
  """Restores the newest variables of a run as numpy arrays, and their step.

  Reads only: a damaged step stays where it is. 'params' are the averaged
  parameters, if the run kept an average.

  Args:
    model_dir: Directory of a training run, of either trainer.

  Returns:
    ({'params': ..., other collections}, step).

  Raises:
    CheckpointError: There is no checkpoint, or the newest is damaged.
  """
  path = stored_step.absolute(model_dir) / _FOLDER
  steps = stored_step.committed(path)
  if not steps and t5x_checkpoints.find(model_dir):
    return t5x_checkpoints.restore_variables(model_dir)
  if not steps:
    _refuse_to_start_afresh(path)
    raise CheckpointError(
      f'{model_dir} holds no checkpoint; train first, or name the directory'
      ' that was MODEL_DIR.'
    )
  step_path = path / str(max(steps))
  try:
    variables = dict(stored_step.restore_numpy(step_path, 'variables'))
  except stored_step.DamagedError as e:
    raise CheckpointError(
      f'{step_path} is damaged: {e}. Train on, which goes back to the step'
      f' before it, or rename it to {CORRUPT}{step_path.name} to use that step'
      ' as it is.'
    ) from e
  return {
    **variables,
    'params': train_state.best_params(variables),
  }, max(steps)


def _refuse_to_start_afresh(
  path: epath.Path, causes: list[str] | None = None
) -> None:
  """Raises CheckpointError if all steps were set aside."""
  there = [p.name for p in path.iterdir()] if path.exists() else []
  aside = sorted(name for name in there if name.startswith(CORRUPT))
  if aside:
    raise CheckpointError(
      f'every checkpoint in {path} is damaged, set aside as {", ".join(aside)}.'
      ' Restore that folder from a copy, or name another MODEL_DIR to start'
      ' afresh.' + ''.join(f'\n  {cause}' for cause in causes or ())
    )


def _on_primary(act: Callable[[], Any], what: str) -> None:
  """Acts in process 0; raises in all if it fails there."""
  is_primary = jax.process_index() == 0
  distributed.together(act if is_primary else lambda: None, what)
