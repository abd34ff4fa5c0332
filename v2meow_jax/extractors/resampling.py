"""Resizes to a square exactly as Pillow, which networks were trained with."""

import functools
from typing import Literal

import numpy as np

# Fractional bits of the weights of 8-bit images.
_BITS = 22

Method = Literal['bicubic', 'bilinear']


def center_square(
  frames: np.ndarray, size: int, method: Method = 'bicubic'
) -> np.ndarray:
  """Resizes the shorter side to `size` and keeps the square in the middle.

  Equal to Pillow's `Image.resize` and a centre crop: the kernel of Keys (1981)
  with a = -0.5, or a triangle, stretched when shrinking so that nothing
  aliases, weights in fixed point, columns first and rounded to 8 bits before
  the rows (https://github.com/python-pillow/Pillow, libImaging/Resample.c).
  Only pixels that the square depends on are read.

  Args:
    frames: uint8[n, h, w, channels].
    size: Side of the square, in pixels.
    method: Kernel of resizing.

  Returns:
    uint8[n, size, size, channels].
  """
  n, h, w, channels = frames.shape
  rows, row_weights = _weights(h, size * h // min(h, w), size, method)
  columns, column_weights = _weights(w, size * w // min(h, w), size, method)
  squares = np.empty((n, size, size, channels), np.uint8)
  for frame, square in zip(frames, squares, strict=True):
    across = _weighted(column_weights, frame[rows, columns].swapaxes(0, 1))
    square[:] = _weighted(row_weights, across.swapaxes(0, 1))
  return squares


def _weighted(weights: np.ndarray, pixels: np.ndarray) -> np.ndarray:
  """float64[size, k], [k, m, channels] -> float64[size, m, channels], whole."""
  # Sums of integers below 2 ** 53: exact in float64, in any order.
  sums = weights @ pixels.reshape(len(pixels), -1).astype(np.float64)
  levels = np.floor(np.ldexp(sums, -_BITS) + 0.5)
  return np.clip(levels, 0, 255).reshape(-1, *pixels.shape[1:])


@functools.lru_cache(maxsize=8)
def _weights(
  source: int, target: int, size: int, method: Method
) -> tuple[slice, np.ndarray]:
  """Weights of the middle `size` of `target` pixels made from `source` ones.

  Args:
    source: Length of a side, in pixels.
    target: Length after resizing.
    size: Pixels to keep from the middle of it, at most `target`.
    method: Kernel of resizing.

  Returns:
    The source pixels that count, and float64[size, their count], whole numbers:
    each row sums to about 2 ** 22.
  """
  kernel, support = _KERNELS[method]
  scale = source / target
  stretch = max(scale, 1.0)
  centers = ((target - size) // 2 + np.arange(size) + 0.5) * scale
  low = np.maximum(np.floor(centers - support * stretch + 0.5), 0).astype(int)
  high = np.floor(centers + support * stretch + 0.5).astype(int)
  read = slice(low[0], min(high[-1], source))
  pixels = np.arange(read.start, read.stop)
  weights = kernel((pixels - centers[:, None] + 0.5) / stretch)
  weights[(pixels < low[:, None]) | (pixels >= high[:, None])] = 0.0
  scaled = np.ldexp(weights / weights.sum(1, keepdims=True), _BITS)
  return read, np.trunc(scaled + np.copysign(0.5, scaled))


def _keys(x: np.ndarray) -> np.ndarray:
  """The cubic convolution kernel with a = -0.5; 0 beyond two pixels."""
  x = np.abs(x)
  near = (1.5 * x - 2.5) * x * x + 1
  far = ((x - 5) * x + 8) * x * -0.5 + 2
  return np.where(x < 1, near, np.where(x < 2, far, 0.0))


def _triangle(x: np.ndarray) -> np.ndarray:
  """Linear interpolation; 0 beyond one pixel."""
  return np.maximum(1 - np.abs(x), 0)


# Kernel, and the pixels that it reaches on either side.
_KERNELS = {'bicubic': (_keys, 2), 'bilinear': (_triangle, 1)}
