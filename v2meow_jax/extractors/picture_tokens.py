"""Turns video into picture tokens, by ViT-VQGAN or VQGAN."""

from collections.abc import Callable
from collections.abc import Mapping
import functools
import os
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from v2meow_jax import media
from v2meow_jax import specs
from v2meow_jax.extractors import squares
from v2meow_jax.pretrained import tensors
from v2meow_jax.pretrained.vision import vit_vqgan
from v2meow_jax.pretrained.vision import vqgan

PictureEncoder = vit_vqgan.VitVqgan | vqgan.Vqgan


class PictureTokens:
  """Encodes the frame at the middle of each step, row by row.

  Attributes:
    stream: Stream to emit, with `num_positions` codes a frame.
    network: Network from pixels to codes.
    batch_size: Images in one call of the network.
  """

  reads = 'video'
  sample_rate_hz = None

  def __init__(
    self,
    stream: specs.TokenSpec,
    network: PictureEncoder,
    params: Mapping[str, Any],
    *,
    batch_size: int = 4,
  ):
    """Puts `params`, from `read` in the module of the network, on the device.

    Raises:
      ValueError: The stream does not fit the network.
    """
    config = network.config
    wanted = config.num_tokens, config.codebook_size
    sizes = stream.num_positions, stream.codebook_size
    if sizes != wanted:
      raise ValueError(
        f'stream {stream.name!r} has {sizes[0]} positions of {sizes[1]} codes;'
        f' {type(network).__name__} gives {wanted[0]} of {wanted[1]}.'
      )
    squares.check_rate(stream, batch_size)
    self.stream = stream
    self.network = network
    self.batch_size = batch_size
    variables = jax.device_put({'params': dict(params)})

    @jax.jit
    def codes(variables, images):
      # In full: accelerators would round the factors of a float32 product.
      with jax.default_matmul_precision('float32'):
        return network.apply(variables, images.astype(jnp.float32) / 255)

    self._codes = lambda images: codes(variables, images)

  def __call__(self, item: media.Video) -> np.ndarray:
    """int32[frames, num_positions]."""
    return squares.in_batches(self.outputs, self.inputs(item), self.batch_size)

  def inputs(self, item: media.Video) -> np.ndarray:
    """uint8[frames, size, size, 3]: the input pictures of the network."""
    size = self.network.config.image_size
    return squares.of_video(item, self.stream.rate_hz, size, 'bilinear')

  def outputs(self, inputs: np.ndarray) -> np.ndarray:
    """uint8[batch_size, size, size, 3] -> int32[batch_size, num_positions]."""
    return np.asarray(self._codes(inputs))


def _load(
  read: Callable[..., Any],
  network: Callable[..., Any],
  kind: Callable[..., Any],
  stream: specs.TokenSpec,
  file: os.PathLike,
  *,
  config: Mapping[str, Any] | None = None,
  batch_size: int = 8,
) -> PictureTokens:
  sizes = kind(**config or {})
  params = read(tensors.load(file), sizes)
  return PictureTokens(stream, network(sizes), params, batch_size=batch_size)


# The public ViT-VQGAN and MaskGIT's tokenizer; `config` holds other sizes.
load_vit_vqgan = functools.partial(
  _load, vit_vqgan.read, vit_vqgan.VitVqgan, vit_vqgan.VitVqganConfig
)
load_maskgit_vqgan = functools.partial(
  _load, vqgan.read, vqgan.Vqgan, vqgan.VqganConfig
)
