"""InfoNCE: pairs find each other among all of a batch."""

import jax.numpy as jnp
from jaxtyping import Array
from jaxtyping import Float

from v2meow_jax.models.objectives import losses


def info_nce(logits: Float[Array, 'b b']) -> Float[Array, '']:
  """Symmetric InfoNCE over a batch of pairs, as in CLIP (Radford et al. 2021).

  The mean of two cross-entropies: which column belongs to a row, and which row
  to a column.

  Args:
    logits: Similarities; entry (i, j) is that of i of one kind with j of the
      other, and the diagonal holds the pairs.

  Returns:
    log(b) when the logits say nothing.
  """
  own = jnp.arange(len(logits))
  rows, _ = losses.cross_entropy(logits, own)
  columns, _ = losses.cross_entropy(logits.T, own)
  return jnp.mean(rows + columns) / 2
