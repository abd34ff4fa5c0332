"""Turns video into features of patches: of DINOv2, Hiera and VideoMAE V2.

Published processors resize to 256 or so and cut 224 out of the middle; the whole
square is resized to 224 here, because music follows its borders too. CLIP's
patches are in `clip`, beside the rest of its tower.
"""

from collections.abc import Mapping
import os
from typing import Any

import jax
import numpy as np

from v2meow_jax import media
from v2meow_jax import specs
from v2meow_jax.extractors import extractor
from v2meow_jax.extractors import picture_stream
from v2meow_jax.extractors import squares
from v2meow_jax.pretrained import tensors
from v2meow_jax.pretrained.vision import dinov2
from v2meow_jax.pretrained.vision import hiera
from v2meow_jax.pretrained.vision import videomae

# As videos are read for networks of others.
_MOST_SECONDS = 2.0


class VideoPatches:
  """Patches of each step, as a network over clips of several frames sees them.

  Each step of the stream is two frames, a quarter of a step before and after its
  middle. A stretch of video is cut into clips of whole steps; the last begins
  earlier, so that it ends with the stretch, and a stretch that is shorter than a
  clip goes on with its last frame.
  """

  reads = 'video'
  sample_rate_hz = None

  def __init__(
    self,
    stream: specs.FeatureSpec,
    config: videomae.VideoMaeConfig,
    params: Mapping[str, Any],
    *,
    batch_size: int = 4,
  ):
    """Puts the parameters of the network on the device.

    Args:
      stream: Stream to emit; its dim is the `emb_dim` of the config.
      config: Sizes of the network.
      params: Parameters of `videomae.read`.
      batch_size: Clips in one call of the network; bounds its memory.

    Raises:
      ValueError: The stream does not fit the network, or its rate is so low
        that a clip is longer than the stretches that videos are read in.
    """
    extractor.check_dim(stream.name, stream.dim, config.emb_dim)
    squares.check_rate(stream, batch_size)
    least = config.num_steps / _MOST_SECONDS
    if stream.rate_hz < least:
      raise ValueError(
        f'stream {stream.name!r} has a step every {1 / stream.rate_hz:g} s, so'
        f' that a clip of {config.num_frames} frames takes'
        f' {config.num_steps / stream.rate_hz:g} s, longer than the stretches of'
        f' {_MOST_SECONDS:g} s that videos are read in; wanted'
        f' rate_hz={least:g} or more.'
      )
    across = config.image_size // config.patch_size
    self.stream = stream
    self.config = config
    self.batch_size = batch_size
    self._side = picture_stream.cells_across(stream, across)
    self._params = jax.device_put(dict(params))

  def __call__(self, item: media.Video) -> np.ndarray:
    """float32[frames, positions, dim], without positions if there is one."""
    starts, clips = self._clips(item)
    num_steps = self.config.num_steps
    found = squares.in_batches(self.embed_clips, clips, self.batch_size)
    steps = np.empty((starts[-1] + num_steps, *found.shape[2:]), np.float32)
    for start, rows in zip(starts, found, strict=True):
      steps[start : start + num_steps] = rows
    steps = steps[: item.num_steps(self.stream.rate_hz)]
    return steps.reshape(len(steps), *self.stream.frame_shape)

  def embed_clips(self, clips: np.ndarray) -> np.ndarray:
    """uint8[b, frames, size, size, 3] -> float32[b, steps, positions, dim]."""
    return np.asarray(
      videomae.patch_features(self.config, self._params, clips, self._side)
    )

  def _clips(self, item: media.Video) -> tuple[list[int], np.ndarray]:
    """First steps of clips, and uint8[clips, frames, size, size, 3]."""
    step, config = 1 / self.stream.rate_hz, self.config
    offsets = np.array([-step, step]) / 4
    times = item.middles(self.stream.rate_hz)[:, None] + offsets
    # As the published processor resizes.
    frames = squares.at(item, times.ravel(), config.image_size, 'bilinear')
    missing = max(config.num_frames - len(frames), 0)
    frames = np.pad(frames, ((0, missing), *[(0, 0)] * 3), mode='edge')
    last = len(frames) // videomae.TUBELET - config.num_steps
    starts = [*range(0, last, config.num_steps), last]
    firsts = [start * videomae.TUBELET for start in starts]
    return starts, np.stack([frames[i : i + config.num_frames] for i in firsts])


def load_dinov2(
  stream: specs.FeatureSpec,
  file: os.PathLike,
  *,
  config: Mapping[str, Any] | None = None,
  batch_size: int = 32,
) -> picture_stream.PatchFeatures:
  """Loads DINOv2 for the patches of the picture, after the last norm.

  Args:
    stream: Stream to emit, of the width of the network.
    file: A .safetensors file in the published layout, of either size.
    config: Sizes other than the published ones.
    batch_size: Images in one call of the network.

  Raises:
    ValueError: The stream does not fit the network, or the file is of another.
  """
  sizes, params = _read(dinov2, dinov2.Dinov2Config, stream, file, config)
  return picture_stream.PatchFeatures(
    stream,
    sizes,
    dinov2.patch_features,
    params,
    batch_size=batch_size,
    has_class_token=True,
  )


def load_hiera(
  stream: specs.FeatureSpec,
  file: os.PathLike,
  *,
  config: Mapping[str, Any] | None = None,
  batch_size: int = 32,
) -> picture_stream.PatchFeatures:
  """As `load_dinov2`, of Hiera: cells of its 7 x 7 last tokens, by area."""
  sizes, params = _read(hiera, hiera.HieraConfig, stream, file, config)
  return picture_stream.PatchFeatures(
    stream, sizes, hiera.patch_features, params, batch_size=batch_size
  )


def load_videomae(
  stream: specs.FeatureSpec,
  file: os.PathLike,
  *,
  config: Mapping[str, Any] | None = None,
  batch_size: int = 4,
) -> VideoPatches:
  """As `load_dinov2`, of VideoMAE V2; a batch is of clips of 16 frames."""
  sizes, params = _read(videomae, videomae.VideoMaeConfig, stream, file, config)
  return VideoPatches(stream, sizes, params, batch_size=batch_size)


def _read(
  network: Any,
  kind: type[Any],
  stream: specs.FeatureSpec,
  file: os.PathLike,
  config: Mapping[str, Any] | None,
) -> tuple[Any, dict[str, Any]]:
  """Sizes and parameters of a file, by a module with BASE, LARGE and `read`."""
  state = tensors.load(file)
  sizes = kind(**config) if config else _sizes(network, stream, state)
  return sizes, network.read(state, sizes)


def _sizes(
  network: Any, stream: specs.FeatureSpec, state: Mapping[str, np.ndarray]
) -> Any:
  """The published sizes that a file is of."""
  published = (network.BASE, network.LARGE)
  # Whatever the layers are called, norms are as wide as the network; of wider
  # networks none is as narrow as a smaller one.
  widths = {x.shape[0] for x in state.values() if x.ndim == 1}
  sizes = next((c for c in published if c.emb_dim in widths), None)
  if sizes is None:
    return published[0]  # Whose reader says what is missing.
  if sizes.emb_dim != stream.dim:
    raise ValueError(
      f'stream {stream.name!r} has dim {stream.dim}, but the weights are of'
      f' {sizes.artefact}, which gives {sizes.emb_dim}: take others of'
      f' {[c.artefact for c in published]}, or bind'
      f' stages.paper_streams.patch_dim={sizes.emb_dim} (slow_patch_dim for'
      ' what is seen once a second), in training too.'
    )
  return sizes
