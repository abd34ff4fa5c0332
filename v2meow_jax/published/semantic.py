"""Semantic tokens of published networks: an encoder and its clusters.

`clusters` is the file that `v2meow data fit` writes for the encoder.
"""

from __future__ import annotations

from collections.abc import Mapping
import functools
import os
import pathlib
from typing import Any

from v2meow_jax import specs
from v2meow_jax.features import clustered_tokens
from v2meow_jax.features import conformer
from v2meow_jax.features import mert
from v2meow_jax.features import musicfm
from v2meow_jax.features import musicfm_weights
from v2meow_jax.features import semantic_encoder
from v2meow_jax.features import w2v_bert
from v2meow_jax.weights import tensors


def musicfm_encoder(
  file: os.PathLike,
  *,
  layer: int = 7,
  config: Mapping[str, Any] | None = None,
) -> semantic_encoder.SemanticEncoder:
  """MusicFM; `config` are sizes other than the published ones."""
  sizes = musicfm.PUBLISHED
  if config:
    inner = conformer.ConformerConfig(**config['conformer'])
    sizes = musicfm.MusicFMConfig(**{**config, 'conformer': inner})
  return musicfm_weights.load(file, layer=layer, config=sizes)


# Each is (file, **settings) -> encoder.
ENCODERS = {
  'musicfm': musicfm_encoder,
  'w2v_bert': w2v_bert.load,
  'mert': mert.load,
}


def _tokens(
  kind: str,
  stream: specs.TokenSpec,
  file: os.PathLike,
  *,
  clusters: str,
  **settings: Any,
) -> clustered_tokens.ClusteredTokens:
  path = pathlib.Path(clusters).expanduser()
  if not path.is_file():
    raise ValueError(
      f'the clusters of stream {stream.name!r} are not at {path}: fit them with'
      f' v2meow data fit MANIFEST -o {path} and the --gin_file of this recipe.'
    )
  encoder = ENCODERS[kind](file, **settings)
  return clustered_tokens.ClusteredTokens(stream, encoder, tensors.load(path))


musicfm_tokens = functools.partial(_tokens, 'musicfm')
w2v_bert_tokens = functools.partial(_tokens, 'w2v_bert')
mert_tokens = functools.partial(_tokens, 'mert')
