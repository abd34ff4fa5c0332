"""Published networks that see: each from its file and its settings.

`config` of any of them are sizes other than the published ones.
"""

from __future__ import annotations

from collections.abc import Mapping
import os
from typing import Any

from v2meow_jax import specs
from v2meow_jax.extractors import clip as clip_stream
from v2meow_jax.extractors import flow
from v2meow_jax.extractors import picture_tokens
from v2meow_jax.pretrained import tensors
from v2meow_jax.pretrained.vision import clip
from v2meow_jax.pretrained.vision import clip_weights
from v2meow_jax.pretrained.vision import i3d
from v2meow_jax.pretrained.vision import i3d_weights
from v2meow_jax.pretrained.vision import vit_vqgan
from v2meow_jax.pretrained.vision import vqgan

_ESTIMATORS = {'tv_l1': flow.tv_l1, 'dis': flow.dis}


def clip_embedding(
  stream: specs.FeatureSpec,
  file: os.PathLike,
  *,
  config: Mapping[str, Any] | None = None,
  batch_size: int = 32,
) -> clip_stream.ImageEmbedding:
  """CLIP's image tower; `clip_weights.read` says what may be wrong."""
  sizes = clip.TowerConfig(**config) if config else clip.VIT_L_14
  params = clip_weights.read(file, sizes)
  return clip_stream.ImageEmbedding(
    stream, sizes, params, batch_size=batch_size
  )


def i3d_flow(
  stream: specs.FeatureSpec,
  file: os.PathLike,
  *,
  config: Mapping[str, Any] | None = None,
  estimator: str = 'tv_l1',
  num_flows: int = 24,
  batch_size: int = 4,
) -> flow.I3DFlow:
  """I3D over optical flow by 'tv_l1' or 'dis'."""
  if estimator not in _ESTIMATORS:
    raise ValueError(
      f'the flow estimator is {estimator!r}; wanted one of'
      f' {sorted(_ESTIMATORS)}.'
    )
  sizes = i3d.I3DConfig(**config or {})
  return flow.I3DFlow(
    stream,
    i3d_weights.read(tensors.load(file), sizes),
    sizes,
    _ESTIMATORS[estimator],
    num_flows,
    batch_size,
  )


def vit_vqgan_tokens(
  stream: specs.TokenSpec,
  file: os.PathLike,
  *,
  config: Mapping[str, Any] | None = None,
  batch_size: int = 8,
) -> picture_tokens.PictureTokens:
  """The encoder of the public ViT-VQGAN."""
  sizes = vit_vqgan.VitVqganConfig(**config or {})
  params = vit_vqgan.read(tensors.load(file), sizes)
  network = vit_vqgan.VitVqgan(sizes)
  return picture_tokens.PictureTokens(
    stream, network, params, batch_size=batch_size
  )


def maskgit_vqgan_tokens(
  stream: specs.TokenSpec,
  file: os.PathLike,
  *,
  config: Mapping[str, Any] | None = None,
  batch_size: int = 8,
) -> picture_tokens.PictureTokens:
  """MaskGIT's tokenizer."""
  sizes = vqgan.VqganConfig(**config or {})
  params = vqgan.read(tensors.load(file), sizes)
  network = vqgan.Vqgan(sizes)
  return picture_tokens.PictureTokens(
    stream, network, params, batch_size=batch_size
  )
