"""Two towers that bring text and music to one sphere, in MuLan's place.

As MuLan (Huang et al. 2022, https://arxiv.org/abs/2208.12415): a Transformer on
patches of a log mel spectrogram and one on text, trained on captions and their
music by InfoNCE. Layers are those of the stages; texts are bytes.
"""

from collections.abc import Mapping
import dataclasses
from typing import Any

from flax import linen as nn
import jax
import jax.numpy as jnp

from v2meow_jax.models import layers
from v2meow_jax.models import logical_axes as axes
from v2meow_jax.models.blocks import heads
from v2meow_jax.models.blocks import transformer_layers
from v2meow_jax.models.objectives import contrastive as contrastive_loss

# Id 0 pads; bytes and a start need 258, and axes are split in multiples of 128.
_VOCAB_SIZE = 384


@dataclasses.dataclass(frozen=True, kw_only=True)
class TowerSizes:
  """Sizes of each of the two towers; names as in `TransformerConfig`.

  Attributes:
    joint_dim: Width of the space that both reach.
    emb_dim: Width of the residual stream.
    num_heads: Attention heads.
    head_dim: Width of one head.
    mlp_dim: Width of the hidden layer of the feed-forward blocks.
    num_layers: Layers of each tower.
    patch_frames: Frames of a patch; divides those of the spectrogram.
    patch_bands: Bands of a patch; divides those of the spectrogram.
    dropout_rate: Share of activations to drop.
    dtype: Computation in 'float32' or 'bfloat16'; parameters, softmax,
      embeddings and loss stay float32.
    remat: A gradient computes the inside of each layer again.
    fused_attention: No matrix of weights: see `fused_attention.attend`.
  """

  joint_dim: int
  emb_dim: int
  num_heads: int
  head_dim: int
  mlp_dim: int
  num_layers: int
  patch_frames: int
  patch_bands: int
  dropout_rate: float = 0.0
  dtype: str = 'float32'
  remat: bool = False
  fused_attention: bool = False


class Tower(nn.Module):
  """A Transformer over vectors whose mean is projected to the joint space."""

  config: TowerSizes

  @nn.compact
  def __call__(
    self, x: jax.Array, weights: jax.Array, deterministic: bool
  ) -> jax.Array:
    """Encodes sequences of one length.

    Args:
      x: float[b, length, emb_dim].
      weights: float32[b, length]; 0 leaves a position out of the mean.
      deterministic: No dropout.

    Returns:
      float32[b, joint_dim], unit rows.
    """
    c = self.config
    positions = self.param(
      'positions', layers.normal(1.0, axes.LENGTH, axes.EMBED), x.shape[1:]
    )
    drop = layers.Dropout(c.dropout_rate)
    x = drop((x + positions).astype(c.dtype), deterministic)
    layer = transformer_layers.EncoderLayer
    if c.remat:
      layer = nn.remat(layer, static_argnums=3)
    for i in range(c.num_layers):
      x = layer(c, name=f'encoder_{i}')(x, None, deterministic)
    x = layers.RMSNorm(jnp.float32, name='encoder_norm')(x)
    pooled = jnp.einsum(
      'ble,bl->be', x, weights / weights.sum(1, keepdims=True)
    )
    kernel = self.param(
      'projection',
      layers.normal(c.emb_dim**-0.5, axes.EMBED, axes.JOINT_DIM),
      (c.emb_dim, c.joint_dim),
    )
    return layers.unit(drop(pooled[:, None], deterministic)[:, 0] @ kernel)


