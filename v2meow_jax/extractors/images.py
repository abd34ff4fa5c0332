"""Resizes frames; computes soft histograms and block flow."""

import functools

import numpy as np

# BT.601 luma.
LUMA = np.array([0.299, 0.587, 0.114], np.float32)
# Added to the diagonal of each structure tensor (luma in [0, 1]): below this
# gradient energy a block has no flow to speak of.
_FLAT = 0.02


@functools.lru_cache(maxsize=64)
def _averaging(source: int, target: int) -> np.ndarray:
  """float32[target, source]: each row averages one target cell's overlap."""
  low = np.arange(target)[:, None] * source / target
  high = low + source / target
  pixels = np.arange(source)[None]
  overlap = np.minimum(high, pixels + 1) - np.maximum(low, pixels)
  overlap = np.maximum(overlap, 0)
  return (overlap / overlap.sum(1, keepdims=True)).astype(np.float32)


@functools.lru_cache(maxsize=64)
def _interpolating(source: int, target: int) -> np.ndarray:
  """float32[target, source]: each row mixes the two nearest pixels."""
  centers = (np.arange(target) + 0.5) * source / target - 0.5
  centers = np.clip(centers, 0, source - 1)[:, None]
  near = np.maximum(1 - np.abs(centers - np.arange(source)), 0)
  return near.astype(np.float32)


@functools.lru_cache(maxsize=64)
def _luma_columns(source: int, target: int) -> np.ndarray:
  """float32[source * 3, target]: averages columns and weighs the channels."""
  columns = _averaging(source, target).T[:, None, :] * LUMA[None, :, None]
  return np.ascontiguousarray(columns.reshape(source * 3, target) / 255)


@functools.lru_cache(maxsize=64)
def _rgb_columns(source: int, target: int) -> np.ndarray:
  """float32[source * 3, target * 3]: averages columns, channel by channel."""
  columns = np.kron(_averaging(source, target).T, np.eye(3))
  return (columns / 255).astype(np.float32)


def gray(frames: np.ndarray, height: int, width: int) -> np.ndarray:
  """uint8[n, h, w, 3] -> luma float32[n, height, width], averaged, [0, 1]."""
  return _rows(frames, height) @ _luma_columns(frames.shape[2], width)


def gray_enlarged(frames: np.ndarray, height: int, width: int) -> np.ndarray:
  """uint8[n, h, w, 3] -> luma float32[n, height, width], in [0, 1].

  Interpolates linearly between the centres of pixels; never shrinks.
  """
  luma = frames @ LUMA / np.float32(255)
  rows = _interpolating(frames.shape[1], height)
  return rows @ luma @ _interpolating(frames.shape[2], width).T


def rgb(frames: np.ndarray, height: int, width: int) -> np.ndarray:
  """uint8[n, h, w, 3] -> float32[n, height, width, 3], area-averaged, [0, 1]."""
  small = _rows(frames, height) @ _rgb_columns(frames.shape[2], width)
  return small.reshape(len(frames), height, width, 3)


def _rows(frames: np.ndarray, height: int) -> np.ndarray:
  """uint8[n, h, w, 3] -> float32[n, height, w * 3], rows averaged.

  One product a frame: in a product of all of them, how a frame is rounded
  would depend on their number.
  """
  n, h, w, _ = frames.shape
  flat = frames.reshape(n, h, w * 3).astype(np.float32)
  return _averaging(h, height) @ flat


def soft_histogram(
  values: np.ndarray,
  num_bins: int,
  *,
  weights: np.ndarray | None = None,
  circular: bool = False,
) -> np.ndarray:
  """Histogram whose values are shared linearly between the two nearest bins.

  So a small change of a value changes the histogram a little.

  Args:
    values: float[n, count], in [0, 1].
    num_bins: Number of bins; circular ones lie at i / num_bins, others are
      spread from 0 to 1 inclusive.
    weights: float[n, count]; None: all 1.
    circular: Whether 1 is the same value as 0.

  Returns:
    float32[n, num_bins]: sums of weights over `count`; a row sums to the mean
    weight.
  """
  span = num_bins if circular else num_bins - 1
  position = values * span
  low = np.floor(position).astype(np.int64)
  low = np.minimum(low, span if circular else span - 1)
  share = position - low
  weights = np.ones_like(values) if weights is None else weights
  rows = np.arange(len(values))[:, None] * num_bins
  total = np.zeros(len(values) * num_bins)
  for index, weight in ((low, 1 - share), (low + 1, share)):
    total += np.bincount(
      (rows + index % num_bins).ravel(),
      (weight * weights).ravel(),
      minlength=len(total),
    )
  return (total / values.shape[1]).reshape(-1, num_bins).astype(np.float32)


def hue_saturation_value(colors: np.ndarray) -> tuple[np.ndarray, ...]:
  """The hexcone model: float[..., 3] RGB in [0, 1] -> hue, saturation, value.

  >>> [float(x) for x in hue_saturation_value(np.array([0.0, 0.5, 0.0]))]
  [0.3333333333333333, 1.0, 0.5]

  Args:
    colors: RGB.

  Returns:
    Three float[...] in [0, 1]; red has hue 0; gray has hue 0, saturation 0.
  """
  r, g, b = np.moveaxis(colors, -1, 0)
  value = colors.max(-1)
  chroma = value - colors.min(-1)
  safe = np.where(chroma > 0, chroma, 1)
  hue = np.where(
    value == r,
    ((g - b) / safe) % 6,
    np.where(value == g, (b - r) / safe + 2, (r - g) / safe + 4),
  )
  saturation = chroma / np.where(value > 0, value, 1)
  return np.where(chroma > 0, hue / 6, 0.0), saturation, value


def block_flow(
  before: np.ndarray, after: np.ndarray, rows: int, columns: int
) -> np.ndarray:
  """Displacement of blocks between images, by least squares on gradients.

  Lucas and Kanade (1981), one step, with a small ridge so that flat blocks
  give 0. Sums run over each block and its eight neighbours.

  Args:
    before: float[n, height, width], luma in [0, 1].
    after: float[n, height, width].
    rows: Number of rows of blocks; divides the height.
    columns: Number of columns of blocks; divides the width.

  Returns:
    float32[n, rows, columns, 2]: right and down, in pixels of these images.
  """
  middle = (before + after) / 2
  dx = np.gradient(middle, axis=2)
  dy = np.gradient(middle, axis=1)
  dt = after - before

  def pooled(product: np.ndarray) -> np.ndarray:
    n, h, w = product.shape
    blocks = product.reshape(n, rows, h // rows, columns, w // columns)
    padded = np.pad(blocks.sum((2, 4)), ((0, 0), (1, 1), (1, 1)))
    down = padded[:, :-2] + padded[:, 1:-1] + padded[:, 2:]
    return down[..., :-2] + down[..., 1:-1] + down[..., 2:]

  xx = pooled(dx * dx) + _FLAT
  yy = pooled(dy * dy) + _FLAT
  xy = pooled(dx * dy)
  xt = pooled(dx * dt)
  yt = pooled(dy * dt)
  determinant = xx * yy - xy * xy
  u = (xy * yt - yy * xt) / determinant
  v = (xy * xt - xx * yt) / determinant
  return np.stack([u, v], -1).astype(np.float32)
