"""A small joint embedding of text and music, in place of MuLan.

`style_features` describes both; a small network each brings them to one
sphere, trained with InfoNCE.
"""

from __future__ import annotations

from collections.abc import Mapping
import dataclasses
from typing import Any

from flax import linen as nn
from flax import traverse_util
import jax
import jax.numpy as jnp
import numpy as np

from v2meow_jax import media
from v2meow_jax import specs
from v2meow_jax.clusters import standardize
from v2meow_jax.extractors import extractor
from v2meow_jax.extractors import text_music
from v2meow_jax.extractors.embedded import style_features
from v2meow_jax.pretrained.text_music import segments


def info_nce(
  text: jax.Array, music: jax.Array, log_scale: jax.Array
) -> jax.Array:
  """Symmetric InfoNCE over a batch of pairs, as in CLIP (Radford et al. 2021).

  Args:
    text: float[batch, dim], unit rows; row i belongs with row i of `music`.
    music: float[batch, dim], unit rows.
    log_scale: float[]; cosines are multiplied by its exponential.

  Returns:
    float32[]; log(batch) when the embeddings carry no information.
  """
  logits = jnp.exp(log_scale) * text @ music.T
  rows = jax.nn.log_softmax(logits, axis=1)
  columns = jax.nn.log_softmax(logits, axis=0)
  return -jnp.mean(jnp.diag(rows) + jnp.diag(columns)) / 2


class Towers(nn.Module):
  """The two networks.

  Attributes:
    emb_dim: Of the joint space.
    hidden_dim: Of the layer before it.
    dropout_rate: Share of words and of music statistics left out in training.
  """

  emb_dim: int = 64
  hidden_dim: int = 128
  dropout_rate: float = 0.5

  def setup(self):
    """Names the layers."""
    self.text_in = nn.Dense(self.hidden_dim, use_bias=False)
    self.text_out = nn.Dense(self.emb_dim)
    self.music_in = nn.Dense(self.hidden_dim)
    self.music_out = nn.Dense(self.emb_dim)
    self.drop = nn.Dropout(self.dropout_rate)
    self.log_scale = self.param('log_scale', nn.initializers.constant(2.3), ())

  def __call__(
    self, text: jax.Array, music: jax.Array, deterministic: bool = True
  ) -> tuple[jax.Array, jax.Array, jax.Array]:
    """float[b, 2048], float[b, 233] -> two float32[b, emb_dim], log scale."""
    text = self.embed_text(text, deterministic)
    music = self.embed_music(music, deterministic)
    # CLIP's bound: a hundredfold.
    return text, music, jnp.minimum(self.log_scale, 4.6)

  def embed_text(
    self, text: jax.Array, deterministic: bool = True
  ) -> jax.Array:
    """float[b, 2048] -> float32[b, emb_dim], unit rows."""
    kept = self.drop(text, deterministic=deterministic)
    # The mean of learnt embeddings of what is left, at a scale that MLPs like.
    mean = self.text_in(kept / (kept.sum(-1, keepdims=True) + 1e-9)) * 20.0
    return _unit(self.text_out(nn.gelu(mean)))

  def embed_music(
    self, music: jax.Array, deterministic: bool = True
  ) -> jax.Array:
    """float[b, 233], standardised -> float32[b, emb_dim], unit rows."""
    hidden = self.music_in(self.drop(music, deterministic=deterministic))
    return _unit(self.music_out(nn.gelu(hidden)))


def _unit(x: jax.Array) -> jax.Array:
  return x / (jnp.linalg.norm(x, axis=-1, keepdims=True) + 1e-6)


@dataclasses.dataclass(frozen=True)
class JointEmbeddingModel:
  """Trains `Towers` on batches of captions and their music.

  A batch holds 'text_features' float32[b, 2048] and 'music_features'
  float32[b, 233], the latter standardised.

  Attributes:
    towers: The networks.
  """

  towers: Towers = dataclasses.field(default_factory=Towers)

  def init(
    self, rng: jax.Array, batch: Mapping[str, jax.Array]
  ) -> dict[str, Any]:
    """{'params': ...} of the towers."""
    return self.towers.init(
      rng,
      jnp.asarray(batch['text_features']),
      jnp.asarray(batch['music_features']),
    )

  def describe(self) -> dict[str, Any]:
    """What rebuilds the model, as JSON data."""
    return {
      'model': 'JointEmbeddingModel',
      'emb_dim': self.towers.emb_dim,
      'hidden_dim': self.towers.hidden_dim,
    }

  def train_loss(
    self,
    params: Any,
    extras: dict[str, Any],
    batch: Mapping[str, jax.Array],
    rng: jax.Array | None,
  ) -> tuple[jax.Array, tuple[dict[str, jax.Array], dict[str, Any]]]:
    """InfoNCE; metrics: the share of texts that find their music, the scale."""
    text, music, log_scale = self.towers.apply(
      {'params': params},
      batch['text_features'],
      batch['music_features'],
      deterministic=rng is None,
      rngs=None if rng is None else {'dropout': rng},
    )
    loss = info_nce(text, music, log_scale)
    found = jnp.argmax(text @ music.T, 1) == jnp.arange(len(text))
    metrics = {
      'loss': loss,
      'text_to_music': found.mean(),
      'scale': jnp.exp(log_scale),
    }
    return loss, (metrics, extras)


