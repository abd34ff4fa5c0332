"""What a stage learns by: losses as functions of a network's named outputs."""

from collections.abc import Mapping
from typing import NamedTuple
from typing import Protocol

import jax

from v2meow_jax import specs

Batch = Mapping[str, jax.Array]
# By name, such as 'logits', 'hidden' and 'encoded' of `transformer.Transformer`.
Outputs = Mapping[str, jax.Array]
Weighted = tuple[jax.Array, jax.Array]  # Values and their weights, same shape.
# In the batch of an objective that ramps: int32[] examples trained on before.
EXAMPLES_SEEN = 'examples_seen'


class Losses(NamedTuple):
  """Losses of a batch, before any mean.

  Attributes:
    values: float32[b, n] to minimise, such as one for each id.
    weights: float32[b, n]; 0 leaves a value out.
    metrics: Values and weights to log by name; 'loss' scores a row.
  """

  values: jax.Array
  weights: jax.Array
  metrics: dict[str, Weighted]


class Objective(Protocol):
  """A frozen dataclass that gin names and a checkpoint describes."""

  @property
  def reads(self) -> tuple[str, ...]:
    """Names of the outputs that the network must give."""
    ...

  @property
  def ramps(self) -> bool:
    """Whether it changes with the number of examples, `EXAMPLES_SEEN`."""
    ...

  def corrupt(
    self, spec: specs.StageSpec, batch: Batch, rng: jax.Array | None
  ) -> Batch:
    """The batch as the network sees it; often the same.

    Without a key `rng` it is for evaluation, and a function of the batch.
    """
    ...

  def __call__(
    self, spec: specs.StageSpec, outputs: Outputs, batch: Batch
  ) -> Losses:
    """Losses of some outputs; `batch` is the corrupted one."""
    ...
