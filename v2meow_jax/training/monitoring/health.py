"""Skips bad steps and stops the run after several in a row.

The jitted step decides from global numbers, so all processes decide the same.
"""

from collections.abc import Mapping
import dataclasses
import hashlib
import json
import math
from typing import Any

from absl import logging
from etils import epath
import jax
import jax.numpy as jnp
import numpy as np
import optax

EXAMPLE_IDS = 'example_ids'


class Unhealthy(Exception):
  """Too many steps in a row were skipped; the message names the dump."""

  exit_code = 66  # EX_NOINPUT of sysexits.h: look at the data first.


@dataclasses.dataclass(frozen=True, kw_only=True)
class SpikeSkip:
  """Skips a step whose loss or gradient norm is far above the recent ones.

  A spike, as in OLMo and MaxText, is above mean + `sigmas` standard deviations
  of the last `window` steps, once half a window is full.

  Attributes:
    window: Number of recent steps.
    sigmas: Height of a spike above their mean, in standard deviations.
  """

  window: int = 128
  sigmas: float = 6.0

  def initial(self) -> dict[str, jax.Array]:
    """Returns the record of recent steps before the first step."""
    return {
      'values': jnp.zeros((2, self.window)),
      'seen': jnp.zeros((), jnp.int32),  # Number of finite steps so far.
    }

  def judge(
    self, recent: Mapping[str, jax.Array], loss: jax.Array, norm: jax.Array
  ) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Decides whether a step is a spike, and updates the record.

    Finite spikes enter the record: a level that lasts becomes the normal one.

    Args:
      recent: Record from `initial` or the step before.
      loss: Loss of the step, float32[].
      norm: Norm of the gradient, float32[].

    Returns:
      bool[], and `recent` after the step.
    """
    values, seen = recent['values'], recent['seen']
    new = jnp.stack([loss, norm])
    filled = jnp.arange(self.window) < seen
    mean = values.mean(1, where=filled)
    limit = mean + self.sigmas * values.std(1, where=filled)
    is_spike = (seen >= self.window // 2) & jnp.any(new > limit)
    finite = jnp.isfinite(new).all()
    after = values.at[:, seen % self.window].set(new)
    return is_spike, {
      'values': jnp.where(finite, after, values),
      'seen': seen + finite,
    }


def module_norms(grads: Mapping[str, Any]) -> dict[str, jax.Array]:
  """Computes the norm of the gradient of each top-level module."""
  return {name: optax.global_norm(tree) for name, tree in grads.items()}


class Monitor:
  """Counts skipped steps in a row, and stops a run that has too many.

  Checks a step while the next one runs, so that the device never waits.
  """

  def __init__(self, model_dir: epath.Path, max_in_row: int):
    """Will write dumps to `model_dir`/health."""
    self._folder = model_dir / 'health'
    self._max_in_row = max_in_row
    self._last: tuple[int, Mapping[str, Any], Mapping[str, Any]] | None = None
    self._in_row: list[tuple[int, Mapping[str, Any], Mapping[str, Any]]] = []

  def add(
    self,
    step: int,
    metrics: Mapping[str, Any],
    batch: Mapping[str, np.ndarray],
  ) -> None:
    """Adds a step that was started, and checks the one before.

    Args:
      step: Number of the step, from 1.
      metrics: Metrics of the step, still on the devices.
      batch: Rows of this process, with `example_ids` if the data has them.

    Raises:
      Unhealthy: Too many steps before it were skipped in a row.
    """
    self.check()
    self._last = step, metrics, batch

  def check(self) -> None:
    """Waits for the last step and checks it; raises as `add`."""
    if self._last is None:
      return
    step, metrics, _ = self._last
    if not float(metrics['skipped']):
      self._in_row = []
    else:
      self._in_row.append(self._last)
      logging.warning(
        'Step %d is skipped: loss %g, gradient norm %g (%d in a row).',
        step, float(metrics['total_loss']), float(metrics['gradient_norm']),
        len(self._in_row),
      )  # fmt: skip
    self._last = None
    if len(self._in_row) >= self._max_in_row:
      path = self._dump()
      raise Unhealthy(
        f'{len(self._in_row)} steps in a row, up to step {step}, had a loss or'
        f' gradient that is not finite or spikes; {path} lists their examples'
        ' and modules. The last checkpoint is untouched.'
      )

  def _dump(self) -> epath.Path:
    step = self._in_row[-1][0]
    process = jax.process_index()
    name = f'step_{step}.json' if not process else f'step_{step}.{process}.json'
    self._folder.mkdir(parents=True, exist_ok=True)
    path = self._folder / name
    steps = [_record(*skipped) for skipped in self._in_row]
    facts = {'step': step, 'skipped': steps}
    path.write_text(json.dumps(facts, indent=1), 'utf-8')
    return path


def _record(step, metrics, batch) -> dict[str, Any]:
  """Describes a skipped step in the dump."""
  ids = batch.get(EXAMPLE_IDS, ())
  arrays = {k: v for k, v in batch.items() if k != EXAMPLE_IDS}
  norms = jax.device_get(metrics['module_norms'])
  return {
    'step': step,
    'loss': _number(metrics['total_loss']),
    'gradient_norm': _number(metrics['gradient_norm']),
    'gradient_norms': {name: _number(x) for name, x in norms.items()},
    'example_ids': [bytes(i).decode(errors='replace') for i in ids],
    'batch_sha256': batch_digest(arrays),
  }


def batch_digest(batch: Mapping[str, np.ndarray]) -> str:
  """Returns the SHA-256 of names, dtypes, shapes and values, sorted by name."""
  digest = hashlib.sha256()
  for name, value in sorted(batch.items()):
    value = np.ascontiguousarray(value)
    digest.update(f'{name} {value.dtype} {value.shape}\n'.encode())
    digest.update(value.data)
  return digest.hexdigest()


def _number(x: Any) -> float | str:
  """Converts to a JSON float; NaN and infinity become text."""
  x = float(x)
  return x if math.isfinite(x) else str(x)
