"""The T5.1.1 Transformer of a stage, encoder-decoder or decoder-only."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses

from flax import linen as nn
import jax
import jax.numpy as jnp

from v2meow_jax import specs
from v2meow_jax.models import batch_layouts
from v2meow_jax.models import layers
from v2meow_jax.models import logical_axes as axes
from v2meow_jax.models import position_bias
from v2meow_jax.models.adaptors import linear
from v2meow_jax.models.adaptors import positions
from v2meow_jax.models.blocks import transformer_layers


@dataclasses.dataclass(frozen=True, kw_only=True)
class TransformerConfig:
  """Sizes of a `Transformer`; names as in T5X so that its axis rules apply.

  Attributes:
    emb_dim: Width of the residual stream.
    num_heads: Attention heads.
    head_dim: Width of one head.
    mlp_dim: Width of the hidden layer of the feed-forward blocks.
    num_encoder_layers: 0 makes a decoder-only model.
    num_decoder_layers: At least 1.
    dropout_rate: Share to drop, as in T5: embeddings, attention, blocks and final norms.
    relative_num_buckets: Buckets of distance, in ids and in time.
    relative_max_distance: Distances from here on share a bucket.
    time_bias: Cross-attention knows the time between music and picture; needs
      an encoder. Not in T5.
    time_bias_rate_hz: Resolution of `time_bias`.
    level_embedding: Adds a vector per level of the token streams: of its own
      level to an encoder position, of the level it predicts to a decoder
      position. Not in T5.
    dtype: Computation in 'float32' or 'bfloat16'; parameters, softmax
      and logits stay float32.
    remat: A gradient computes the inside of each layer again instead of
      keeping it: less memory, a third more time.
    scan_layers: The layers of a stack are one loop, compiled once; their
      parameters are stacked, see `layer_stacking`. For training: sampling
      takes them apart.
    fused_attention: Training, and the encoder always, keep no matrix of
      attention weights or biases of whole rows; see `fused_attention.attend`.
  """

  emb_dim: int
  num_heads: int
  head_dim: int
  mlp_dim: int
  num_encoder_layers: int
  num_decoder_layers: int
  dropout_rate: float = 0.0
  relative_num_buckets: int = 32
  relative_max_distance: int = 128
  time_bias: bool = False
  time_bias_rate_hz: float = 25.0
  level_embedding: bool = False
  dtype: str = 'float32'
  remat: bool = False
  scan_layers: bool = False
  fused_attention: bool = False

  def __post_init__(self):
    if self.num_decoder_layers < 1:
      raise ValueError(
        f'num_decoder_layers is {self.num_decoder_layers}; a stage writes'
        ' tokens with at least 1 decoder layer.'
      )
    layers.check_sizes(self)
    if self.time_bias and not self.num_encoder_layers:
      raise ValueError(
        'time_bias=True needs cross-attention, but num_encoder_layers is 0;'
        ' turn time_bias off or give the model an encoder.'
      )
    layers.check_dtype(self.dtype)

  @property
  def layout(self) -> str:
    """Name of the batches that the network reads: see `batch_layouts`."""
    if self.num_encoder_layers:
      return batch_layouts.ENCODER_DECODER
    return batch_layouts.PREFIX

  def module(self, spec: specs.StageSpec) -> Transformer:
    """The network of a stage; ValueError when it cannot serve the stage."""
    if not isinstance(spec.target, specs.TokenSpec):
      raise ValueError(
        f'stage {spec.name!r} writes the continuous stream'
        f' {spec.target.name!r}; a Transformer writes tokens, so name another'
        ' network.'
      )
    continuous = [s.name for s in spec.feature_inputs]
    if continuous and not self.num_encoder_layers:
      raise ValueError(
        f'stage {spec.name!r} reads the continuous streams {continuous} and'
        ' num_encoder_layers is 0; a decoder alone reads tokens only, so give'
        ' the network an encoder.'
      )
    if not spec.inputs and self.num_encoder_layers:
      raise ValueError(
        f'stage {spec.name!r} has no inputs to encode; name some, or set'
        ' num_encoder_layers to 0.'
      )
    return Transformer(spec=spec, config=self)


class Transformer(nn.Module):
  """The network of one stage.

  `__call__` trains; `encode`, `cross_keys_values`, `decode` and `level_rows`
  are its pieces, for sampling.

  Attributes:
    spec: Streams of the stage.
    config: Sizes.
  """

  spec: specs.StageSpec
  config: TransformerConfig

  def setup(self):
    """Makes the parameters and layers."""
    c, spec = self.config, self.spec
    width = c.emb_dim
    self.token_embedding = layers.id_table(
      self, 'token_embedding', 1.0, spec, width
    )
    if c.level_embedding:
      num_levels = sum(s.num_codebooks for s in spec.token_streams)
      self.level_table = self.param(
        'level_embedding',
        layers.normal(1.0, axes.LEVELS, axes.EMBED),
        (num_levels, width),
      )
    if c.num_encoder_layers:
      self.adaptors = {
        s.name: linear.LinearAdaptor(width, c.dtype, s.num_positions)
        for s in spec.feature_inputs
      }
      self.encoder = transformer_layers.stack(
        transformer_layers.EncoderLayer, c, c.num_encoder_layers
      )
      self.encoder_bias = position_bias.relative_bias(c, bidirectional=True)
      self.encoder_norm = layers.RMSNorm(c.dtype)
    if c.time_bias:
      self.cross_bias = position_bias.time_bias(c)
    self.decoder = transformer_layers.stack(
      transformer_layers.DecoderLayer, c, c.num_decoder_layers
    )
    self.decoder_bias = position_bias.relative_bias(c, bidirectional=False)
    self.decoder_norm = layers.RMSNorm(c.dtype)
    self.dropout = layers.Dropout(c.dropout_rate)
    self.logits_kernel = layers.id_table(
      self, 'logits', width**-0.5, spec, width
    )

  def embed(self, ids: jax.Array, levels: jax.Array | None) -> jax.Array:
    """int32[b, length] -> dtype[b, length, emb_dim].

    Levels int32[length] count when the config has a level embedding.
    """
    x = self.token_embedding[ids]
    if self.config.level_embedding:
      x = x + self.level_table[levels]
    return x.astype(self.config.dtype)

  def encode(
    self, inputs: Mapping[str, jax.Array], deterministic: bool = True
  ) -> jax.Array:
    """Every input of a batch, in the order of `positions.encoder_layout`.

    Args:
      inputs: Holds 'encoder_inputs_<stream>' for each input of the stage.
      deterministic: No dropout.

    Returns:
      dtype[b, length, emb_dim].
    """
    spec = self.spec
    parts = []
    for s in spec.token_inputs:
      levels = positions.token_levels(spec, (s,))
      parts.append(self.embed(inputs[f'encoder_inputs_{s.name}'], levels))
    for s in spec.feature_inputs:
      x = inputs[f'encoder_inputs_{s.name}']
      if s.is_static:
        x = linear.unit_rms(x)
      parts.append(self.adaptors[s.name](x))
    x = jnp.concatenate(parts, 1)[:, positions.encoder_layout(spec).order]
    x = self.dropout(x, deterministic)
    bias = position_bias.DistanceBias(self.encoder_bias(x.shape[1]))
    x = transformer_layers.through(
      self.encoder, x, self._whole(bias), deterministic
    )
    return self.dropout(self.encoder_norm(x), deterministic)

  def cross_keys_values(self, encoded: jax.Array) -> transformer_layers.Caches:
    """Keys and values of the encoder's output, one pair for each layer."""
    return tuple(layer.cross_keys_values(encoded) for layer in self.decoder)

  def _whole(self, bias: position_bias.Bias) -> position_bias.Bias | jax.Array:
    """What `layers.Attention.attend` takes: a matrix, once for a stack."""
    return bias if self.config.fused_attention else bias.dense()

  def time_biases(self) -> jax.Array | None:
    """float32[heads, target length, encoder length], or None."""
    return self._time_bias().dense() if self.config.time_bias else None

  def _time_bias(self) -> position_bias.TimesBias:
    """Bias of cross-attention from each position of the target."""
    spec = self.spec
    frames = spec.target.num_frames(spec.crop_seconds)
    # Position i reads id i - 1 and predicts id i: its time is that of id i.
    query_times = positions.token_times(spec.target, frames)
    return self.cross_bias(query_times, positions.encoder_layout(spec).times)

  def relative_biases(self, length: int) -> jax.Array:
    """float32[heads, 2 * length - 1] of the decoder, the future masked."""
    return self.decoder_bias(length)

  def decode(
    self,
    ids: jax.Array,
    levels: jax.Array,
    caches: transformer_layers.Caches,
    first: jax.Array | int,
    bias: jax.Array,
    cross: transformer_layers.Caches | None = None,
    cross_bias: jax.Array | None = None,
  ) -> tuple[jax.Array, transformer_layers.Caches]:
    """The decoder on some positions, after those that are in the caches.

    For sampling: without dropout, and of layers that stand apart.

    Args:
      ids: int32[b, queries], what stands before each predicted id.
      levels: int32[queries], of the predicted ids.
      caches: Keys and values of each layer, written before `first`.
      first: Position of the first query.
      bias: float32[heads, queries, keys] on the caches; masks all after a
        query.
      cross: Result of `cross_keys_values`; None without an encoder.
      cross_bias: float32[heads, queries, keys] on `cross`, or None.

    Returns:
      dtype[b, queries, emb_dim] to make logits of, and the caches with these
      positions.
    """
    x = self.embed(ids, levels)
    written = []
    for i, layer in enumerate(self.decoder):
      own = cross[i] if cross else None
      x, cache = layer.extend(x, caches[i], first, bias, own, cross_bias)
      written.append(cache)
    return self.decoder_norm(x), tuple(written)

  def level_rows(self, level: jax.Array | int) -> jax.Array:
    """float32[codebook_size, emb_dim] that make the logits of one level's ids."""
    return layers.level_rows(self.logits_kernel, self.spec, level)

  def __call__(
    self,
    batch: Mapping[str, jax.Array],
    wanted: Sequence[str] = ('logits',),
    deterministic: bool = True,
  ) -> dict[str, jax.Array]:
    """Outputs at every target position, given the true ids before it.

    Args:
      batch: Inputs, and 'decoder_input_tokens'.
      wanted: Names of the outputs to compute: 'logits' float32[b, length,
        vocab_size], 'code_logits' float32[b, length, codebook_size] of only
        the ids that may stand at each position, by code, 'hidden' dtype[b,
        length, emb_dim] of the decoder and 'encoded' dtype[b, encoder length,
        emb_dim].
      deterministic: No dropout.

    Returns:
      The outputs by name.
    """
    c, spec = self.config, self.spec
    encoded = None
    streams = spec.token_streams
    if c.num_encoder_layers:
      encoded = self.encode(batch, deterministic)
      streams = (spec.target,)
    ids = batch['decoder_input_tokens']
    x = self.embed(ids, positions.token_levels(spec, streams))
    x = transformer_layers.through(
      self.decoder,
      self.dropout(x, deterministic),
      self._whole(position_bias.DistanceBias(self.decoder_bias(ids.shape[1]))),
      encoded,
      self._whole(self._time_bias()) if c.time_bias else None,
      deterministic,
    )
    x = self.dropout(self.decoder_norm(x), deterministic)
    x = x[:, -spec.target.length(spec.crop_seconds) :]
    outputs = {
      'logits': self._logits,
      'code_logits': self._code_logits,
      'hidden': lambda x: x,
      'encoded': lambda _: encoded,
    }
    return {name: outputs[name](x) for name in wanted}

  def _logits(self, x: jax.Array) -> jax.Array:
    kernel = self.logits_kernel.astype(self.config.dtype)
    return layers.einsum32('blm,vm->blv', x, kernel)

  def _code_logits(self, x: jax.Array) -> jax.Array:
    levels = self.spec.target.num_codebooks
    # [b, frames * levels, emb_dim] -> [b, frames, levels, emb_dim]
    frames = x.reshape(x.shape[0], -1, levels, x.shape[-1])
    return layers.code_logits(self.logits_kernel, self.spec, frames)
