"""Computes small visual streams without a network: appearance and motion."""

from collections.abc import Mapping
import dataclasses

import numpy as np

from v2meow_jax import media
from v2meow_jax import specs
from v2meow_jax.clusters import standardize
from v2meow_jax.extractors import extractor
from v2meow_jax.extractors import images

APPEARANCE_DIM = 96
# Width of a sub-frame of motion, and sub-frames in a frame of the stream: a
# 12.5 Hz stream has changes at 25 Hz.
MOTION_DIM = 16
SUBFRAMES = 2

_HEIGHT, _WIDTH = 27, 48  # Gray images that motion is computed on.
_FLOW_ROWS, _FLOW_COLUMNS = 9, 12
_PEAK_SHARE = 0.05  # The most changing blocks that count as the peak.
# A frame that stays longer than this changed at its end: a screen recording
# at a variable rate shows one frame for seconds, then another.
_MAX_INTERVAL_SECONDS = 0.1
_MEDIAN_SECONDS = 2.0
_FRAMES_AT_ONCE = 64

# Amounts of change in 40 ms at which compression turns from linear to
# logarithmic: about what a still, slightly noisy camera gives. By column of
# `changes`: energy, brighter, darker, colour, cut, speed, u, v, expansion,
# contraction, peak.
SCALES = np.array(
  [4e-3, 2e-3, 2e-3, 4e-3, 2e-2, 0.02, 0.02, 0.02, 5e-3, 5e-3, 1e-2],
  np.float32,
)
# Columns that also come relative to their neighbourhood in time.
_RELATIVE = [0, 1, 5, 8, 10]


def appearance_features(frames: np.ndarray) -> np.ndarray:
  """Computes colour, layout and texture of single frames.

  Args:
    frames: uint8[n, h, w, 3].

  Returns:
    float32[n, 96], about [0, 1]: hue (12), saturation (6) and value (8)
    histograms; mean colours of a 4 x 4 grid (48) whose outer rows are thin,
    and deviations of colour (3); brightness percentiles (4); mirror symmetry
    (2); edge orientations (8) and strength (1), energy at four scales (4).
  """
  n = len(frames)
  small = images.rgb(frames, 54, 96)
  luma = small @ images.LUMA
  pixels = small.reshape(n, -1, 3)
  hue, saturation, value = images.hue_saturation_value(pixels)
  flat = luma.reshape(n, -1)
  mirrored = [
    np.abs(luma - luma[:, :, ::-1]).mean((1, 2)),
    np.abs(luma - luma[:, ::-1]).mean((1, 2)),
  ]
  parts = [
    np.sqrt(
      images.soft_histogram(hue, 12, weights=saturation * value, circular=True)
    ),
    np.sqrt(images.soft_histogram(saturation, 6)),
    np.sqrt(images.soft_histogram(value, 8)),
    _layout(small),
    2 * pixels.std(1),
    np.percentile(flat, [5, 25, 75, 95], axis=1).T,
    np.exp(-8 * np.stack(mirrored, 1)),
    _texture(luma),
  ]
  return np.concatenate(parts, 1).astype(np.float32)


def _layout(small: np.ndarray) -> np.ndarray:
  """float[n, 54, 96, 3] -> float[n, 48]: mean colours of a 4 x 4 grid."""
  columns = small.reshape(len(small), 54, 4, 24, 3).mean(3)
  # Borders differ from the middle: subtitles, bars, sky, ground.
  rows = np.add.reduceat(columns, [0, 6, 27, 48], axis=1)
  rows /= np.array([6, 21, 21, 6], np.float32)[:, None, None]
  return rows.reshape(len(small), 48)


def _texture(luma: np.ndarray) -> np.ndarray:
  """float[n, 54, 96] -> float[n, 13]: edges and energy by scale."""
  n = len(luma)
  dy, dx = np.gradient(luma, axis=(1, 2))
  strength = np.hypot(dx, dy)
  # Edges have no direction: an angle and its opposite are one orientation.
  angle = (np.arctan2(dy, dx) / np.pi) % 1.0
  orientation = images.soft_histogram(
    angle.reshape(n, -1), 8, weights=strength.reshape(n, -1), circular=True
  )
  mean_strength = strength.mean((1, 2))[:, None]
  energies = []
  level = luma[:, :48]
  for _ in range(4):
    rows, columns = level.shape[1] // 2, level.shape[2] // 2
    coarser = level.reshape(n, rows, 2, columns, 2).mean((2, 4))
    detail = level - coarser.repeat(2, 1).repeat(2, 2)
    energies.append(detail.std((1, 2)))
    level = coarser
  return np.concatenate(
    [
      np.sqrt(orientation / (mean_strength + 1e-3)),
      np.sqrt(4 * mean_strength),
      np.sqrt(4 * np.stack(energies, 1)),
    ],
    1,
  )


