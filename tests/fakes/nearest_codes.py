"""Whether codes that differ are equally near, up to rounding."""

import numpy as np


def check_ties(ours, theirs, vectors, codebook, distance):
  """Every code that differs is as near as the other one.

  Both sides took the nearest code to a vector of their own; these are up to
  `distance` apart. Between two codes a and b, 2 x (a - b) tells the nearer one,
  so that the two sides can only differ by 2 |a - b| times that, and what
  float32 rounds of the products.

  Args:
    ours: int[n].
    theirs: int[n].
    vectors: float[n, dim], of theirs.
    codebook: float[codes, dim].
    distance: float[n], from their vectors to ours.
  """
  x, codes = vectors.astype(np.float64), codebook.astype(np.float64)
  a, b = codes[ours], codes[theirs]
  lost = ((x - a) ** 2).sum(-1) - ((x - b) ** 2).sum(-1)
  rounding = 1e-6 * ((x**2).sum(-1) + (codes**2).sum(-1).max())
  allowed = 2 * np.linalg.norm(a - b, axis=-1) * distance + rounding
  assert (lost <= allowed).all(), (lost - allowed).max()
