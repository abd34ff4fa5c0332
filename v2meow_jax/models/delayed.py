"""A decoder that writes all levels of a codec in one pass, each a step later.

The pattern of MusicGen (Copet et al. 2023, https://arxiv.org/abs/2306.05284,
section 2.2): a step reads the sum of what the step before wrote and gives the
logits of all levels, and level k runs k steps behind. What is seen enters by
cross-attention whose bias is time. The first layers see nothing but music, as
in CoCa (Yu et al. 2022, https://arxiv.org/abs/2205.01917), so that their mean
is an embedding of the music to compare with that of a video.
"""

from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import math
from typing import Any

from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from v2meow_jax import specs
from v2meow_jax import tokens
from v2meow_jax.models import batch_layouts
from v2meow_jax.models import layers
from v2meow_jax.models import logical_axes as axes
from v2meow_jax.models import position_bias
from v2meow_jax.models import transformer
from v2meow_jax.models.adaptors import dense_temporal
from v2meow_jax.models.adaptors import linear
from v2meow_jax.models.adaptors import positions
from v2meow_jax.models.blocks import heads
from v2meow_jax.models.blocks import transformer_layers

# As CLIP, and as SigLIP: -10 at a batch of 32,768.
_FIRST_SCALE, _LARGEST_SCALE, _FIRST_BIAS = 1 / 0.07, 100.0, -10.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class DelayedDecoderConfig:
  """Sizes of a `DelayedDecoder`; names as of `transformer.TransformerConfig`.

  Attributes:
    emb_dim: Width of the residual stream.
    num_heads: Attention heads.
    head_dim: Width of one head.
    mlp_dim: Width of the hidden layer of the feed-forward blocks.
    num_layers: Number of layers of the decoder.
    num_music_layers: Number of its first layers, which read music alone; the
      others attend to the inputs.
    num_dense_layers: Number of layers of `dense_temporal` for each stream of
      patches.
    num_poolings: Number of times that such a stream is halved.
    window_frames: Frames of a window of it; None: attention to all frames.
    joint_dim: Width of the space in which video and music are compared.
    modulates: Whether what predicts the onsets of the music from the first
      stream of patches also scales and shifts what the decoder reads; it begins
      as if it did not.
    dropout_rate: Share to drop in embeddings, attention and blocks.
    relative_num_buckets: Buckets of distance in frames of music, and of time.
    relative_max_distance: Distances from here on share a bucket.
    time_bias_rate_hz: Resolution of the bias of cross-attention.
    dtype: Computation in 'float32' or 'bfloat16'; parameters, softmax, logits
      and embeddings stay float32.
    remat: Whether a gradient computes each layer again instead of keeping it.
    scan_layers: Whether the layers of a stack are one loop, compiled once.
    fused_attention: Whether training keeps no matrix of attention weights: see
      `transformer.TransformerConfig`.
  """

  emb_dim: int
  num_heads: int
  head_dim: int
  mlp_dim: int
  num_layers: int
  num_music_layers: int
  num_dense_layers: int = 4
  num_poolings: int = 2
  window_frames: int | None = 8
  joint_dim: int = 128
  modulates: bool = False
  dropout_rate: float = 0.0
  relative_num_buckets: int = 32
  relative_max_distance: int = 128
  time_bias_rate_hz: float = 25.0
  dtype: str = 'float32'
  remat: bool = False
  scan_layers: bool = False
  fused_attention: bool = False

  def __post_init__(self):
    if not 1 <= self.num_music_layers < self.num_layers:
      raise ValueError(
        f'num_music_layers is {self.num_music_layers} and num_layers is'
        f' {self.num_layers}; wanted 1 or more of both kinds: the first make an'
        ' embedding of music, the others see the video.'
      )
    # Says what the sizes of its blocks cannot be.
    self.block(sees=True)
    self.dense()

  @property
  def layout(self) -> str:
    """Name of the batches that the network reads: see `batch_layouts`."""
    return batch_layouts.DELAY

  @property
  def num_decoder_layers(self) -> int:
    """Number of layers that attend to the inputs."""
    return self.num_layers - self.num_music_layers

  def block(self, sees: bool) -> transformer.TransformerConfig:
    """Sizes of the layers, with cross-attention or without."""
    return transformer.TransformerConfig(
      emb_dim=self.emb_dim,
      num_heads=self.num_heads,
      head_dim=self.head_dim,
      mlp_dim=self.mlp_dim,
      num_encoder_layers=int(sees),
      num_decoder_layers=1,
      dropout_rate=self.dropout_rate,
      dtype=self.dtype,
      remat=self.remat,
      scan_layers=self.scan_layers,
      fused_attention=self.fused_attention,
    )

  def dense(self) -> dense_temporal.DenseTemporalSizes:
    """Sizes of the encoder of a stream of patches."""
    return dense_temporal.DenseTemporalSizes(
      emb_dim=self.emb_dim,
      num_heads=self.num_heads,
      head_dim=self.head_dim,
      mlp_dim=self.mlp_dim,
      num_layers=self.num_dense_layers,
      num_poolings=self.num_poolings,
      window_frames=self.window_frames,
      dropout_rate=self.dropout_rate,
      dtype=self.dtype,
    )

  def times_of(self, stream: specs.FeatureSpec, seconds: float) -> np.ndarray:
    """Time of each vector of an input, in seconds; NaN of a whole clip."""
    if stream.is_static:
      return np.full(stream.num_positions, np.nan)
    if stream.num_positions > 1:
      return self.dense().times(stream, seconds)
    return positions.frame_times(stream.num_frames(seconds), stream.rate_hz)

  def input_times(self, spec: specs.StageSpec) -> np.ndarray:
    """`times_of` all inputs, in the order of the stage."""
    seconds = spec.crop_seconds
    return np.concatenate(
      [self.times_of(s, seconds) for s in spec.feature_inputs]
    )

  def shares(
    self, stream: specs.FeatureSpec, spec: specs.StageSpec
  ) -> np.ndarray:
    """Shares of an input's places in each of its vectors.

    float64[vectors, length of the stream], of which rows sum to 1.
    """
    frames = stream.num_frames(spec.crop_seconds)
    count = len(self.times_of(stream, spec.crop_seconds))
    if stream.is_static or stream.num_positions == 1:
      return np.eye(count)
    # Vectors of consecutive frames, then that of all of them.
    size = 2**self.num_poolings
    owner = np.minimum(np.arange(frames) // size, count - 2)
    of_frames = (owner == np.arange(count)[:, None]).astype(np.float64)
    of_frames[-1] = 1
    places = np.repeat(of_frames, stream.num_positions, 1)
    return places / places.sum(1, keepdims=True)

  def module(self, spec: specs.StageSpec) -> 'DelayedDecoder':
    """The network of a stage; ValueError when it cannot serve the stage."""
    if not isinstance(spec.target, specs.TokenSpec):
      raise ValueError(
        f'stage {spec.name!r} writes the continuous stream'
        f' {spec.target.name!r}; a delayed decoder writes codes, so name another'
        ' network.'
      )
    if spec.token_inputs or not spec.moving_inputs:
      raise ValueError(
        f'stage {spec.name!r} reads {[s.name for s in spec.inputs]}; a delayed'
        ' decoder reads continuous streams, at least one of them with a rate.'
      )
    return DelayedDecoder(spec=spec, config=self)


class DelayedDecoder(nn.Module):
  """The network of one stage.

  `__call__` trains; `encode`, `cross_keys_values`, `decode` and `level_logits`
  are its pieces for sampling, `embed_video` and `embed_music` for comparing.

  Attributes:
    spec: Streams of the stage.
    config: Sizes.
  """

  spec: specs.StageSpec
  config: DelayedDecoderConfig

  def setup(self):
    """Makes the parameters and layers."""
    c, spec = self.config, self.spec
    names = (axes.VOCAB, axes.EMBED)
    shape = (tokens.IdSpace(spec).vocab_size, c.emb_dim)
    self.token_embedding = self.param(
      'token_embedding', layers.normal(1.0, *names), shape
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
    buckets = (c.relative_num_buckets, c.relative_max_distance)
    self.decoder_bias = position_bias.RelativeBias(
      c.num_heads, *buckets, bidirectional=False
    )
    self.cross_bias = position_bias.TimeBias(
      c.num_heads, *buckets, c.time_bias_rate_hz
    )
    self.decoder_norm = layers.RMSNorm(c.dtype)
    self.dropout = layers.Dropout(c.dropout_rate)
    self.logits_kernel = self.param(
      'logits', layers.normal(c.emb_dim**-0.5, *names), shape
    )
    self.onset_head = heads.OnsetHead(c.emb_dim, c.dtype)
    if c.modulates:
      self.modulation = heads.Modulation(c.emb_dim, c.dtype)
    self.video_head = heads.PairHead(c.joint_dim)
    self.music_head = heads.PairHead(c.joint_dim)
    self.log_scale = self.param(
      'log_scale', nn.initializers.constant(math.log(_FIRST_SCALE)), ()
    )
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
    spec = self.spec
    steps = batch_layouts.decoder_positions(batch_layouts.DELAY, spec)
    times = positions.frame_times(steps, spec.target.rate_hz)
    rate_hz = _patches(spec)[0].rate_hz
    last = onset_features.shape[1] - 1
    frames = np.minimum((times * rate_hz + 1e-6).astype(int), last)
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
    spec = self.spec
    steps = batch_layouts.decoder_positions(batch_layouts.DELAY, spec)
    times = positions.frame_times(steps, spec.target.rate_hz)
    return self.cross_bias(times, self.config.input_times(spec))

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
      'pair_scale': lambda: jnp.exp(
        jnp.minimum(self.log_scale, math.log(_LARGEST_SCALE))
      ),
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