def motion_features(video: media.Video, num_frames: int) -> np.ndarray:
  """Computes changes on an even grid of time.

  A change between neighbouring frames is spread over the time between them, so
  that a flash at time t lies in the sub-frame that holds t, and amounts do not
  depend on the frame rate. If a stretch of a longer video has one frame before
  its start and one after its end, its changes equal those of the whole; without
  the latter, the time after its last frame gets the median change. Only the
  last five columns look further, at the nearest two seconds within the stretch.

  Args:
    video: A stretch of video.
    num_frames: Number of sub-frames in `video.seconds`.

  Returns:
    float32[num_frames, 16].
  """
  amounts = amounts_on_grid(changes(video.frames), video, num_frames)
  compressed = np.sign(amounts) * np.log1p(np.abs(amounts) / SCALES)
  width = round(_MEDIAN_SECONDS * num_frames / video.seconds)
  relative = _relative(compressed[:, _RELATIVE], width)
  return np.concatenate([compressed, relative], 1).astype(np.float32)


def changes(frames: np.ndarray) -> np.ndarray:
  """Changes from each frame to the next: float32[len(frames) - 1, 11]."""
  gray, histograms, colors = [], [], []
  for i in range(0, len(frames), _FRAMES_AT_ONCE):
    some = frames[i : i + _FRAMES_AT_ONCE]
    gray.append(images.gray(some, _HEIGHT, _WIDTH))
    small = images.rgb(some, 9, 16)
    colors.append(small)
    channels = np.moveaxis(small.reshape(len(some), -1, 3), 2, 1)
    histogram = images.soft_histogram(channels.reshape(len(some) * 3, -1), 8)
    histograms.append(histogram.reshape(len(some), -1))
  luma = np.concatenate(gray)
  difference = np.diff(luma, axis=0)
  n = len(difference)
  blocks = np.abs(difference).reshape(n, 9, 3, 12, 4).mean((2, 4))
  num_peaks = max(1, round(_PEAK_SHARE * blocks[0].size)) if n else 1
  peaks = np.sort(blocks.reshape(n, 9 * 12), 1)[:, -num_peaks:]
  flow = images.block_flow(luma[:-1], luma[1:], _FLOW_ROWS, _FLOW_COLUMNS)
  divergence = np.gradient(flow[..., 0], axis=2) + np.gradient(
    flow[..., 1], axis=1
  )
  columns = [
    np.abs(difference).mean((1, 2)),
    np.maximum(difference, 0).mean((1, 2)),
    np.maximum(-difference, 0).mean((1, 2)),
    np.abs(np.diff(np.concatenate(colors), axis=0)).mean((1, 2, 3)),
    np.abs(np.diff(np.concatenate(histograms), axis=0)).sum(1) / 6,
    np.hypot(flow[..., 0], flow[..., 1]).mean((1, 2)),
    flow[..., 0].mean((1, 2)),
    flow[..., 1].mean((1, 2)),
    np.maximum(divergence, 0).mean((1, 2)),
    np.maximum(-divergence, 0).mean((1, 2)),
    peaks.mean(1),
  ]
  return np.stack(columns, 1).astype(np.float32)


def amounts_on_grid(
  changes: np.ndarray, video: media.Video, num_steps: int
) -> np.ndarray:
  """Amounts of change in 40 ms, so that scales hold whatever the grid is.

  Args:
    changes: float[n - 1, dim], from each of the n frames to the next.
    video: A stretch of video.
    num_steps: Number of steps in `video.seconds`.

  Returns:
    float64[num_steps, dim].
  """
  edges = np.linspace(0, video.seconds, num_steps + 1) + video.start_seconds
  amounts = spread(changes, np.asarray(video.times), edges)
  amounts *= 0.04 * num_steps / video.seconds
  return amounts


