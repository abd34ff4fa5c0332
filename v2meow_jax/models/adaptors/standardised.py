"""Standardises continuous streams by the moments of the records."""

from collections.abc import Mapping
from collections.abc import Sequence
import math
import numbers

import jax
import jax.numpy as jnp

from v2meow_jax import specs

# By the name of a stream, 'mean' and 'std' of each of its dimensions.
Moments = Mapping[str, Mapping[str, Sequence[float]]]
# As in `clusters.standardize`: an odd input must not leave the range of those
# that were trained on.
LIMIT = 6.0


def check(moments: Moments, spec: specs.StageSpec) -> None:
  """Raises ValueError unless moments are those of a stage's streams."""
  dims = {s.name: s.dim for s in spec.feature_streams}
  for name, values in moments.items():
    lengths = {k: len(x) for k, x in values.items()}
    wanted = dict.fromkeys(('mean', 'std'), dims.get(name))
    if lengths != wanted:
      raise ValueError(
        f'stage {spec.name!r} has moments of {name!r} with {lengths} numbers;'
        f' wanted {wanted}, as its continuous streams {dims} say.'
      )
    _check_values(spec.name, name, **values)


def _check_values(
  stage: str, name: str, mean: Sequence[float], std: Sequence[float]
) -> None:
  """Raises ValueError unless means are finite and deviations above 0."""
  for what, values in (('mean', mean), ('std', std)):
    for x in values:
      is_number = isinstance(x, numbers.Real) and math.isfinite(x)
      if not is_number or (what == 'std' and x <= 0):
        raise ValueError(
          f'stage {stage!r} has moments of {name!r} with {what} {x!r}; wanted'
          ' finite numbers, and deviations above 0.'
        )


def standardised(x: jax.Array, mean, std) -> jax.Array:
  """float[b, frames, ..., dim] -> float32, of mean 0 and deviation 1.

  A frame of zeros alone is one that was left out, and stays zeros; what is far
  from the others is brought within `LIMIT`.
  """
  x = jnp.asarray(x, jnp.float32)
  there = jnp.any(x != 0, tuple(range(2, x.ndim)), keepdims=True)
  return jnp.where(there, jnp.clip(scaled(x, mean, std), -LIMIT, LIMIT), 0.0)


def scaled(x: jax.Array, mean, std) -> jax.Array:
  """float[..., dim] -> float32, of mean 0 and deviation 1 in each dimension."""
  return (jnp.asarray(x, jnp.float32) - jnp.asarray(mean)) / jnp.asarray(std)


def restored(x: jax.Array, mean, std) -> jax.Array:
  """Inverts `scaled`."""
  return x * jnp.asarray(std) + jnp.asarray(mean)
