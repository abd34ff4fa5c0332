"""Frames of many clips through one network, in full batches.

A clip has a frame or so a second and a network wants dozens at once. What comes
out for a clip depends on that clip alone: not on its neighbours in a batch, and
not on one of them breaking the network.
"""

from collections.abc import Callable

import numpy as np


class Batches:
  """Collects the inputs of clips, runs full batches, hands outputs back."""

  def __init__(
    self, outputs: Callable[[np.ndarray], np.ndarray], batch_size: int
  ):
    """Starts empty; `outputs` maps [batch_size, ...] row by row."""
    self._outputs = outputs
    self._batch_size = batch_size
    self._waiting: list[tuple[str, np.ndarray]] = []
    self._done: dict[str, list[np.ndarray]] = {}
    self._errors: dict[str, Exception] = {}

  def put(self, owner: str, inputs: np.ndarray) -> None:
    """Adds frames of a clip, behind those that it has."""
    self._waiting += [(owner, row) for row in inputs]
    while len(self._waiting) >= self._batch_size:
      full = self._waiting[: self._batch_size]
      del self._waiting[: self._batch_size]
      self._run(full)

  def drop(self, owner: str) -> None:
    """Forgets a clip that failed elsewhere."""
    self._waiting = [w for w in self._waiting if w[0] != owner]
    self._done.pop(owner, None)
    self._errors.pop(owner, None)

  def flush(self) -> None:
    """Runs what is left; the rest of the batch is filled up with zeros."""
    rows, self._waiting = self._waiting, []
    if rows:
      self._run(rows)

  def take(self, owner: str) -> np.ndarray:
    """Outputs of a clip's frames, [frames, ...]; raises what they raised."""
    rows = self._done.pop(owner, [])
    if owner in self._errors:
      raise self._errors.pop(owner)
    return np.stack(rows)

  def _run(self, rows: list[tuple[str, np.ndarray]]) -> None:
    try:
      outputs = self._padded([row for _, row in rows])
    except Exception as e:
      owners = dict.fromkeys(owner for owner, _ in rows)
      if len(owners) == 1:
        self._errors[rows[0][0]] = e
        return
      # One clip should not cost its neighbours: each goes by itself.
      for owner in owners:
        self._run([row for row in rows if row[0] == owner])
      return
    for (owner, _), output in zip(rows, outputs, strict=True):
      self._done.setdefault(owner, []).append(output)

  def _padded(self, rows: list[np.ndarray]) -> np.ndarray:
    missing = self._batch_size - len(rows)
    inputs = np.stack(rows + [np.zeros_like(rows[0])] * missing)
    return np.asarray(self._outputs(inputs))[: len(rows)]
