"""Which codes a draw may take, by the options of a sampler."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from v2meow_jax.models import layers
from v2meow_jax.models.sampling import options


class Runs(NamedTuple):
  """How often the last code of each level stood in succession.

  Attributes:
    codes: int32[b, levels], last code of each level; -1: none yet.
    lengths: int32[b, levels], times that it stood.
  """

  codes: jax.Array
  lengths: jax.Array

  def add(self, level: jax.Array, drawn: jax.Array) -> 'Runs':
    """Runs after a code, int32[b], is written at a level."""
    same = self.codes[:, level] == drawn
    lengths = jnp.where(same, self.lengths[:, level] + 1, 1)
    return Runs(
      self.codes.at[:, level].set(drawn),
      self.lengths.at[:, level].set(lengths),
    )


def runs(codes: jax.Array) -> Runs:
  """Runs at the end of frames, int32[b, frames, levels], or of none."""
  rows, _, levels = codes.shape
  start = Runs(
    jnp.full((rows, levels), -1, jnp.int32),
    jnp.zeros((rows, levels), jnp.int32),
  )

  def add_frame(runs, frame):
    lengths = jnp.where(frame == runs.codes, runs.lengths + 1, 1)
    return Runs(frame, lengths), None

  return jax.lax.scan(add_frame, start, jnp.moveaxis(codes, 1, 0))[0]


def temperature(sampling: options.Sampling) -> float | jax.Array:
  """Divisor of the logits, as trained where it is left open."""
  return 1.0 if sampling.temperature is None else sampling.temperature


def among_likeliest(logits: jax.Array, sampling: options.Sampling) -> jax.Array:
  """Logits [..., codes] of the codes that top-k and top-p leave."""
  if sampling.top_k is not None:
    least = jax.lax.top_k(logits, sampling.top_k)[0][..., -1:]
    logits = jnp.where(logits < least, layers.NEG_INF, logits)
  if sampling.top_p is not None:
    logits = _nucleus(logits, sampling.top_p, temperature(sampling))
  return logits


def _nucleus(logits, top_p, temperature):
  """Logits without the codes outside the smallest set that weighs `top_p`.

  Holtzman et al. 2020, https://arxiv.org/abs/1904.09751; the likeliest code
  always stays.
  """
  ordered = -jnp.sort(-logits, -1)
  tempered = ordered / jnp.maximum(temperature, jnp.finfo(jnp.float32).tiny)
  weights = jax.nn.softmax(tempered - tempered[..., :1], -1)
  before = jnp.cumsum(weights, -1) - weights
  kept = (before < top_p).at[..., 0].set(True)
  least = jnp.min(jnp.where(kept, ordered, jnp.inf), -1, keepdims=True)
  return jnp.where(logits < least, layers.NEG_INF, logits)


def without_long_runs(
  logits: jax.Array, runs: Runs | None, level: jax.Array, max_run: int | None
) -> jax.Array:
  """Logits [b, codes] without the code that has stood `max_run` times."""
  if runs is None or max_run is None:
    return logits
  last, length = runs.codes[:, level], runs.lengths[:, level]
  codes = jnp.arange(logits.shape[-1])
  full = (length >= max_run)[:, None] & (codes == last[:, None])
  return jnp.where(full, layers.NEG_INF, logits)
