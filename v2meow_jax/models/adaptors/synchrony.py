"""Contrastive pre-training of a visual adaptor: which music goes with a picture, when.

MuVi (Li et al. 2024, https://arxiv.org/abs/2410.12957) learns its adaptor from
music of other clips and from two kinds of negatives of the same clip: music that
is shifted in time, and music of which a part is another's. The form of the loss
is that of Diff-Foley (Luo et al. 2023, https://arxiv.org/abs/2306.17203).
"""

from collections.abc import Mapping
import dataclasses
from typing import Any
from typing import NamedTuple

from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from v2meow_jax import specs
from v2meow_jax.models import batch_layouts
from v2meow_jax.models import layers
from v2meow_jax.models import logical_axes as axes
from v2meow_jax.models import position_bias
from v2meow_jax.models.adaptors import alignment
from v2meow_jax.models.adaptors import patches
from v2meow_jax.models.adaptors import standardised
from v2meow_jax.models.adaptors import sync_windows
from v2meow_jax.models.blocks import heads
from v2meow_jax.models.blocks import transformer_layers
from v2meow_jax.models.objectives import losses
from v2meow_jax.models.objectives import pair_losses


@dataclasses.dataclass(frozen=True, kw_only=True)
class SynchronyConfig:
  """Sizes of the two towers, and what they are trained to tell apart.

  Attributes:
    emb_dim: Width of the towers; that of the network that takes the adaptor.
    num_heads: Attention heads.
    head_dim: Width of one head.
    mlp_dim: Width of the hidden layer of the feed-forward blocks.
    num_layers: Number of layers of the tower of music.
    num_video_layers: Number of layers of the tower of video. Without any, the
      adaptor alone, each frame for itself, has to tell what belongs together.
    joint_dim: Width of the embedding of a frame.
    adaptor: Way in which the patches of a frame are joined.
    negatives: Kinds of music that do not belong to a picture.
    batch_weight: Weight of the music of the other clips of a batch; 0: none.
    hard_weight: Weight of shifted and of replaced music.
    dropout_rate: Share to drop in the blocks.
    dtype: Computation in 'float32' or 'bfloat16'; parameters, softmax and
      similarities stay float32.
  """

  emb_dim: int
  num_heads: int
  head_dim: int
  mlp_dim: int
  num_layers: int
  num_video_layers: int
  joint_dim: int
  adaptor: patches.PatchAdaptorConfig = patches.PatchAdaptorConfig()
  negatives: sync_windows.Negatives = sync_windows.Negatives()
  batch_weight: float = 1.0
  hard_weight: float = 1.0
  dropout_rate: float = 0.0
  dtype: str = 'float32'

  # No field: windows are short, as layers of `transformer_layers` ask.
  fused_attention = False

  def __post_init__(self):
    hard = self.negatives.temporal_shift or self.negatives.random_replacement
    if not (self.batch_weight > 0 or (hard and self.hard_weight > 0)):
      raise ValueError(
        'nothing is told apart: batch_weight is 0, and neither temporal_shift nor'
        ' random_replacement has a weight; switch one of the three on.'
      )


class Embeddings(NamedTuple):
  """Unit vectors of windows, float32[b, frames * joint_dim], and their scale.

  Attributes:
    video: Windows of what is seen.
    music: Music of the same time.
    shifted: Music of the same clip at another time; None: switched off.
    replaced: Music of the same time, a part of which is another clip's; None:
      switched off.
    scale: float32[], factor of the similarities.
  """

  video: jax.Array
  music: jax.Array
  shifted: jax.Array | None
  replaced: jax.Array | None
  scale: jax.Array


