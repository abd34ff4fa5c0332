"""Trains and runs a small joint embedding of text and music, in place of MuLan.

`style_features` describes both; two small networks, trained with InfoNCE, map
them to one sphere.
"""

from collections.abc import Mapping
import dataclasses
import math
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
from v2meow_jax.extractors import vocabulary
from v2meow_jax.extractors.embedded import style_features
from v2meow_jax.pretrained.text_music import segments

# Of a fit to clips; systems from before 'vocabulary' know every word.
_OF_FIT = ('mean', 'std', 'vocabulary')


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


class StyleTowers(nn.Module):
  """The networks of text and of music.

  Attributes:
    emb_dim: Width of the joint space.
    hidden_dim: Width of the layer before it.
    dropout_rate: Share of words and of music statistics dropped in training.
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
    words = self.drop(text, deterministic=deterministic)
    # The mean of learnt embeddings of what is left, at a scale that MLPs like.
    mean = self.text_in(words / (words.sum(-1, keepdims=True) + 1e-9)) * 20.0
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
  """Trains `StyleTowers` on batches of captions and their music.

  A batch holds 'text_features' float32[b, 2048] and 'music_features'
  float32[b, 233], the latter standardised.

  Attributes:
    towers: The networks.
  """

  towers: StyleTowers = dataclasses.field(default_factory=StyleTowers)

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
    """Returns JSON data that rebuilds the model."""
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
    """InfoNCE; metrics: share of texts nearest to their own music, scale."""
    text, music, log_scale = self.towers.apply(
      {'params': params},
      batch['text_features'],
      batch['music_features'],
      deterministic=rng is None,
      rngs=None if rng is None else {'dropout': rng},
    )
    loss = info_nce(text, music, log_scale)
    correct = jnp.argmax(text @ music.T, 1) == jnp.arange(len(text))
    metrics = {
      'loss': loss,
      'text_to_music': correct.mean(),
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

  Text and music come to lie in two regions of the sphere; subtracting each mean
  brings them together, so that a stage trained on music understands text (Liang
  et al. 2022, "Mind the gap").

  Args:
    towers_params: The 'params' collection after training.
    scaling: 'mean' and 'std' of `music_features`; 'vocabulary' of the captions,
      if it is known.
    text: float[n, 2048], `text_features` of the training captions.
    music: float[n, 233], standardised, of the training clips.

  Returns:
    'mean', 'std', 'vocabulary', 'text_center', 'music_center', 'towers/...'.
  """
  towers = towers_of(towers_params)
  variables = {'params': towers_params}
  method = StyleTowers.embed_text
  text_center = towers.apply(variables, jnp.asarray(text), method=method)
  method = StyleTowers.embed_music
  music_center = towers.apply(variables, jnp.asarray(music), method=method)
  flat = traverse_util.flatten_dict(dict(towers_params), sep='/')
  return {
    **{name: np.asarray(scaling[name]) for name in _OF_FIT if name in scaling},
    'text_center': np.asarray(text_center.mean(0)),
    'music_center': np.asarray(music_center.mean(0)),
    **{f'towers/{name}': np.asarray(x) for name, x in flat.items()},
  }


def towers_of(params: Mapping[str, Any]) -> StyleTowers:
  """The networks whose 'params' collection is given."""
  hidden_dim, emb_dim = params['text_out']['kernel'].shape
  return StyleTowers(emb_dim=emb_dim, hidden_dim=hidden_dim)


def _embed(
  params: Mapping[str, np.ndarray], features: np.ndarray, kind: str
) -> np.ndarray:
  """Centred unit embeddings, float32[n, emb_dim], of 'text' or 'music'.

  `StyleTowers` without dropout, in numpy: a row or two are not worth the wait
  for a compiler.
  """

  def dense(layer: str, x: np.ndarray) -> np.ndarray:
    name = f'towers/{kind}_{layer}'
    return x @ params[f'{name}/kernel'] + params.get(f'{name}/bias', 0.0)

  x = np.asarray(features, np.float32)
  if kind == 'text':
    x = 20.0 * dense('in', x / (x.sum(-1, keepdims=True) + 1e-9))
  else:
    x = dense('in', x)
  gelu = x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))) / 2
  embedding = dense('out', gelu)
  norm = np.linalg.norm(embedding, axis=-1, keepdims=True)
  centred = embedding / (norm + 1e-6) - params[f'{kind}_center']
  return centred / (np.linalg.norm(centred, axis=-1, keepdims=True) + 1e-6)


@dataclasses.dataclass(frozen=True)
class _Hashed:
  """Emits one vector for an item.

  Attributes:
    stream: Static stream to emit; its dim is that of the towers.
    params: Parameters from `freeze`.
  """

  stream: specs.FeatureSpec
  params: Mapping[str, np.ndarray]

  def __post_init__(self):
    text_music.check_stream(self.stream, len(self.params['text_center']))


class HashedText(_Hashed):
  """Embeds a prompt as one vector."""

  reads = 'text'
  sample_rate_hz = None

  def knows(self, text: str) -> bool:
    """Whether a word of a text was met in training, or one much like it."""
    return vocabulary.knows(self.params.get('vocabulary'), text)

  def __call__(self, item: str) -> np.ndarray:
    """float32[1, dim], a unit vector."""
    return _embed(self.params, style_features.text_features(item)[None], 'text')


class HashedMusic(_Hashed):
  """Embeds music as one vector, the mean over segments of 10 s."""

  reads = 'audio'
  sample_rate_hz = style_features.SAMPLE_RATE_HZ

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
