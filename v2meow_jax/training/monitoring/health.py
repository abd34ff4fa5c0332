"""Steps that must not count: skipped, counted, and after some in a row the end.

The verdict is made inside the jitted step from global numbers, so every process
makes the same one.
"""

from __future__ import annotations

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

  As OLMo and MaxText do: above mean + `sigmas` standard deviations of the last
  `window` steps, once half a window has been seen.

  Attributes:
    window: Steps that are looked back on.
    sigmas: How far above their mean a spike begins.
  """

  window: int = 128
  sigmas: float = 6.0

  def initial(self) -> dict[str, jax.Array]:
    """What is remembered before the first step."""
    return {
      'values': jnp.zeros((2, self.window)),
      'seen': jnp.zeros((), jnp.int32),
    }

  def judge(
    self, recent: Mapping[str, jax.Array], loss: jax.Array, norm: jax.Array
  ) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Whether a step is a spike, and what to remember after it.

    A finite spike is remembered: a level that lasts becomes the normal one.

    Args:
      recent: From `initial` or the step before.
      loss: float32[].
      norm: float32[], of the gradient.

    Returns:
      bool[], and `recent` after the step.
    """
    values, seen = recent['values'], recent['seen']
    new = jnp.stack([loss, norm])
    known = jnp.arange(self.window) < seen
    mean = values.mean(1, where=known)
    limit = mean + self.sigmas * values.std(1, where=known)
    is_spike = (seen >= self.window // 2) & jnp.any(new > limit)
    finite = jnp.isfinite(new).all()
    after = values.at[:, seen % self.window].set(new)
    return is_spike, {
      'values': jnp.where(finite, after, values),
      'seen': seen + finite,
    }


def module_norms(grads: Mapping[str, Any]) -> dict[str, jax.Array]:
  """Norm of the gradient of each top-level module."""
  return {name: optax.global_norm(tree) for name, tree in grads.items()}


class Monitor:
  """Counts the skipped steps in a row, and stops a run that has too many.

  It looks at a step while the next one runs, so that the device never waits.
  """

  def __init__(self, model_dir: epath.Path, max_in_row: int):
    """Dumps go to `model_dir`/health."""
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
    """Takes note of a step that was started, and looks at the one before.

    Args:
      step: Steps done after it.
      metrics: That it will give, still on the devices.
      batch: This process's rows, with `example_ids` where the data has some.

    Raises:
      Unhealthy: The steps before were skipped, too many in a row.
    """
    self.check()
    self._last = step, metrics, batch

  def check(self) -> None:
    """Looks at the last step, for which it waits; raises as `add`."""
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
        f' gradient that is not finite or spikes; {path} names their examples'
        ' and modules. The last checkpoint is untouched.'
      )

  def _dump(self) -> epath.Path:
    step = self._in_row[-1][0]
    process = jax.process_index()
    name = f'step_{step}.json' if not process else f'step_{step}.{process}.json'
    self._folder.mkdir(parents=True, exist_ok=True)
    path = self._folder / name
    steps = [_record(*skipped) for skipped in self._in_row]
    path.write_text(json.dumps({'step': step, 'skipped': steps}, indent=1))
    return path


def _record(step, metrics, batch) -> dict[str, Any]:
  """What is told of a skipped step."""
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
  """SHA-256 of names, types, shapes and values, in the order of names."""
  digest = hashlib.sha256()
  for name, value in sorted(batch.items()):
    value = np.ascontiguousarray(value)
    digest.update(f'{name} {value.dtype} {value.shape}\n'.encode())
    digest.update(value.data)
  return digest.hexdigest()


def _number(x: Any) -> float | str:
  """A float as JSON has it; 'nan' and 'inf' as text."""
  x = float(x)
  return x if math.isfinite(x) else str(x)
