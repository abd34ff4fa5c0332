"""Defines a network for `benchmarks.extractors`: ours and the reference's."""

from __future__ import annotations

from collections.abc import Callable
import dataclasses
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sides:
  """One network, ours and the reference's.

  Attributes:
    amount: Amount of media that one call reads or writes.
    unit: Unit of the amount: 'frames' or 's'.
    ours: Makes one call and waits for what it gives.
    num_parameters: Number of our parameters.
    reference: Makes the reference, for a device of torch, from the same sizes
      and the same inputs; None where there is nothing to compare with.
  """

  amount: float
  unit: str
  ours: Callable[[], Any]
  num_parameters: int = 0
  reference: Callable[[str], Callable[[], Any]] | None = None


def random(shape: tuple[int, ...]) -> np.ndarray:
  """Draws float32 of a shape, uniform in [0, 1)."""
  return np.random.default_rng(0).random(shape, np.float32)


def parameters(module, *inputs) -> dict[str, Any]:
  """Draws parameters of a Flax module that keep signals of order one."""
  import jax

  shapes = jax.eval_shape(module.init, jax.random.key(0), *inputs)['params']
  rng = np.random.default_rng(0)

  def draw(leaf):
    fan_in = np.prod(leaf.shape[:-1], dtype=int)
    values = rng.standard_normal(leaf.shape, np.float32)
    return values * np.float32(fan_in**-0.5)

  return jax.tree.map(draw, shapes)


def count(params: Any) -> int:
  """Counts the numbers in parameters."""
  import jax

  return sum(x.size for x in jax.tree.leaves(params))
