"""The Trainable protocol: what the one training loop asks of a model."""

from collections.abc import Mapping
from typing import Any
from typing import Protocol

import jax

Batch = Mapping[str, jax.Array]
Tree = Any  # A nested dict of arrays.


class Trainable(Protocol):
  """Anything that owns a loss: a stage, the codec, the style embedding."""

  def init(self, rng: jax.Array, batch: Batch) -> dict[str, Tree]:
    """Variables for a batch of this shape: 'params', and other collections."""
    ...

  def train_loss(
    self,
    params: Tree,
    extras: dict[str, Tree],
    batch: Batch,
    rng: jax.Array | None,
  ) -> tuple[jax.Array, tuple[dict[str, jax.Array], dict[str, Tree]]]:
    """The mean loss to differentiate, metrics to log and updated extras.

    Args:
      params: The 'params' collection.
      extras: Every other collection, {} when there is none. What changes
        without a gradient (moving averages of a codebook) lives here.
      batch: Batch of the model's data.
      rng: For dropout and the like. None evaluates: nothing is random and
        `extras` come back unchanged.

    Returns:
      float32[] loss, ({name: float32[]}, extras).
    """
    ...

  def describe(self) -> dict[str, Tree]:
    """What rebuilds the model, as JSON data: its kind, its spec, its sizes."""
    ...