class TextMusicTowers(nn.Module):
  """Both towers, and the scale of their cosines."""

  config: TowerSizes

  def setup(self):
    """Makes the parameters and layers."""
    c = self.config
    self.bytes = self.param(
      'byte_embedding',
      layers.normal(1.0, axes.VOCAB, axes.EMBED),
      (_VOCAB_SIZE, c.emb_dim),
    )
    patch_dim = c.patch_frames * c.patch_bands
    self.patches = self.param(
      'patch_embedding',
      layers.normal(patch_dim**-0.5, axes.INPUT_DIM, axes.EMBED),
      (patch_dim, c.emb_dim),
    )
    self.text = Tower(c)
    self.music = Tower(c)
    self.log_scale = self.param('log_scale', heads.first_log_scale, ())

  def embed_text(
    self, text_ids: jax.Array, deterministic: bool = True
  ) -> jax.Array:
    """int32[b, length], 0 pads -> float32[b, joint_dim], unit rows.

    Padding is seen by the layers, as a byte of its own, and has no part in the
    mean; each text has some other id.
    """
    counts = (text_ids != 0).astype(jnp.float32)
    return self.text(self.bytes[text_ids], counts, deterministic)

  def embed_music(
    self, log_mel: jax.Array, deterministic: bool = True
  ) -> jax.Array:
    """float32[b, frames, bands] -> float32[b, joint_dim], unit rows."""
    c = self.config
    b, frames, bands = log_mel.shape
    if frames % c.patch_frames or bands % c.patch_bands:
      raise ValueError(
        f'spectrograms of {frames} frames and {bands} bands do not divide into'
        f' patches of {c.patch_frames} and {c.patch_bands}; change patch_frames'
        ' or patch_bands.'
      )
    grid = log_mel.reshape(
      b, frames // c.patch_frames, c.patch_frames, -1, c.patch_bands
    )
    # [b, rows, patch_frames, columns, patch_bands] -> [b, patches, patch_dim]
    patches = grid.swapaxes(2, 3).reshape(b, -1, len(self.patches))
    x = patches.astype(c.dtype) @ self.patches.astype(c.dtype)
    return self.music(x, jnp.ones(x.shape[:2]), deterministic)

  def __call__(
    self, text_ids: jax.Array, log_mel: jax.Array, deterministic: bool = True
  ) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Two of float32[b, joint_dim], and the scale of cosines, at most 100."""
    text = self.embed_text(text_ids, deterministic)
    music = self.embed_music(log_mel, deterministic)
    scale = heads.cosine_scale(self.log_scale)
    return text, music, scale


@dataclasses.dataclass(frozen=True)
class ContrastiveModel:
  """Trains `TextMusicTowers` on batches of captions and their music: a `Trainable`.

  A batch holds 'text_ids' int32[b, length] and 'log_mel' float32[b, frames,
  bands]. Every other row of the batch, on whatever device, is a negative.
  """

  config: TowerSizes

  def init(
    self, rng: jax.Array, batch: Mapping[str, jax.Array]
  ) -> dict[str, Any]:
    """{'params': ...}, boxed: `nn.get_partition_spec` tells the axes."""
    init = jax.jit(TextMusicTowers(self.config).init)
    return init(rng, batch['text_ids'], batch['log_mel'])

  def describe(self) -> dict[str, Any]:
    """What rebuilds the model, as JSON data."""
    return {
      'model': 'ContrastiveModel',
      'config': dataclasses.asdict(self.config),
    }

  def train_loss(
    self,
    params: Any,
    extras: dict[str, Any],
    batch: Mapping[str, jax.Array],
    rng: jax.Array | None,
  ) -> tuple[jax.Array, tuple[dict[str, jax.Array], dict[str, Any]]]:
    """InfoNCE; metrics: how many find their pair among all, and the scale."""
    text, music, scale = TextMusicTowers(self.config).apply(
      {'params': params},
      batch['text_ids'],
      batch['log_mel'],
      deterministic=rng is None,
      rngs=None if rng is None else {'dropout': rng},
    )
    logits = scale * jnp.einsum('td,md->tm', text, music, precision='highest')
    own = jnp.arange(len(logits))
    loss = contrastive_loss.info_nce(logits)
    metrics = {
      'loss': loss,
      'text_to_music': (logits.argmax(1) == own).mean(),
      'music_to_text': (logits.argmax(0) == own).mean(),
      'scale': scale,
    }
    return loss, (metrics, extras)