def spread(
  changes: np.ndarray, times: np.ndarray, edges: np.ndarray
) -> np.ndarray:
  """Sums changes between `edges`, each spread over its frames' interval.

  Args:
    changes: float[n, dim]; row i happened from times[i] to times[i + 1].
    times: float[n + 1], rising.
    edges: float[m + 1], rising.

  Returns:
    float64[m, dim]. Time outside `times` gets the median rate of change.
  """
  if not len(changes):
    return np.zeros((len(edges) - 1, changes.shape[1]))
  ends = times[1:]
  starts = np.maximum(times[:-1], ends - _MAX_INTERVAL_SECONDS)
  rates = changes / np.maximum(ends - starts, 1e-6)[:, None]
  usual = np.median(rates, 0) if len(rates) > 2 else np.zeros(rates.shape[1])
  # The integral of the rate of change, a polygon through these points.
  points = np.stack([starts, ends], 1).ravel()
  sums = np.cumsum(changes, 0)
  values = np.stack([sums - changes, sums], 1).reshape(len(points), -1)
  columns = [
    np.interp(edges, points, values[:, i]) for i in range(values.shape[1])
  ]
  inside = np.diff(np.stack(columns, 1), axis=0)
  covered = np.clip(edges, times[0], times[-1])
  outside = np.diff(edges) - np.diff(covered)
  return inside + outside[:, None] * usual


def _relative(values: np.ndarray, width: int) -> np.ndarray:
  """(value - median) / (95th percentile - median) of the nearest `width`.

  Peaks of a calm and of a wild video are then alike. A quarter is added to the
  denominator, so that noise stays small.

  Args:
    values: float[n, dim].
    width: Rows in the window, which stays inside the n rows.

  Returns:
    float[n, dim], clipped to [-2, 4].
  """
  width = min(width, len(values))
  windows = np.lib.stride_tricks.sliding_window_view(values, width, axis=0)
  ordered = np.sort(windows, -1)
  nearest = np.clip(np.arange(len(values)) - width // 2, 0, len(ordered) - 1)
  middle = ordered[nearest, :, width // 2]
  high = ordered[nearest, :, min(width - 1, int(0.95 * width))]
  return np.clip((values - middle) / (high - middle + 0.25), -2, 4)


@dataclasses.dataclass(frozen=True)
class Appearance:
  """Emits colour, layout and texture of the frame at the middle of each step.

  Attributes:
    stream: Stream to emit; its dim is `APPEARANCE_DIM`.
    params: 'mean' and 'std' of `appearance_features`.
  """

  reads = 'video'
  sample_rate_hz = None
  is_standardised = True

  stream: specs.FeatureSpec
  params: Mapping[str, np.ndarray]

  def __post_init__(self):
    extractor.check_dim(self.stream.name, self.stream.dim, APPEARANCE_DIM)

  def __call__(self, item: media.Video) -> np.ndarray:
    """float32[frames, 96]."""
    return standardize.apply(appearance_frames(item, self.stream), self.params)


def appearance_frames(
  video: media.Video, stream: specs.FeatureSpec
) -> np.ndarray:
  """`appearance_features` at the times of a stream's frames."""
  return appearance_features(video.at(video.middles(stream.rate_hz)))


@dataclasses.dataclass(frozen=True)
class Motion:
  """Emits amounts of change and optical flow, two sub-frames in a frame.

  Attributes:
    stream: Stream to emit; its dim is `SUBFRAMES * MOTION_DIM`.
    params: 'mean' and 'std' of `motion_features`.
  """

  reads = 'video'
  sample_rate_hz = None
  is_standardised = True

  stream: specs.FeatureSpec
  params: Mapping[str, np.ndarray]

  def __post_init__(self):
    extractor.check_dim(
      self.stream.name, self.stream.dim, SUBFRAMES * MOTION_DIM
    )

  def __call__(self, item: media.Video) -> np.ndarray:
    """float32[frames, 32]; an earlier sub-frame comes first."""
    scaled = standardize.apply(motion_frames(item, self.stream), self.params)
    return scaled.reshape(-1, SUBFRAMES * MOTION_DIM)


def motion_frames(video: media.Video, stream: specs.FeatureSpec) -> np.ndarray:
  """`motion_features` of the sub-frames of a stream: float32[2 * frames, 16]."""
  return motion_features(video, video.num_steps(stream.rate_hz) * SUBFRAMES)
