"""Sizes of a decoder that writes all levels of a codec, each a step later.

The decoder is in `delayed_network`.
"""

import dataclasses

import numpy as np

from v2meow_jax import specs
from v2meow_jax.models import batch_layouts
from v2meow_jax.models import transformer
from v2meow_jax.models.adaptors import dense_temporal
from v2meow_jax.models.adaptors import positions
from v2meow_jax.models.blocks import delayed_network


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

  def module(self, spec: specs.StageSpec) -> delayed_network.DelayedDecoder:
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
    return delayed_network.DelayedDecoder(spec=spec, config=self)
