"""A decoder that writes all levels of a codec in one pass, each a step later.

The pattern of MusicGen (Copet et al. 2023, https://arxiv.org/abs/2306.05284,
section 2.2): a step reads the sum of what the step before wrote and gives the
logits of all levels, and level k runs k steps behind. What is seen enters by
cross-attention whose bias is time. The first layers see nothing but music, as
in CoCa (Yu et al. 2022, https://arxiv.org/abs/2205.01917), so that their mean
is an embedding of the music to compare with that of a video.
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any
from typing import TYPE_CHECKING

from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from v2meow_jax import specs
from v2meow_jax.models import batch_layouts
from v2meow_jax.models import layers
from v2meow_jax.models import position_bias
from v2meow_jax.models.adaptors import dense_temporal
from v2meow_jax.models.adaptors import linear
from v2meow_jax.models.adaptors import positions
from v2meow_jax.models.blocks import heads
from v2meow_jax.models.blocks import transformer_layers

if TYPE_CHECKING:
  from v2meow_jax.models import delayed

_FIRST_BIAS = -10.0  # As SigLIP, at a batch of 32,768.


class DelayedDecoder(nn.Module):
  """The network of one stage.

  `__call__` trains; `encode`, `cross_keys_values`, `decode` and `level_logits`
  are its pieces for sampling, `embed_video` and `embed_music` for comparing.

  Attributes:
    spec: Streams of the stage.
    config: Sizes.
  """

  spec: specs.StageSpec
  config: delayed.DelayedDecoderConfig

  def setup(self):
    """Makes the parameters and layers."""
    c, spec = self.config, self.spec
    self.token_embedding = layers.id_table(
      self, 'token_embedding', 1.0, spec, c.emb_dim
    )
    self.adaptors = {s.name: self._adaptor(s) for s in spec.feature_inputs}
    self.music = transformer_layers.stack(
      transformer_layers.DecoderLayer, c.block(False), c.num_music_layers
    )
    self.decoder = transformer_layers.stack(
      transformer_layers.DecoderLayer,
      c.block(True),
      c.num_decoder_layers,
    )
    self.decoder_bias = position_bias.relative_bias(c, bidirectional=False)
    self.cross_bias = position_bias.time_bias(c)
    self.decoder_norm = layers.RMSNorm(c.dtype)
    self.dropout = layers.Dropout(c.dropout_rate)
    self.logits_kernel = layers.id_table(
      self, 'logits', c.emb_dim**-0.5, spec, c.emb_dim
    )
    self.onset_head = heads.OnsetHead(c.emb_dim, c.dtype)
    if c.modulates:
      self.modulation = heads.Modulation(c.emb_dim, c.dtype)
    self.video_head = heads.PairHead(c.joint_dim)
    self.music_head = heads.PairHead(c.joint_dim)
    self.log_scale = self.param('log_scale', heads.first_log_scale, ())
    self.pair_bias = self.param(
      'pair_bias', nn.initializers.constant(_FIRST_BIAS), ()
    )

  def _adaptor(self, stream: specs.FeatureSpec) -> nn.Module:
    c = self.config
    if stream.num_positions > 1 and not stream.is_static:
      return dense_temporal.DenseTemporal(c.dense(), stream)
    return linear.LinearAdaptor(c.emb_dim, c.dtype, stream.num_positions)

  def encode(
    self, inputs: Mapping[str, jax.Array], deterministic: bool = True
  ) -> jax.Array:
    """Every input of a batch, in the order of the stage.

    Args:
      inputs: Holds 'encoder_inputs_<stream>' for each input of the stage.
      deterministic: No dropout.

    Returns:
      dtype[b, length, emb_dim]; `DelayedDecoderConfig.input_times` has the
      times.
    """
    return self.see(inputs, deterministic)[0]

  def see(
    self, inputs: Mapping[str, jax.Array], deterministic: bool = True
  ) -> tuple[jax.Array, jax.Array | None]:
    """As `encode`, and dtype[b, frames, emb_dim] of the first patches.

    These are what predicts the onsets, at the rate of the stream; None where
    no input has patches.
    """
    parts, patches = [], None
    for s in self.spec.feature_inputs:
      x, adaptor = inputs[f'encoder_inputs_{s.name}'], self.adaptors[s.name]
      if isinstance(adaptor, dense_temporal.DenseTemporal):
        x, fine = adaptor(x, deterministic)
        parts.append(x)
        patches = fine if patches is None else patches
      else:
        parts.append(adaptor(linear.unit_rms(x) if s.is_static else x))
    x = self.dropout(jnp.concatenate(parts, 1), deterministic)
    return x, None if patches is None else self.onset_head.features(patches)

  def modulations(self, onset_features: jax.Array | None) -> jax.Array | None:
    """dtype[b, steps, 2, emb_dim]: scale and shift of each step, or None."""
    if not self.config.modulates or onset_features is None:
      return None
    rate_hz = _patches(self.spec)[0].rate_hz
    last = onset_features.shape[1] - 1
    frames = (self._step_times() * rate_hz + 1e-6).astype(int)
    frames = np.minimum(frames, last)
    return self.modulation(onset_features)[:, frames]

  def embed_video(self, encoded: jax.Array) -> jax.Array:
    """float32[b, joint_dim], unit rows: what the streams with a rate show.

    `encoded` is the result of `encode`.
    """
    seconds = self.spec.crop_seconds
    moving = [
      np.full(len(self.config.times_of(s, seconds)), not s.is_static)
      for s in self.spec.feature_inputs
    ]
    return self.video_head(encoded[:, np.flatnonzero(np.concatenate(moving))])

  def embed_music(
    self, batch: Mapping[str, jax.Array], deterministic: bool = True
  ) -> jax.Array:
    """float32[b, joint_dim], unit rows, of 'decoder_input_tokens' alone."""
    return self.music_head(self._heard(batch, deterministic))

  def _heard(
    self, batch: Mapping[str, jax.Array], deterministic: bool
  ) -> jax.Array:
    """dtype[b, steps, emb_dim] after the layers that read music alone."""
    spec = self.spec
    ids = batch['decoder_input_tokens']
    # Position i reads id i - 1. The last id of all is read by no step.
    frames = jnp.pad(ids[:, 1:], ((0, 0), (0, 1)), constant_values=specs.PAD_ID)
    frames = frames.reshape(len(ids), -1, spec.target.num_codebooks)
    written = batch_layouts.delay(frames, specs.PAD_ID)
    read = jnp.pad(written[:, :-1], ((0, 0), (1, 0), (0, 0)))
    x = self.dropout(self.embed(read), deterministic)
    return transformer_layers.through(
      self.music, x, self._self_bias(x.shape[1]), None, None, deterministic
    )

  def embed(self, ids: jax.Array) -> jax.Array:
    """int32[b, steps, levels] -> dtype[b, steps, emb_dim]: sums of levels."""
    x = self.token_embedding[ids].sum(2) * ids.shape[2] ** -0.5
    return x.astype(self.config.dtype)

  def _self_bias(self, length: int) -> position_bias.Bias | jax.Array:
    bias = position_bias.DistanceBias(self.decoder_bias(length))
    return bias if self.config.fused_attention else bias.dense()

  def _time_bias(self) -> position_bias.TimesBias:
    input_times = self.config.input_times(self.spec)
    return self.cross_bias(self._step_times(), input_times)

  def _step_times(self) -> np.ndarray:
    """Time of each step in seconds, as of the first level."""
    spec = self.spec
    steps = batch_layouts.decoder_positions(batch_layouts.DELAY, spec)
    return positions.frame_times(steps, spec.target.rate_hz)

  def time_biases(self) -> jax.Array:
    """float32[heads, steps, length of the inputs]."""
    return self._time_bias().dense()

  def relative_biases(self, length: int) -> jax.Array:
    """float32[heads, 2 * length - 1] of the decoder, the future masked."""
    return self.decoder_bias(length)

  def cross_keys_values(self, encoded: jax.Array) -> transformer_layers.Caches:
    """Keys and values of the inputs, one pair for each layer that sees them."""
    return tuple(layer.cross_keys_values(encoded) for layer in self.decoder)

  def decode(
    self,
    ids: jax.Array,
    caches: transformer_layers.Caches,
    first: jax.Array | int,
    bias: jax.Array,
    cross: transformer_layers.Caches,
    cross_bias: jax.Array,
    modulations: jax.Array | None = None,
  ) -> tuple[jax.Array, transformer_layers.Caches]:
    """The decoder on some steps, after those that are in the caches.

    Args:
      ids: int32[b, queries, levels], what the steps before wrote.
      caches: Keys and values of each layer, written before `first`.
      first: Number of the first step.
      bias: float32[heads, queries, keys] on the caches; masks all after a
        query.
      cross: Result of `cross_keys_values`.
      cross_bias: float32[heads, queries, keys] on `cross`.
      modulations: Those of these steps, as of `modulations`, or None.

    Returns:
      dtype[b, queries, emb_dim] to make logits of, and the caches with these
      steps.
    """
    x, written = self.embed(ids), []
    seen: list[Any] = [(None, None)] * len(self.music)
    seen += [(own, cross_bias) for own in cross]
    stacks = (*self.music, *self.decoder)
    for i, (layer, cache, (own, own_bias)) in enumerate(
      zip(stacks, caches, seen, strict=True)
    ):
      if i == len(self.music):
        x = _modulated(x, modulations)
      x, cache = layer.extend(x, cache, first, bias, own, own_bias)
      written.append(cache)
    return self.decoder_norm(x), tuple(written)

  def level_logits(self, hidden: jax.Array) -> jax.Array:
    """dtype[b, emb_dim] of a step -> float32[b, levels, codebook_size]."""
    levels = self.spec.target.num_codebooks
    logits = layers.code_logits(self.logits_kernel, self.spec, hidden[:, None])
    return logits.reshape(len(hidden), levels, -1)

  def __call__(
    self,
    batch: Mapping[str, jax.Array],
    wanted: Sequence[str] = ('code_logits',),
    deterministic: bool = True,
  ) -> dict[str, jax.Array]:
    """Outputs at every place of the target, given the true ids before it.

    Args:
      batch: Inputs, and 'decoder_input_tokens'.
      wanted: Names of the outputs to compute: 'code_logits' float32[b, frames *
        levels, codebook_size] of the ids that may stand at each place, by code;
        'video_embedding' and 'music_embedding', float32[b, joint_dim] of unit
        rows; 'pair_scale' and 'pair_bias', float32[], of their cosines;
        'onset_logits', float32[b, frames of the first patches].
      deterministic: No dropout.

    Returns:
      The outputs by name.

    Raises:
      ValueError: An output is wanted that the network does not have.
    """
    outputs = {
      'code_logits': lambda: self._code_logits(
        heard, encoded, self.modulations(onset_features), deterministic
      ),
      'onset_logits': lambda: self._onset_logits(onset_features),
      'video_embedding': lambda: self.embed_video(encoded),
      'music_embedding': lambda: self.music_head(heard),
      'pair_scale': lambda: heads.cosine_scale(self.log_scale),
      'pair_bias': lambda: self.pair_bias,
    }
    if strange := sorted({*wanted} - {*outputs}):
      raise ValueError(
        f'a delayed decoder has no outputs {strange}; it has {sorted(outputs)}.'
        ' Of next_token.NextToken it serves legal=True alone.'
      )
    heard = self._heard(batch, deterministic)
    encoded, onset_features = self.see(batch, deterministic)
    # Every layer has its parameters from the start, whatever is asked for.
    names = wanted
    if self.is_initializing():
      names = [n for n in outputs if n != 'onset_logits' or _patches(self.spec)]
    return {name: outputs[name]() for name in names}

  def _code_logits(
    self,
    heard: jax.Array,
    encoded: jax.Array,
    modulations: jax.Array | None,
    deterministic: bool,
  ) -> jax.Array:
    c = self.config
    bias = self._time_bias()
    x = transformer_layers.through(
      self.decoder,
      _modulated(heard, modulations),
      self._self_bias(heard.shape[1]),
      encoded,
      bias if c.fused_attention else bias.dense(),
      deterministic,
    )
    x = self.dropout(self.decoder_norm(x), deterministic)
    # Level k of a frame is written k steps later.
    hidden = batch_layouts.undelay(
      jnp.repeat(x[:, :, None], self.spec.target.num_codebooks, 2)
    )
    return layers.code_logits(self.logits_kernel, self.spec, hidden)

  def _onset_logits(self, onset_features: jax.Array | None) -> jax.Array:
    if onset_features is None:
      raise ValueError(
        f'stage {self.spec.name!r} reads no stream of patches, from which onsets'
        ' could be predicted; name one, or leave the onsets out.'
      )
    return self.onset_head.logits(onset_features)


def _patches(spec: specs.StageSpec) -> list[specs.FeatureSpec]:
  """Inputs of several positions a frame, the first of which tells onsets."""
  return [s for s in spec.moving_inputs if s.num_positions > 1]


def _modulated(x: jax.Array, modulations: jax.Array | None) -> jax.Array:
  """dtype[b, steps, emb_dim] times 1 + scale, plus shift."""
  if modulations is None:
    return x
  return x * (1 + modulations[:, :, 0]) + modulations[:, :, 1]