def freeze(
  towers_params: Mapping[str, Any],
  scaling: Mapping[str, np.ndarray],
  text: np.ndarray,
  music: np.ndarray,
) -> dict[str, np.ndarray]:
  """Parameters of `HashedText` and `HashedMusic`, as flat arrays.

  Text and music come to lie in two places of the sphere; subtracting each
  one's mean puts them in one, so that a stage trained on music understands
  text (Liang et al. 2022, "Mind the gap").

  Args:
    towers_params: The 'params' collection after training.
    scaling: 'mean' and 'std' of `music_features`.
    text: float[n, 2048], `text_features` of the training captions.
    music: float[n, 233], standardised, of the training clips.

  Returns:
    'mean', 'std', 'text_center', 'music_center' and 'towers/...'.
  """
  towers = _towers_of(towers_params)
  variables = {'params': towers_params}
  method = Towers.embed_text
  text_center = towers.apply(variables, jnp.asarray(text), method=method)
  method = Towers.embed_music
  music_center = towers.apply(variables, jnp.asarray(music), method=method)
  flat = traverse_util.flatten_dict(dict(towers_params), sep='/')
  return {
    'mean': np.asarray(scaling['mean']),
    'std': np.asarray(scaling['std']),
    'text_center': np.asarray(text_center.mean(0)),
    'music_center': np.asarray(music_center.mean(0)),
    **{f'towers/{name}': np.asarray(x) for name, x in flat.items()},
  }


def _towers_of(params: Mapping[str, Any]) -> Towers:
  hidden_dim, emb_dim = params['text_out']['kernel'].shape
  return Towers(emb_dim=emb_dim, hidden_dim=hidden_dim)


def _embed(
  params: Mapping[str, np.ndarray], features: np.ndarray, kind: str
) -> np.ndarray:
  """Centred unit embeddings, float32[n, emb_dim], of 'text' or 'music'."""
  flat = {
    name.removeprefix('towers/'): x
    for name, x in params.items()
    if name.startswith('towers/')
  }
  tree = traverse_util.unflatten_dict(flat, sep='/')
  embedding = _towers_of(tree).apply(
    {'params': tree},
    jnp.asarray(features),
    method={'text': Towers.embed_text, 'music': Towers.embed_music}[kind],
  )
  centred = np.asarray(embedding) - params[f'{kind}_center']
  return centred / (np.linalg.norm(centred, axis=-1, keepdims=True) + 1e-6)


def _check(stream: specs.FeatureSpec, params: Mapping[str, np.ndarray]) -> None:
  text_music.check_stream(stream, len(params['text_center']))


@dataclasses.dataclass(frozen=True)
class HashedText:
  """One vector for a prompt.

  Attributes:
    stream: Static; its dim is that of the towers.
    params: As `freeze` gives them.
  """

  reads = 'text'
  sample_rate_hz = None

  stream: specs.FeatureSpec
  params: Mapping[str, np.ndarray]

  def __post_init__(self):
    _check(self.stream, self.params)

  def __call__(self, item: str) -> np.ndarray:
    """float32[1, dim], a unit vector."""
    return _embed(self.params, style_features.text_features(item)[None], 'text')


@dataclasses.dataclass(frozen=True)
class HashedMusic:
  """One vector for music: the mean over segments of 10 s.

  Attributes:
    stream: Static; its dim is that of the towers.
    params: As `freeze` gives them.
  """

  reads = 'audio'
  sample_rate_hz = style_features.SAMPLE_RATE_HZ

  stream: specs.FeatureSpec
  params: Mapping[str, np.ndarray]

  def __post_init__(self):
    _check(self.stream, self.params)

  def __call__(self, item: media.Audio) -> np.ndarray:
    """float32[1, dim], a unit vector."""
    features = [
      style_features.music_features(s) for s in segments.of_audio(item)
    ]
    scaled = standardize.apply(np.stack(features), self.params)
    mean = _embed(self.params, scaled, 'music').mean(0, keepdims=True)
    return mean / (np.linalg.norm(mean) + 1e-6)


def extractors(
  stream: specs.FeatureSpec, params: Mapping[str, np.ndarray]
) -> dict[str, extractor.Extractor]:
  """Both sides by the names they have in a system: 'style', 'style_text'."""
  return {
    'style': HashedMusic(stream, params),
    'style_text': HashedText(stream, params),
  }
