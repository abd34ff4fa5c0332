"""Teaches a style network other words for the styles that it knows.

Distillation (Hinton et al. 2015, https://arxiv.org/abs/1503.02531) from captions to
prompts: for the prompt of a piece, the network learns the vector that it has for
the caption of the piece. Words cost nothing, so there can be many more of them than
there is music; and a stage that was trained on the old vectors needs no training.
"""

from collections.abc import Mapping
import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from v2meow_jax.extractors.embedded import joint_embedding
from v2meow_jax.extractors.embedded import style_features


@dataclasses.dataclass(frozen=True)
class SynonymModel:
  """Trains the network of text of `joint_embedding.StyleTowers`.

  A batch holds 'text_features' float32[b, 2048] and 'wanted' float32[b, emb_dim],
  unit vectors. The network of music is that of the run that it starts from.

  Attributes:
    towers: The networks.
  """

  towers: joint_embedding.StyleTowers = dataclasses.field(
    default_factory=joint_embedding.StyleTowers
  )

  def init(
    self, rng: jax.Array, batch: Mapping[str, jax.Array]
  ) -> dict[str, Any]:
    """{'params': ...} of both networks."""
    text = jnp.asarray(batch['text_features'])
    music = jnp.zeros((len(text), style_features.MUSIC_DIM))
    return self.towers.init(rng, text, music)

  def describe(self) -> dict[str, Any]:
    """Returns JSON data that rebuilds the networks."""
    return joint_embedding.JointEmbeddingModel(self.towers).describe()

  def train_loss(
    self,
    params: Any,
    extras: dict[str, Any],
    batch: Mapping[str, jax.Array],
    rng: jax.Array | None,
  ) -> tuple[jax.Array, tuple[dict[str, jax.Array], dict[str, Any]]]:
    """1 less the cosine to what is wanted, which is the metric."""
    text = self.towers.apply(
      {'params': params},
      batch['text_features'],
      deterministic=rng is None,
      rngs=None if rng is None else {'dropout': rng},
      method=joint_embedding.StyleTowers.embed_text,
    )
    cosine = jnp.sum(text * batch['wanted'], -1).mean()
    return 1 - cosine, ({'loss': 1 - cosine, 'cosine': cosine}, extras)
