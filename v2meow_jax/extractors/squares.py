"""Cuts frames to the square images that networks read, in even batches."""

from collections.abc import Callable
import math

import numpy as np

from v2meow_jax import media
from v2meow_jax import specs
from v2meow_jax.extractors import resampling


def of_video(
  video: media.Video,
  rate_hz: float,
  size: int,
  method: resampling.Method = 'bicubic',
) -> np.ndarray:
  """Cuts the frame on screen at the middle of each step of a stream.

  Frames should be as decoded: resizing before the network's own changes its
  output.

  Args:
    video: A stretch of video.
    rate_hz: Frames a second of the stream.
    size: Side of the squares, in pixels.
    method: Kernel of resizing.

  Returns:
    uint8[frames, size, size, 3].
  """
  return at(video, video.middles(rate_hz), size, method)


def at(
  video: media.Video,
  times: np.ndarray,
  size: int,
  method: resampling.Method = 'bicubic',
) -> np.ndarray:
  """As `of_video`, at float64[n] clip seconds: uint8[n, size, size, 3]."""
  # One by one: frames may be large, and the squares are not.
  return np.concatenate(
    [
      resampling.center_square(video.at(time), size, method)
      for time in times[:, None]
    ]
  )


def in_batches(
  network: Callable[[np.ndarray], np.ndarray],
  inputs: np.ndarray,
  batch_size: int,
) -> np.ndarray:
  """Runs a network over frames in batches, so that its memory is bounded.

  Args:
    network: array[batch_size, ...] -> array[batch_size, ...].
    inputs: array[n, ...], n >= 1.
    batch_size: Rows in one call; the last batch is filled up with zeros.

  Returns:
    array[n, ...]; a row depends on its input alone.
  """
  rows = []
  for i in range(0, len(inputs), batch_size):
    some = inputs[i : i + batch_size]
    missing = batch_size - len(some)
    full = np.pad(some, ((0, missing), *[(0, 0)] * (inputs.ndim - 1)))
    rows.append(network(full))
  return np.concatenate(rows)[: len(inputs)]


def check_rate(stream: specs.Stream, batch_size: int) -> None:
  """Raises ValueError unless rate and batch size are numbers above 0."""
  if not 0 < stream.rate_hz < math.inf or batch_size < 1:
    raise ValueError(
      f'stream {stream.name!r} has rate_hz={stream.rate_hz} and batch_size is'
      f' {batch_size}; pictures are read at a rate, so both must be more than'
      ' 0, and finite.'
    )
