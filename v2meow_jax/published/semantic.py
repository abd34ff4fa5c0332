"""Semantic tokens of published networks: an encoder and its clusters.

`clusters` is the file that `v2meow data fit` writes for the encoder, and says
which encoder that was.
"""

from __future__ import annotations

from collections.abc import Mapping
import dataclasses
import functools
import inspect
import json
import os
import pathlib
from typing import Any

import numpy as np
import safetensors

from v2meow_jax import specs
from v2meow_jax.extractors import clustered_tokens
from v2meow_jax.files import atomic
from v2meow_jax.files import released
from v2meow_jax.pretrained import tensors
from v2meow_jax.pretrained.audio import conformer
from v2meow_jax.pretrained.audio import mert
from v2meow_jax.pretrained.audio import musicfm
from v2meow_jax.pretrained.audio import musicfm_weights
from v2meow_jax.pretrained.audio import semantic_encoder
from v2meow_jax.pretrained.audio import w2v_bert

_KEY = 'heard_by'


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


def heard_by(
  kind: str, file: os.PathLike, settings: Mapping[str, Any]
) -> dict[str, Any]:
  """What tells an encoder from others, as JSON data.

  Args:
    kind: Of `ENCODERS`.
    file: Of its weights.
    settings: That it is made with; what is left out counts as its default.

  Returns:
    'kind', 'weights', 'sha256' of them, and all 'settings'.
  """
  bound = inspect.signature(ENCODERS[kind]).bind(file, **settings)
  bound.apply_defaults()
  path = pathlib.Path(file)
  found = {
    'kind': kind,
    'weights': path.name,
    'sha256': atomic.sha256(path),
    'settings': dict(list(bound.arguments.items())[1:]),
  }
  return json.loads(json.dumps(found, default=dataclasses.asdict))


def write_clusters(
  path: pathlib.Path,
  params: Mapping[str, np.ndarray],
  hearer: Mapping[str, Any],
) -> None:
  """Saves clusters, and which encoder they are of: see `heard_by`."""
  metadata = {_KEY: json.dumps(hearer, sort_keys=True)}
  released.write_tensors(path, dict(params), None, metadata)


def _check_heard_by(path: pathlib.Path, wanted: Mapping[str, Any]) -> None:
  """Raises ValueError unless the clusters of a file are of an encoder."""
  with safetensors.safe_open(path, 'numpy') as f:
    found = json.loads((f.metadata() or {}).get(_KEY, 'null'))
  # What the file of weights is called does not matter.
  if {**(found or {}), 'weights': ''} != {**wanted, 'weights': ''}:
    origin = f'to {found}' if found else 'without saying to what'
    raise ValueError(
      f'the clusters of {path} were fitted {origin}, and this recipe hears with'
      f' {wanted}: name the encoder, layer and weights that they are of, or fit'
      ' them again with v2meow data fit.'
    )


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
  params = tensors.load(path)
  _check_heard_by(path, heard_by(kind, file, settings))
  encoder = ENCODERS[kind](file, **settings)
  return clustered_tokens.ClusteredTokens(stream, encoder, params)


musicfm_tokens = functools.partial(_tokens, 'musicfm')
w2v_bert_tokens = functools.partial(_tokens, 'w2v_bert')
mert_tokens = functools.partial(_tokens, 'mert')
