"""Turns video into CLIP image embeddings, or features of their patches."""

import abc
from collections.abc import Mapping
import math
import os
from typing import Any

import jax
import numpy as np

from v2meow_jax import media
from v2meow_jax import specs
from v2meow_jax.extractors import extractor
from v2meow_jax.extractors import squares
from v2meow_jax.pretrained.vision import clip
from v2meow_jax.pretrained.vision import clip_weights


class _OfFrames(abc.ABC):
  """Runs CLIP's image tower on the frame at the middle of each step.

  Attributes:
    stream: Stream to emit.
    config: Sizes of the tower.
    batch_size: Images in one call of the network.
  """

  reads = 'video'
  sample_rate_hz = None

  def __init__(
    self,
    stream: specs.FeatureSpec,
    config: clip.ImageTowerConfig,
    params: Mapping[str, Any],
    *,
    batch_size: int = 8,
  ):
    """Puts `params`, from `clip_weights.read`, on the device.

    Raises:
      ValueError: The stream does not fit the tower, or has no rate.
    """
    self.stream = stream
    self.config = config
    self.batch_size = batch_size
    self._check()
    squares.check_rate(stream, batch_size)
    self._params = jax.device_put(dict(params))

  @abc.abstractmethod
  def _check(self) -> None:
    """Raises ValueError unless the stream fits the tower."""

  def __call__(self, item: media.Video) -> np.ndarray:
    """float32[frames, ...], of the shape of the stream's frames."""
    return self.embed(self.inputs(item))

  def inputs(self, item: media.Video) -> np.ndarray:
    """uint8[frames, size, size, 3]: the input pictures of the tower."""
    size = self.config.image_size
    return squares.of_video(item, self.stream.rate_hz, size)

  @abc.abstractmethod
  def outputs(self, inputs: np.ndarray) -> np.ndarray:
    """uint8[batch_size, size, size, 3] -> float32[batch_size, ...]."""

  def embed(self, images: np.ndarray) -> np.ndarray:
    """Embeds images of any origin, in batches of one size.

    Args:
      images: uint8[n, size, size, 3] of `resampling.center_square`; n >= 1.

    Returns:
      float32[n, ...]; a row depends on its image alone.
    """
    return squares.in_batches(self.outputs, images, self.batch_size)


class ImageEmbedding(_OfFrames):
  """Embeds and projects the frame at the middle of each step.

  Not scaled to unit length, like `CLIPVisionModelWithProjection`; the dim of the
  stream is the tower's `projection_dim`.
  """

  def _check(self) -> None:
    stream = self.stream
    extractor.check_dim(stream.name, stream.dim, self.config.projection_dim)

  def outputs(self, inputs: np.ndarray) -> np.ndarray:
    """uint8[batch_size, size, size, 3] -> float32[batch_size, dim]."""
    return np.asarray(clip.embed(self.config, self._params, inputs))


class PatchFeatures(_OfFrames):
  """The patches of the frame at the middle of each step, as CLIP sees them.

  The last layer's, before any norm or projection; neighbours are averaged to
  the positions of the stream, of which records hold ten times a second. The dim
  of the stream is the tower's `emb_dim`.
  """

  def _check(self) -> None:
    stream, config = self.stream, self.config
    extractor.check_dim(stream.name, stream.dim, config.emb_dim)
    across = config.image_size // config.patch_size
    self._side = math.isqrt(stream.num_positions)
    if self._side**2 != stream.num_positions or across % self._side:
      raise ValueError(
        f'stream {stream.name!r} has {stream.num_positions} positions a frame,'
        f' and the tower {across} x {across} patches; wanted a square whose side'
        f' divides {across}.'
      )

  def outputs(self, inputs: np.ndarray) -> np.ndarray:
    """uint8[batch_size, size, size, 3] -> float32[batch_size, positions, dim]."""
    return np.asarray(
      clip.patch_features(self.config, self._params, inputs, self._side)
    )


def load_patches(
  stream: specs.FeatureSpec,
  file: os.PathLike,
  *,
  config: Mapping[str, Any] | None = None,
  batch_size: int = 32,
) -> PatchFeatures:
  """As `load`, of features of patches."""
  sizes, params = _tower(file, config)
  return PatchFeatures(stream, sizes, params, batch_size=batch_size)


def load(
  stream: specs.FeatureSpec,
  file: os.PathLike,
  *,
  config: Mapping[str, Any] | None = None,
  batch_size: int = 32,
) -> ImageEmbedding:
  """Loads CLIP's image tower; `config` holds sizes other than the published."""
  sizes, params = _tower(file, config)
  return ImageEmbedding(stream, sizes, params, batch_size=batch_size)


def _tower(
  file: os.PathLike, config: Mapping[str, Any] | None
) -> tuple[clip.ImageTowerConfig, dict[str, Any]]:
  sizes = clip.ImageTowerConfig(**config) if config else clip.VIT_L_14
  return sizes, clip_weights.read(file, sizes)
