"""Turns video into DINOv2's features of patches."""

from collections.abc import Mapping
import os
from typing import Any

from v2meow_jax import specs
from v2meow_jax.extractors import picture_stream
from v2meow_jax.pretrained import tensors
from v2meow_jax.pretrained.vision import dinov2

_PUBLISHED = {768: dinov2.BASE, 1024: dinov2.LARGE}  # By their widths.


def load_patches(
  stream: specs.FeatureSpec,
  file: os.PathLike,
  *,
  config: Mapping[str, Any] | None = None,
  batch_size: int = 32,
) -> picture_stream.PatchFeatures:
  """Loads DINOv2 for the patches of the picture, after the last norm.

  The published processor resizes to 256 and cuts 224 out of the middle; the
  whole square is resized to 224 here, because music follows its borders too.

  Args:
    stream: Stream to emit; its dim says which of the published sizes it is of.
    file: A .safetensors file in the published layout.
    config: Sizes other than the published ones.
    batch_size: Images in one call of the network.

  Raises:
    ValueError: There is no published size of the stream's dim, the stream does
      not fit the network, or the file is of another.
  """
  if config:
    sizes = dinov2.Dinov2Config(**config)
  elif stream.dim in _PUBLISHED:
    sizes = _PUBLISHED[stream.dim]
  else:
    raise ValueError(
      f'stream {stream.name!r} has dim {stream.dim}; DINOv2 gives'
      f' {sorted(_PUBLISHED)}.'
    )
  params = dinov2.read(tensors.load(file), sizes)
  return picture_stream.PatchFeatures(
    stream, sizes, dinov2.patch_features, params, batch_size=batch_size
  )
