"""Fits parameters to batches that are drawn anew in every step."""

import jax
import optax


def fitted(loss, params, optimizer, num_steps):
  """Parameters after steps down `loss(params, rng)`, in one compiled loop."""

  def step(i, carried):
    params, state = carried
    rng = jax.random.fold_in(jax.random.key(1), i)
    updates, state = optimizer.update(
      jax.grad(loss)(params, rng), state, params
    )
    return optax.apply_updates(params, updates), state

  walk = jax.jit(lambda c: jax.lax.fori_loop(0, num_steps, step, c))
  return walk((params, optimizer.init(params)))[0]
