"""Turns video into CLIP image embeddings, or features of their patches."""

from collections.abc import Mapping
import os
from typing import Any

import numpy as np

from v2meow_jax import specs
from v2meow_jax.extractors import extractor
from v2meow_jax.extractors import picture_stream
from v2meow_jax.pretrained.vision import clip
from v2meow_jax.pretrained.vision import clip_weights


class ImageEmbedding(picture_stream.PictureStream):
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


def load_patches(
  stream: specs.FeatureSpec,
  file: os.PathLike,
  *,
  config: Mapping[str, Any] | None = None,
  batch_size: int = 32,
) -> picture_stream.PatchFeatures:
  """As `load`, of patches as the last layer leaves them, before any norm."""
  sizes, params = _tower(file, config)
  return picture_stream.PatchFeatures(
    stream,
    sizes,
    clip.patch_features,
    params,
    batch_size=batch_size,
    has_class_token=True,
  )


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