class SynchronyTowers(nn.Module):
  """A tower of video, whose adaptor a `dit.Dit` takes over, and one of music.

  Attributes:
    spec: Streams; the target is the music.
    config: Sizes.
  """

  spec: specs.StageSpec
  config: SynchronyConfig

  def setup(self):
    """Makes the parameters and layers."""
    c, dim = self.config, self.spec.target.frame_shape[-1]
    # Names as in `dit.Dit`.
    self.adaptors = {
      s.name: patches.PatchAdaptor(
        c.emb_dim, c.dtype, c.adaptor, s.num_positions
      )
      for s in self.spec.moving_inputs
    }
    init = layers.normal(dim**-0.5, axes.INPUT_DIM, axes.EMBED)
    self.music_kernel = self.param('music_kernel', init, (dim, c.emb_dim))
    self.video_tower = _Tower(c, c.num_video_layers, name='video_tower')
    self.music_tower = _Tower(c, c.num_layers, name='music_tower')
    self.scale = self.param('scale', heads.first_log_scale, ())

  def see(
    self,
    inputs: Mapping[str, jax.Array],
    num_frames: int,
    deterministic: bool = True,
  ) -> jax.Array:
    """Embeds what is seen in a window.

    Args:
      inputs: 'encoder_inputs_<stream>' of a window, float[b, frames, ...].
      num_frames: Frames of the music in the window.
      deterministic: Whether to leave dropout out.

    Returns:
      float32[b, num_frames * joint_dim], of unit length.
    """
    seen = 0.0
    for s in self.spec.moving_inputs:
      x = self.adaptors[s.name](inputs[f'encoder_inputs_{s.name}'])
      seen += alignment.brought(
        x, s.rate_hz, num_frames, self.spec.target.rate_hz
      )
    return self.video_tower(seen, deterministic)

  def hear(self, music: jax.Array, deterministic: bool = True) -> jax.Array:
    """float[b, frames, dim] -> float32[b, frames * joint_dim], of unit length."""
    dtype = self.config.dtype
    x = music.astype(dtype) @ self.music_kernel.astype(dtype)
    return self.music_tower(x, deterministic)

  def __call__(
    self, window: sync_windows.SyncWindows, deterministic: bool = True
  ) -> Embeddings:
    """Embeds the windows of a batch."""
    num_frames = window.music.shape[1]
    every = [window.music, window.shifted, window.replaced]
    some = [x for x in every if x is not None]
    heard = self.hear(jnp.concatenate(some), deterministic)
    parts = iter(jnp.split(heard, len(some)))
    return Embeddings(
      self.see(window.inputs, num_frames, deterministic),
      *(None if x is None else next(parts) for x in every),
      scale=heads.cosine_scale(self.scale),
    )


class _Tower(nn.Module):
  """dtype[b, frames, emb_dim] -> float32[b, frames * joint_dim], unit length."""

  config: SynchronyConfig
  num_layers: int

  @nn.compact
  def __call__(self, x: jax.Array, deterministic: bool) -> jax.Array:
    c = self.config
    if self.num_layers:
      bias = position_bias.DistanceBias(
        position_bias.RelativeBias(c.num_heads, 32, 128, True)(x.shape[1])
      ).dense()
    for i in range(self.num_layers):
      layer = transformer_layers.EncoderLayer(c, name=f'layer_{i}')  # pyright: ignore
      x = layer(x, bias, deterministic)
    x = layers.RMSNorm('float32')(x)
    init = layers.normal(c.emb_dim**-0.5, axes.EMBED, axes.JOINT_DIM)
    x = x @ self.param('joint', init, (c.emb_dim, c.joint_dim))
    # Each frame counts the same, so that a moment cannot stand for all.
    x = x * jax.lax.rsqrt(jnp.sum(x**2, -1, keepdims=True) + 1e-6)
    return x.reshape(len(x), -1) / np.sqrt(x.shape[1])


