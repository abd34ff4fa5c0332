"""Computes when a picture moves suddenly, without a network."""

import dataclasses

import numpy as np

from v2meow_jax import media
from v2meow_jax import specs
from v2meow_jax.extractors import extractor
from v2meow_jax.extractors.embedded import color_motion

# Columns of `color_motion.changes` that tell an accent: energy, cut, and the
# peak of the most changing blocks.
_COLUMNS = (0, 4, 10)
_SECONDS = 2.0  # An accent stands out from so much of its neighbourhood.
_SPREAD = 4.0  # Deviations above the usual that make a full accent.
_QUIET = 0.1  # Added to the deviation, so that noise stays small.


@dataclasses.dataclass(frozen=True)
class Accents:
  """Emits how far the change in each frame stands out, 1 being an accent.

  Changes are in units of `color_motion.SCALES`, compressed, and compared with
  the median and the usual deviation of the nearest two seconds. It has no
  weights. Training alone reads it.

  Attributes:
    stream: Stream to emit, of one number a frame.
  """

  reads = 'video'
  sample_rate_hz = None
  is_standardised = True

  stream: specs.FeatureSpec

  def __post_init__(self):
    extractor.check_dim(self.stream.name, self.stream.dim, 1)

  def __call__(self, item: media.Video) -> np.ndarray:
    """float32[frames, 1], in [0, 1]; zeros of a still picture."""
    count = item.num_steps(self.stream.rate_hz)
    amounts = color_motion.amounts_on_grid(
      color_motion.changes(item.frames), item, count
    )
    change = np.log1p(np.maximum(amounts, 0) / color_motion.SCALES)
    curve = change[:, _COLUMNS].mean(1)
    width = min(count, round(_SECONDS * self.stream.rate_hz))
    near = np.lib.stride_tricks.sliding_window_view(curve, width)
    first = np.clip(np.arange(count) - width // 2, 0, len(near) - 1)
    usual = np.median(near, 1)
    deviation = np.median(np.abs(near - usual[:, None]), 1)[first]
    above = (curve - usual[first]) / (_SPREAD * (deviation + _QUIET))
    # Of what goes on for several frames, the strongest is the accent.
    before, after = np.pad(curve, 1)[:-2], np.pad(curve, 1)[2:]
    peaks = (curve >= before) & (curve > after)
    return np.clip(above * peaks, 0, 1)[:, None].astype(np.float32)
