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
