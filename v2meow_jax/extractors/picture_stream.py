"""Streams of networks that read one picture of each step."""

import abc
from collections.abc import Callable
from collections.abc import Mapping
import math
from typing import Any

import jax
import numpy as np

from v2meow_jax import media
from v2meow_jax import specs
from v2meow_jax.extractors import extractor
from v2meow_jax.extractors import squares


class PictureStream(abc.ABC):
  """Runs a network on the frame at the middle of each step.

  Attributes:
    stream: Stream to emit.
    config: Sizes of the network, with `image_size` in pixels.
    batch_size: Images in one call of the network.
  """

  reads = 'video'
  sample_rate_hz = None

  def __init__(
    self,
    stream: specs.FeatureSpec,
    config: Any,
    params: Mapping[str, Any],
    *,
    batch_size: int = 8,
  ):
    """Puts the parameters of the network on the device.

    Raises:
      ValueError: The stream does not fit the network, or has no rate.
    """
    self.stream = stream
    self.config = config
    self.batch_size = batch_size
    self._check()
    squares.check_rate(stream, batch_size)
    self._params = jax.device_put(dict(params))

  @abc.abstractmethod
  def _check(self) -> None:
    """Raises ValueError unless the stream fits the network."""

  def __call__(self, item: media.Video) -> np.ndarray:
    """float32[frames, ...], of the shape of the stream's frames."""
    return self.embed(self.inputs(item))

  def inputs(self, item: media.Video) -> np.ndarray:
    """uint8[frames, size, size, 3]: the input pictures of the network."""
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


class PatchFeatures(PictureStream):
  """The patches of the frame at the middle of each step, as a network sees them.

  Neighbours are averaged to the positions of the stream, of which records hold
  ten times a second; one position more is the class token, which comes first. The
  dim of the stream is the `emb_dim` of the config.
  """

  def __init__(
    self,
    stream: specs.FeatureSpec,
    config: Any,
    network: Callable[..., jax.Array],
    params: Mapping[str, Any],
    *,
    batch_size: int = 8,
    has_class_token: bool = False,
  ):
    """Keeps a network whose features are those of patches.

    Args:
      stream: Stream to emit.
      config: Sizes of the network, with `patch_size` and `emb_dim`.
      network: (config, parameters, uint8[b, size, size, 3], side) -> float32[b,
        side^2, emb_dim]: `patch_features` of a network; with True as one more
        argument the class token precedes the cells.
      params: Parameters of the network.
      batch_size: Images in one call.
      has_class_token: Whether the network has a class token.

    Raises:
      ValueError: The stream does not fit the network, or has no rate.
    """
    self._network = network
    self._has_class_token = has_class_token
    super().__init__(stream, config, params, batch_size=batch_size)

  def _check(self) -> None:
    stream, config = self.stream, self.config
    extractor.check_dim(stream.name, stream.dim, config.emb_dim)
    across = config.image_size // config.patch_size
    side = cells_across(stream, across, self._has_class_token)
    with_token = stream.num_positions > side**2
    self._wanted = (side, True) if with_token else (side,)

  def outputs(self, inputs: np.ndarray) -> np.ndarray:
    """uint8[batch_size, size, size, 3] -> float32[batch_size, positions, dim]."""
    return np.asarray(
      self._network(self.config, self._params, inputs, *self._wanted)
    )


def cells_across(
  stream: specs.FeatureSpec, num_patches: int, has_class_token: bool = False
) -> int:
  """Cells along a side of the pictures of a stream.

  Args:
    stream: Stream whose positions are the cells.
    num_patches: Patches along a side, as a network sees them.
    has_class_token: Whether one position more may be a class token.

  Returns:
    The number of cells.

  Raises:
    ValueError: They are no square, or more than patches.
  """
  side = math.isqrt(stream.num_positions)
  left = stream.num_positions - side**2
  if left > has_class_token or side > num_patches:
    token = 'and a class token' if has_class_token else 'and no class token'
    also = ', or one position more for the token' if has_class_token else ''
    raise ValueError(
      f'stream {stream.name!r} has {stream.num_positions} positions a frame,'
      f' and the network {num_patches} x {num_patches} patches {token}; wanted a'
      f' square of {num_patches} x {num_patches} cells or fewer{also}.'
    )
  return side
