"""Computes a dense stream of patches without a network: where and when it moves."""

import dataclasses

import numpy as np

from v2meow_jax import media
from v2meow_jax import specs
from v2meow_jax.extractors import extractor
from v2meow_jax.extractors import images
from v2meow_jax.extractors.embedded import color_motion

# Patches of a picture, row by row, and numbers of one: changes of each of two
# sub-frames, then what it looks like in the middle of the step.
ROWS, COLUMNS = 4, 6
NUM_CHANGES = 4
DIM = color_motion.SUBFRAMES * NUM_CHANGES + 4

_SIDE = 8  # Pixels of a patch, in the gray images that changes are computed on.
_HEIGHT, _WIDTH = ROWS * _SIDE, COLUMNS * _SIDE
_FRAMES_AT_ONCE = 64
# Amounts of change in 40 ms at which compression turns from linear to
# logarithmic, as `color_motion.SCALES`: brighter, darker, right, down.
_SCALES = np.array([4e-3, 4e-3, 0.02, 0.02], np.float32)


def patch_changes(frames: np.ndarray) -> np.ndarray:
  """Changes of each patch from each frame to the next.

  Args:
    frames: uint8[n, h, w, 3].

  Returns:
    float32[n - 1, 24, 4]: by how much it gets brighter and darker, and its
    flow to the right and down, in pixels of a picture of 32 x 48.
  """
  luma = np.concatenate(
    [
      images.gray(frames[i : i + _FRAMES_AT_ONCE], _HEIGHT, _WIDTH)
      for i in range(0, len(frames), _FRAMES_AT_ONCE)
    ]
  )
  difference = np.diff(luma, axis=0)
  # Blocks of half a patch: sums of the flow reach into the next block.
  flow = images.block_flow(luma[:-1], luma[1:], 2 * ROWS, 2 * COLUMNS)
  parts = [
    _in_patches(np.maximum(difference, 0)),
    _in_patches(np.maximum(-difference, 0)),
    *(_in_patches(flow[..., axis]) for axis in (0, 1)),
  ]
  return np.stack(parts, -1).astype(np.float32)


def _in_patches(values: np.ndarray) -> np.ndarray:
  """float[n, height, width] -> float[n, 24]: the mean of each patch."""
  n, height, width = values.shape
  cells = values.reshape(n, ROWS, height // ROWS, COLUMNS, width // COLUMNS)
  return cells.mean((2, 4)).reshape(n, ROWS * COLUMNS)


def patch_colors(frames: np.ndarray) -> np.ndarray:
  """Mean colour and deviation of brightness of each patch.

  Args:
    frames: uint8[n, h, w, 3].

  Returns:
    float32[n, 24, 4], in [0, 1]: red, green, blue, deviation.
  """
  small = images.rgb(frames, _HEIGHT, _WIDTH)
  luma = small @ images.LUMA
  mean = _in_patches(luma)
  power = _in_patches(luma * luma)
  deviation = np.sqrt(np.maximum(power - mean * mean, 0))
  colors = [_in_patches(small[..., channel]) for channel in range(3)]
  return np.stack([*colors, deviation], -1).astype(np.float32)


@dataclasses.dataclass(frozen=True)
class Patches:
  """Emits changes and colours of 4 x 6 patches; it has no weights.

  A change between two frames is spread over the time between them, as in
  `color_motion.motion_features`, so that an event at time t lies in the
  sub-frame that holds t, whatever the frame rate.

  Attributes:
    stream: Stream to emit: 24 positions a frame, of `DIM` numbers.
  """

  reads = 'video'
  sample_rate_hz = None

  stream: specs.FeatureSpec

  def __post_init__(self):
    extractor.check_dim(self.stream.name, self.stream.dim, DIM)
    if self.stream.num_positions != ROWS * COLUMNS:
      raise ValueError(
        f'stream {self.stream.name!r} has {self.stream.num_positions} positions'
        f' a frame, and its extractor gives {ROWS * COLUMNS} patches, {ROWS} x'
        f' {COLUMNS}; set num_positions={ROWS * COLUMNS}.'
      )

  def __call__(self, item: media.Video) -> np.ndarray:
    """float32[frames, 24, 12]; changes of the earlier sub-frame come first."""
    num_frames = item.num_steps(self.stream.rate_hz)
    num_steps = num_frames * color_motion.SUBFRAMES
    changes = patch_changes(item.frames)
    changes = changes.reshape(len(changes), ROWS * COLUMNS * NUM_CHANGES)
    amounts = color_motion.amounts_on_grid(changes, item, num_steps)
    amounts = amounts.reshape(num_steps, -1, NUM_CHANGES)
    compressed = np.sign(amounts) * np.log1p(np.abs(amounts) / _SCALES)
    # [frames, sub-frames, patches, changes] -> [frames, patches, both]
    both = compressed.reshape(num_frames, -1, *compressed.shape[1:])
    both = both.swapaxes(1, 2).reshape(num_frames, ROWS * COLUMNS, -1)
    shown = item.at(item.middles(self.stream.rate_hz))
    return np.concatenate([both, patch_colors(shown)], -1).astype(np.float32)


def motion_curve(frames: np.ndarray) -> np.ndarray:
  """How much a picture changes, out of its patches.

  Args:
    frames: float[..., frames, 24, 12] of `Patches`.

  Returns:
    float[..., 2 * frames], the mean change of brightness in each sub-frame.
  """
  changes = frames[..., : DIM - 4]
  changes = changes.reshape(
    *changes.shape[:-1], color_motion.SUBFRAMES, NUM_CHANGES
  )
  curve = changes[..., :2].sum(-1).mean(-2)
  return curve.reshape(*curve.shape[:-2], -1)
