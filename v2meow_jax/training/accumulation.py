"""Computes the gradient of a batch, whole or in microbatches to save memory."""

from typing import Any

import jax
import jax.numpy as jnp

from v2meow_jax.models import trainable

# Batches count by the sum of these weights, without them by rows.
_WEIGHTS = 'decoder_loss_weights'


def loss_and_gradient(
  model: trainable.Trainable,
  params: Any,
  extras: dict[str, Any],
  batch: trainable.Batch,
  rng: jax.Array,
  num_microbatches: int,
) -> tuple[jax.Array, dict[str, jax.Array], dict[str, Any], Any]:
  """Computes loss, metrics, extras and gradient of a batch.

  Microbatches run one after another; each starts from the extras that the one
  before left. A microbatch counts by its `decoder_loss_weights`, so the result
  equals that of the whole batch for any mean over ids or rows. A loss that
  compares rows (InfoNCE) compares only those of a microbatch.

  Args:
    model: Model to train.
    params: Parameters of the model.
    extras: Other collections of the model.
    batch: {key: array[rows, ...]}.
    rng: Key of the step; several microbatches fold in their number.
    num_microbatches: Number of microbatches, a divisor of the rows.

  Returns:
    float32[] loss, {name: float32[]}, updated extras, gradient like `params`.

  Raises:
    ValueError: The rows do not divide.
  """
  grad_fn = jax.value_and_grad(model.train_loss, has_aux=True)
  if num_microbatches == 1:
    (loss, (metrics, extras)), grads = grad_fn(params, extras, batch, rng)
    return loss, metrics, extras, grads
  parts = _split(batch, num_microbatches)
  weights = _weights(parts)

  def one(extras, i, part, weight):
    key = jax.random.fold_in(rng, i)
    (loss, (metrics, extras)), grads = grad_fn(params, extras, part, key)
    return extras, jax.tree.map(lambda x: x * weight, (loss, metrics, grads))

  def add(carry, xs):
    extras, total = carry
    extras, more = one(extras, *xs)
    return (extras, jax.tree.map(jnp.add, total, more)), None

  numbers = jnp.arange(num_microbatches)
  xs = (numbers, parts, weights)
  first = jax.tree.map(lambda x: x[0], xs)
  _, shapes = jax.eval_shape(one, extras, *first)
  zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)
  (extras, totals), _ = jax.lax.scan(add, (extras, zeros), xs)
  loss, metrics, grads = totals
  return loss, metrics, extras, grads


def _split(batch: trainable.Batch, count: int) -> dict[str, jax.Array]:
  """[rows, ...] -> [count, rows / count, ...].

  Row r goes to microbatch r % count, so that rows stay on their device.
  """
  rows = len(next(iter(batch.values())))
  if rows % count:
    raise ValueError(
      f'a batch of {rows} does not divide into {count} microbatches; make'
      ' BATCH_SIZE a multiple of num_microbatches.'
    )
  return {
    key: jnp.moveaxis(x.reshape(rows // count, count, *x.shape[1:]), 1, 0)
    for key, x in batch.items()
  }


def loss_weight(batch: trainable.Batch) -> jax.Array:
  """Returns the weight of a batch in a mean, float32[]: its ids or rows."""
  if _WEIGHTS in batch:
    return batch[_WEIGHTS].astype(jnp.float32).sum()
  return jnp.float32(len(next(iter(batch.values()))))


def _weights(parts: dict[str, jax.Array]) -> jax.Array:
  """float32[count], each microbatch's share of the loss; they sum to 1."""
  sums = jax.vmap(loss_weight)(parts)
  total = sums.sum()
  return sums / jnp.where(total > 0, total, 1.0)
