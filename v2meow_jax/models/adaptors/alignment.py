"""Brings frames of one rate to the times of frames of another rate."""

import jax
import jax.numpy as jnp
import numpy as np


def brought(
  x: jax.Array, input_rate_hz: float, num_outputs: int, output_rate_hz: float
) -> jax.Array:
  """dtype[b, inputs, dim] -> dtype[b, outputs, dim], by `overlap`."""
  shares = overlap(x.shape[1], input_rate_hz, num_outputs, output_rate_hz)
  return jnp.einsum('tf,bfm->btm', shares.astype(x.dtype), x)


def overlap(
  num_inputs: int, input_rate_hz: float, num_outputs: int, output_rate_hz: float
) -> np.ndarray:
  """Shares of the input frames in the time of each output frame.

  An event lies in the output frame that holds its time, and what is constant
  stays constant, at any pair of rates. An output frame beyond the last input
  frame takes the last one.

  >>> overlap(2, 1.0, 4, 2.0).tolist()
  [[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]]
  >>> overlap(3, 3.0, 2, 2.0).astype(float).round(2).tolist()
  [[0.67, 0.33, 0.0], [0.0, 0.33, 0.67]]

  Args:
    num_inputs: Number of frames that there are.
    input_rate_hz: Rate of these, in Hz.
    num_outputs: Number of frames that are wanted.
    output_rate_hz: Rate of these, in Hz.

  Returns:
    float32[outputs, inputs], each row with a sum of 1.
  """
  edges = np.arange(num_inputs + 1) / input_rate_hz
  wanted = np.arange(num_outputs + 1) / output_rate_hz
  first = np.maximum(edges[None, :-1], wanted[:-1, None])
  last = np.minimum(edges[None, 1:], wanted[1:, None])
  shares = np.maximum(last - first, 0.0)
  # What rounding leaves of a frame that only touches.
  shares[shares < 1e-9] = 0.0
  shares[~shares.any(1), -1] = 1.0
  return (shares / shares.sum(1, keepdims=True)).astype(np.float32)
