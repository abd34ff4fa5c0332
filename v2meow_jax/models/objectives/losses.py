"""Cross-entropy and weighted means, in float32."""

import jax
import jax.numpy as jnp
from jaxtyping import Array
from jaxtyping import Float
from jaxtyping import Int


def cross_entropy(
  logits: Float[Array, '*b n'], targets: Int[Array, '*b']
) -> tuple[Float[Array, '*b'], Float[Array, '*b']]:
  """Cross-entropy of each target, and the squared log of the partition sum.

  Args:
    logits: Logits of any float type; computed in float32.
    targets: Numbers of the true classes, in [0, n).

  Returns:
    -log p(target), which is log(n) when the logits say nothing; and log(Z)^2,
    whose small multiple keeps logits from drifting (z-loss, as in T5X).
  """
  logits = logits.astype(jnp.float32)
  log_z = jax.nn.logsumexp(logits, -1)
  # By comparison, not by gather: the gradient of a gather is a scatter.
  ids = jnp.arange(logits.shape[-1])
  hit = jnp.where(ids == targets[..., None], logits, 0.0).sum(-1)
  return log_z - hit, log_z**2


def weighted_mean(
  values: Float[Array, '*b'], weights: Float[Array, '*b']
) -> Float[Array, '']:
  """sum(values * weights) / sum(weights); 0 when every weight is 0."""
  total = weights.sum()
  return (values * weights).sum() / jnp.where(total > 0, total, 1.0)


def by_level(
  num_levels: int, weights: Float[Array, 'b n'], **values: Float[Array, 'b n']
) -> dict[str, tuple[jax.Array, jax.Array]]:
  """Values of ids with their weights, all and level by level.

  Args:
    num_levels: Number of levels of a frame, whose ids follow each other.
    weights: Weight of each id.
    **values: Values of each id, such as 'loss'.

  Returns:
    Values and weights by name; of several levels also '<name>_level_<k>'.
  """
  places = {'': slice(None)}
  if num_levels > 1:
    places |= {
      f'_level_{k}': slice(k, None, num_levels) for k in range(num_levels)
    }
  return {
    name + suffix: (array[:, ids], weights[:, ids])
    for suffix, ids in places.items()
    for name, array in values.items()
  }
