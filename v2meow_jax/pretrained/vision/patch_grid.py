"""Grids of patches: fewer cells of one, and places of one of another size."""

import jax
import jax.numpy as jnp
import numpy as np

_KEYS_A = -0.75  # Of the cubic kernel of `torch.nn.functional.interpolate`.


def of_tokens(tokens: jax.Array, side: int, class_token: bool) -> jax.Array:
  """Cells of patches that follow a class token, as a Transformer leaves them.

  Args:
    tokens: float[b, 1 + n, dim], the class token first.
    side: Cells along a side, not more than patches.
    class_token: Whether the class token precedes the cells.

  Returns:
    float[b, side^2, dim], row by row, or one more.
  """
  cells = cell_means(tokens[:, 1:], side)
  return jnp.concatenate([tokens[:, :1], cells], 1) if class_token else cells


def cell_means(patches: jax.Array, side: int) -> jax.Array:
  """Means of the patches of each cell of a coarser grid, by their areas.

  A patch that lies in several cells counts in each by what lies in it.

  Args:
    patches: float[b, n, dim] of a square grid, row by row.
    side: Cells along a side, not more than patches.

  Returns:
    float[b, side^2, dim], row by row.
  """
  b, num_patches, dim = patches.shape
  across = round(num_patches**0.5)
  shares = _shares(across, side).astype(patches.dtype)
  grid = patches.reshape(b, across, across, dim)
  cells = jnp.einsum('ri,cj,bijd->brcd', shares, shares, grid)
  return cells.reshape(b, side * side, dim)


def _shares(source: int, target: int) -> np.ndarray:
  """float64[target, source]: of each cell of a line, what is of each patch."""
  ends = np.arange(1, target + 1)[:, None] * source / target
  until = np.clip(ends - np.arange(source), 0, 1)
  return np.diff(until, axis=0, prepend=0) * target / source


def resized(places: np.ndarray, side: int) -> np.ndarray:
  """Embeddings of the places of a grid, between those of another.

  As `torch.nn.functional.interpolate` does with mode='bicubic' and without
  antialiasing, which networks that were trained on one size read others by.

  Args:
    places: float32[n, dim] of a square grid, row by row.
    side: Patches along a side of the other.

  Returns:
    float32[side^2, dim].
  """
  trained = round(len(places) ** 0.5)
  if trained == side:
    return places
  weights = _bicubic(trained, side)
  grid = places.reshape(trained, trained, -1).astype(np.float64)
  grid = np.einsum('ab,cd,bde->ace', weights, weights, grid)
  return grid.reshape(side * side, -1).astype(np.float32)


def _bicubic(source: int, target: int) -> np.ndarray:
  """float64[target, source]: weights of the places of a line; rows sum to 1."""
  at = (np.arange(target) + 0.5) * source / target - 0.5
  weights = np.zeros((target, source))
  for tap in range(-1, 3):
    index = np.floor(at).astype(int) + tap
    x, a = np.abs(at - index), _KEYS_A
    near = ((a + 2) * x - (a + 3)) * x**2 + 1
    far = a * (((x - 5) * x + 8) * x - 4)
    # Beyond the border stands the last place.
    np.add.at(
      weights,
      (np.arange(target), index.clip(0, source - 1)),
      np.where(x <= 1, near, far),
    )
  return weights