class SynchronyModel:
  """Trains an adaptor by which music belongs to what is seen.

  Attributes:
    spec: Streams of the stage whose adaptor it is; its crop holds two windows.
    config: Sizes and negatives.
    moments: Mean and deviation of the streams.
  """

  layout = batch_layouts.FRAMES

  def __init__(
    self,
    spec: specs.StageSpec,
    config: SynchronyConfig,
    moments: standardised.Moments | None = None,
  ):
    """Raises ValueError when the stage sees nothing, or its crop is too short."""
    if not spec.moving_inputs or not isinstance(spec.target, specs.FeatureSpec):
      raise ValueError(
        f'stage {spec.name!r} reads {[s.name for s in spec.inputs]} and writes'
        f' {spec.target.name!r}; wanted features of a video, and latents.'
      )
    self.spec, self.config = spec, config
    self.moments = dict(moments or {})
    standardised.check(self.moments, spec)
    config.adaptor.check(spec.feature_inputs)
    config.negatives.starts(spec)
    self.module = SynchronyTowers(spec, config)

  def example_batch(self, batch_size: int) -> dict[str, np.ndarray]:
    """Zeros of the shape and type of a training batch."""
    return batch_layouts.example_batch(self.layout, self.spec, batch_size)

  def init(
    self, rng: jax.Array, batch: Mapping[str, jax.Array]
  ) -> dict[str, Any]:
    """{'params': ...}; see `trainable.Trainable`."""

    def init(rng, batch):
      return self.module.init(rng, self._windows(batch, jax.random.key(0)))

    return jax.jit(init)(rng, dict(batch))

  def describe(self) -> dict[str, Any]:
    """Data in JSON's types that says what was trained."""
    return {
      'model': 'SynchronyModel',
      'spec': specs.stage_to_dict(self.spec),
      'config': dataclasses.asdict(self.config),
      **({'moments': self.moments} if self.moments else {}),
    }

  def _windows(self, batch, rng: jax.Array) -> sync_windows.SyncWindows:
    scaled = dict(batch)
    for name, values in self.moments.items():
      key = f'encoder_inputs_{name}'
      if name == self.spec.target.name:
        key = 'decoder_target_frames'
      scaled[key] = standardised.standardised(batch[key], **values)
    return self.config.negatives.cut(self.spec, scaled, rng)

  def train_loss(
    self,
    params: Any,
    extras: dict[str, Any],
    batch: Mapping[str, jax.Array],
    rng: jax.Array | None,
  ) -> tuple[jax.Array, tuple[dict[str, jax.Array], dict[str, Any]]]:
    """See `trainable.Trainable`; without a key windows are always the same.

    The metrics are 'retrieval', the share of pictures whose own music is the
    nearest of a batch; and 'shift_auc' and 'replacement_auc', the probability
    that music of a picture is nearer to it than negatives are to theirs.
    """
    key = jax.random.key(0) if rng is None else rng
    draws, dropout = jax.random.split(key)
    found = self.module.apply(
      {'params': params},
      self._windows(batch, draws),
      deterministic=rng is None,
      rngs={'dropout': dropout},
    )
    there = (batch['decoder_loss_weights'] > 0).any(1).astype(jnp.float32)
    return self._loss(found, there), (self._metrics(found, there), extras)

  def _loss(self, found: Embeddings, weights: jax.Array) -> jax.Array:
    c = self.config
    split = pair_losses.row_split(len(weights))
    total = 0.0
    if c.batch_weight:
      rows = pair_losses.info_nce_rows(
        found.scale * found.video, found.music, weights, split
      )
      total += c.batch_weight * losses.weighted_mean(rows, weights)
    others = [x for x in (found.shifted, found.replaced) if x is not None]
    if others and c.hard_weight:
      logits = jnp.stack(
        [_similarity(found, x) for x in (found.music, *others)]
      )
      rows = jax.nn.logsumexp(logits, 0) - logits[0]
      total += c.hard_weight * losses.weighted_mean(rows, weights)
    return jnp.asarray(total)

  def _metrics(self, found: Embeddings, weights: jax.Array):
    split = pair_losses.row_split(len(weights))
    nearest = pair_losses.is_nearest(found.video, found.music, weights, split)
    metrics = {'retrieval': losses.weighted_mean(nearest, weights)}
    own = _similarity(found, found.music)
    for name, music in (
      ('shift_auc', found.shifted),
      ('replacement_auc', found.replaced),
    ):
      if music is not None:
        other = _similarity(found, music)
        wins = (own[:, None] > other) + 0.5 * (own[:, None] == other)
        pairs = weights[:, None] * weights
        metrics[name] = losses.weighted_mean(wins, pairs)
    return metrics


def _similarity(found: Embeddings, music: jax.Array) -> jax.Array:
  """float32[b], of each picture with some music."""
  return found.scale * jnp.sum(found.video * music, -1)
