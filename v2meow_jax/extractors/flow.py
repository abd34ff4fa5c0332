"""Computes dense optical flow by OpenCV, and I3D features of it.

OpenCV is the extra `flow`: `python -m pip install -e '.[flow]'`.
"""

from collections.abc import Callable
from collections.abc import Mapping
import dataclasses
import functools
import os
from typing import Any

import jax
import numpy as np

from v2meow_jax import media
from v2meow_jax import specs
from v2meow_jax.extractors import extractor
from v2meow_jax.extractors import images
from v2meow_jax.extractors import squares
from v2meow_jax.pretrained import tensors
from v2meow_jax.pretrained.vision import i3d
from v2meow_jax.pretrained.vision import i3d_weights

# As in the training of the published I3D: https://github.com/google-deepmind/
# kinetics-i3d, section "Sample data and preprocessing".
FRAME_RATE_HZ = 25.0
SHORT_SIDE = 256
CROP = 224
MAX_FLOW = 20.0  # Pixels from frame to frame.

# float32[n - 1, h, w, 2], right and down, in pixels, from gray uint8[n, h, w].
Estimator = Callable[[np.ndarray], np.ndarray]


def tv_l1(frames: np.ndarray) -> np.ndarray:
  """TV-L1 flow (Zach et al. 2007), OpenCV's settings; slower than real time."""
  return _between(frames, _cv2().optflow.DualTVL1OpticalFlow_create().calc)


def dis(frames: np.ndarray) -> np.ndarray:
  """DIS flow (Kroeger et al. 2016), medium preset; tens of frames a second."""
  cv2 = _cv2()
  preset = cv2.DISOPTICAL_FLOW_PRESET_MEDIUM
  return _between(frames, cv2.DISOpticalFlow_create(preset).calc)


def _between(frames, calc) -> np.ndarray:
  pairs = zip(frames[:-1], frames[1:], strict=True)
  return np.stack([calc(before, after, None) for before, after in pairs])


def _cv2() -> Any:
  try:
    import cv2
  except ImportError as e:
    raise ImportError(
      'optical flow needs OpenCV with its contributed modules: python -m pip'
      " install -c requirements.lock -e '.[flow]'"
    ) from e
  return cv2


@dataclasses.dataclass(frozen=True)
class I3DFlow:
  """Computes I3D features of the flow around the middle of each step.

  Each step has a window of its own, at 25 frames a second whatever the rate of
  the stream: flow between frames that are a second apart is noise.

  Attributes:
    stream: Stream to emit; its dim is that of the network.
    params: Parameters of `i3d.I3D`, from `i3d_weights.read`.
    config: Sizes of the network.
    estimator: Flow of gray frames: `tv_l1`, as in the network's training, or
      the faster `dis`.
    num_flows: Flow fields in a window; 24 are 0.96 s. Not longer than a step of
      the stream, because videos are read in pieces of whole steps.
    batch_size: Windows in one call of the network; bounds its memory.
  """

  reads = 'video'
  sample_rate_hz = None

  stream: specs.FeatureSpec
  params: Mapping[str, Any]
  config: i3d.I3DConfig = i3d.I3DConfig()
  estimator: Estimator = tv_l1
  num_flows: int = 24
  batch_size: int = 1

  def __post_init__(self):
    extractor.check_dim(self.stream.name, self.stream.dim, self.config.dim)
    if self.num_flows < i3d.MIN_FRAMES:
      raise ValueError(
        f'num_flows is {self.num_flows}; I3D reads {i3d.MIN_FRAMES} or more.'
      )
    window_seconds = self.num_flows / FRAME_RATE_HZ
    if window_seconds * self.stream.rate_hz > 1:
      raise ValueError(
        f'num_flows is {self.num_flows}, a window of {window_seconds:g} s, but'
        f' stream {self.stream.name!r} has a step every'
        f' {1 / self.stream.rate_hz:g} s; wanted a window within its step, as'
        ' the piece of a video that is read may end there: lower num_flows or'
        ' rate_hz.'
      )

  def __call__(self, item: media.Video) -> np.ndarray:
    """float32[frames, dim]."""
    return squares.in_batches(self.outputs, self.inputs(item), self.batch_size)

  def inputs(self, item: media.Video) -> np.ndarray:
    """float32[frames, num_flows, 224, 224, 2]: the flow input of I3D."""
    offsets = np.arange(self.num_flows + 1) - self.num_flows / 2
    windows = []
    for middle in item.middles(self.stream.rate_hz):
      frames = item.at(middle + offsets / FRAME_RATE_HZ)
      windows.append(network_inputs(self.estimator(gray_frames(frames))))
    return np.stack(windows)

  def outputs(self, inputs: np.ndarray) -> np.ndarray:
    """float32[batch_size, num_flows, 224, 224, 2] -> [batch_size, dim]."""
    return np.asarray(self._network(inputs))

  @functools.cached_property
  def _network(self):
    module = i3d.I3D(self.config)
    variables = jax.device_put({'params': dict(self.params)})

    @jax.jit
    def apply(variables, flow):
      # In full: accelerators would round the factors of a float32 product.
      with jax.default_matmul_precision('float32'):
        return module.apply(variables, flow)

    return lambda flow: apply(variables, flow)


def gray_frames(frames: np.ndarray) -> np.ndarray:
  """uint8[n, h, w, 3] -> uint8[n, h', w'], the shorter side `SHORT_SIDE`.

  Shrinks by averaging over areas, so that nothing aliases; enlarges linearly,
  as in the network's training.
  """
  height, width = frames.shape[1:3]
  scale = SHORT_SIDE / min(height, width)
  resize = images.gray if scale <= 1 else images.gray_enlarged
  size = round(height * scale), round(width * scale)
  # One by one: 25 frames of 1080 lines take 620 MB as floats.
  gray = np.concatenate([resize(frame[None], *size) for frame in frames])
  return np.rint(gray * 255).astype(np.uint8)


def network_inputs(flow: np.ndarray) -> np.ndarray:
  """Crops and scales flow for I3D.

  Args:
    flow: float32[n, h, w, 2], in pixels; both sides at least `CROP`.

  Returns:
    float32[n, 224, 224, 2]: the middle, clipped to 20 pixels, in [-1, 1].
  """
  top, left = ((size - CROP) // 2 for size in flow.shape[1:3])
  middle = flow[:, top : top + CROP, left : left + CROP]
  return np.clip(middle, -MAX_FLOW, MAX_FLOW) / MAX_FLOW


_ESTIMATORS = {'tv_l1': tv_l1, 'dis': dis}


def load(
  stream: specs.FeatureSpec,
  file: os.PathLike,
  *,
  config: Mapping[str, Any] | None = None,
  estimator: str = 'tv_l1',
  num_flows: int = 24,
  batch_size: int = 4,
) -> I3DFlow:
  """Loads I3D over flow from `file`; other arguments as of `I3DFlow`.

  Raises:
    ValueError: There is no such estimator, or the weights do not fit.
  """
  if estimator not in _ESTIMATORS:
    raise ValueError(
      f'the flow estimator is {estimator!r}; wanted one of'
      f' {sorted(_ESTIMATORS)}.'
    )
  sizes = i3d.I3DConfig(**config or {})
  params = i3d_weights.read(tensors.load(file), sizes)
  return I3DFlow(
    stream, params, sizes, _ESTIMATORS[estimator], num_flows, batch_size
  )
