"""A Conformer that fills in the frames of a stage's target, all at once.

SoundStorm's network (Borsos et al. 2023, https://arxiv.org/abs/2305.09636):
attention in both directions and a convolution over time in each layer (Gulati
et al. 2020, https://arxiv.org/abs/2005.08100). A frame of the target is one
position, the sum of what is known of its levels and of every input at its time.
"""

from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
from typing import Any

from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from v2meow_jax import specs
from v2meow_jax.models import batch_layouts
from v2meow_jax.models import fused_attention
from v2meow_jax.models import layers
from v2meow_jax.models import logical_axes as axes
from v2meow_jax.models import position_bias
from v2meow_jax.models.adaptors import linear
from v2meow_jax.models.adaptors import positions
from v2meow_jax.models.blocks import transformer_layers


@dataclasses.dataclass(frozen=True, kw_only=True)
class ParallelConformerConfig:
  """Sizes of a `ParallelConformer`; names as of `transformer.TransformerConfig`.

  Attributes:
    emb_dim: Width of the residual stream.
    num_heads: Attention heads.
    head_dim: Width of one head.
    mlp_dim: Width of the hidden layer of the feed-forward blocks.
    num_layers: Number of layers.
    kernel_size: Number of frames that a convolution sees, odd.
    dropout_rate: Share to drop in embeddings, attention and blocks.
    relative_num_buckets: Number of buckets of distance in frames.
    relative_max_distance: Frames from which on distances share a bucket.
    dtype: Computation in 'float32' or 'bfloat16'; parameters, softmax and
      logits stay float32.
    scan_layers: Whether the layers are one loop, compiled once.
    remat: Whether a gradient computes each layer again instead of keeping it.
    fused_attention: Whether training keeps no matrix of attention weights: see
      `transformer.TransformerConfig`.
  """

  emb_dim: int
  num_heads: int
  head_dim: int
  mlp_dim: int
  num_layers: int
  kernel_size: int = 5
  dropout_rate: float = 0.0
  relative_num_buckets: int = 32
  relative_max_distance: int = 128
  dtype: str = 'float32'
  scan_layers: bool = False
  remat: bool = False
  fused_attention: bool = False

  def __post_init__(self):
    layers.check_sizes(self, 'num_layers')
    if self.kernel_size < 1 or self.kernel_size % 2 == 0:
      raise ValueError(
        f'kernel_size is {self.kernel_size}; wanted an odd number, so that a'
        ' frame is in the middle of what it sees.'
      )
    layers.check_dtype(self.dtype)

  @property
  def layout(self) -> str:
    """Name of the batches that the network reads: see `batch_layouts`."""
    return batch_layouts.PARALLEL

  def module(self, spec: specs.StageSpec) -> 'ParallelConformer':
    """The network of a stage; ValueError when it cannot serve the stage."""
    if not isinstance(spec.target, specs.TokenSpec):
      raise ValueError(
        f'stage {spec.name!r} writes the continuous stream'
        f' {spec.target.name!r}; a Conformer fills in codes, so name another'
        ' network.'
      )
    return ParallelConformer(spec=spec, config=self)


class ParallelConformer(nn.Module):
  """The network of one stage.

  `__call__` trains; `condition`, `hidden` and `level_logits` are its pieces,
  for sampling.

  Attributes:
    spec: Streams of the stage.
    config: Sizes.
  """

  spec: specs.StageSpec
  config: ParallelConformerConfig

  def setup(self):
    """Makes the parameters and layers."""
    c, spec = self.config, self.spec
    self.token_embedding = layers.id_table(
      self, 'token_embedding', 1.0, spec, c.emb_dim
    )
    self.adaptors = {
      s.name: linear.LinearAdaptor(c.emb_dim, c.dtype, s.num_positions)
      for s in spec.feature_inputs
    }
    self.decoder = transformer_layers.stack(
      ParallelConformerLayer, c, c.num_layers
    )
    self.bias = position_bias.relative_bias(c, bidirectional=True)
    self.norm = layers.RMSNorm(c.dtype)
    self.dropout = layers.Dropout(c.dropout_rate)
    self.logits_kernel = layers.id_table(
      self, 'logits', c.emb_dim**-0.5, spec, c.emb_dim
    )

  def condition(self, inputs: Mapping[str, jax.Array]) -> jax.Array:
    """Sum of the inputs at each frame of the target.

    A frame takes the frame of an input that its middle lies in, the mean of its
    patches, and of tokens the sum of their levels.

    Args:
      inputs: Holds 'encoder_inputs_<stream>' for each input of the stage.

    Returns:
      dtype[b, target frames, emb_dim].
    """
    spec = self.spec
    num_frames = spec.target.num_frames(spec.crop_seconds)
    times = positions.frame_times(num_frames, spec.target.rate_hz)
    total = 0.0
    for s in spec.inputs:
      x = inputs[f'encoder_inputs_{s.name}']
      frames = s.num_frames(spec.crop_seconds)
      if isinstance(s, specs.TokenSpec):
        x = self._embed(x, frames, s.num_codebooks, s.num_positions)
      else:
        if s.is_static:
          x = linear.unit_rms(x)
        x = self.adaptors[s.name](x)
        x = x.reshape(len(x), frames, s.num_positions, -1).mean(2)
      index = np.floor(times * s.rate_hz + 1e-9).astype(np.int32)
      total += x[:, np.minimum(index, frames - 1)]
    if not spec.inputs:
      return jnp.zeros((1, num_frames, self.config.emb_dim), self.config.dtype)
    return total

  def _embed(self, ids, frames, num_levels, num_positions=1):
    """dtype[b, frames, emb_dim], the sum of the known levels of each frame.

    Ours: what is hidden adds nothing. A vector for it, once for each hidden level,
    would drown the frame's input: the loss of 250 steps then took 1,900.
    """
    x = self.token_embedding[ids] * (ids != specs.MASK_ID)[..., None]
    x = x.reshape(len(ids), frames, num_levels * num_positions, -1)
    return (x.sum(2) / num_positions).astype(self.config.dtype)

  def hidden(
    self, condition: jax.Array, ids: jax.Array, deterministic: bool = True
  ) -> jax.Array:
    """What the network makes of the target as far as it is known.

    Args:
      condition: Result of `condition`.
      ids: int32[b, target length], `specs.MASK_ID` where unknown.
      deterministic: Whether to leave dropout out.

    Returns:
      dtype[b, target frames, emb_dim] to make logits of.
    """
    num_levels = self.spec.target.num_codebooks
    x = self._embed(ids, ids.shape[1] // num_levels, num_levels) + condition
    x = self.dropout(axes.split_rows(x), deterministic)
    bias = position_bias.DistanceBias(self.bias(x.shape[1]))
    if not self.config.fused_attention:
      bias = bias.dense()
    return self.norm(
      transformer_layers.through(self.decoder, x, bias, deterministic)
    )

  def level_logits(self, hidden: jax.Array, level: jax.Array) -> jax.Array:
    """float32[b, frames, codebook_size] of one level, int32[]."""
    flat = hidden.reshape(-1, hidden.shape[-1])
    rows = layers.level_rows(self.logits_kernel, self.spec, level)
    logits = layers.row_logits(rows, flat)
    return logits.reshape(*hidden.shape[:2], -1)

  def __call__(
    self,
    batch: Mapping[str, jax.Array],
    wanted: Sequence[str] = ('code_logits',),
    deterministic: bool = True,
  ) -> dict[str, jax.Array]:
    """Outputs at every code of the target, given what is known of it.

    Args:
      batch: Inputs, and 'decoder_input_tokens', masked where unknown.
      wanted: Names of the outputs to compute: 'code_logits' float32[b, length,
        codebook_size] of the ids that may stand at each place, by code, and
        'hidden' dtype[b, frames, emb_dim].
      deterministic: Whether to leave dropout out.

    Returns:
      The outputs by name.
    """
    x = self.hidden(
      self.condition(batch), batch['decoder_input_tokens'], deterministic
    )
    outputs = {
      'code_logits': lambda: layers.code_logits(
        self.logits_kernel, self.spec, x
      ),
      'hidden': lambda: x,
    }
    return {name: outputs[name]() for name in wanted}


class ParallelConformerLayer(nn.Module):
  """Half a feed-forward block, attention, a convolution, the other half."""

  config: ParallelConformerConfig

  @nn.compact
  def __call__(
    self,
    x: jax.Array,
    bias: position_bias.Bias | jax.Array,
    deterministic: bool,
  ) -> jax.Array:
    """dtype[b, frames, emb_dim] -> the same; bias as `Attention.attend`."""
    c = self.config

    def block(module, scale, name, *args):
      y = layers.RMSNorm(c.dtype, name=f'{name}_norm')(x)
      y = module(y, *args, deterministic)
      return x + scale * layers.Dropout(c.dropout_rate)(y, deterministic)

    attention = layers.Attention(
      emb_dim=c.emb_dim,
      num_heads=c.num_heads,
      head_dim=c.head_dim,
      dropout_rate=c.dropout_rate,
      dtype=c.dtype,
      fused=fused_attention.attend if c.fused_attention else None,
      name='attention',
    )
    x = block(self._mlp('mlp_0'), 0.5, 'mlp_0')
    x = block(
      lambda y, bias, d: attention.attend(y, y, bias, d), 1, 'attention', bias
    )
    convolution = GatedConvolution(c.kernel_size, c.dtype, name='convolution')
    x = block(lambda y, _: convolution(y), 1, 'convolution')
    x = block(self._mlp('mlp_1'), 0.5, 'mlp_1')
    return layers.RMSNorm(c.dtype, name='norm')(x)

  def scanned(self, x: jax.Array, *args: Any) -> tuple[jax.Array, None]:
    """`__call__` as `flax.linen.scan` wants it."""
    return self(x, *args), None

  def _mlp(self, name: str) -> layers.GatedMlp:
    c = self.config
    return layers.GatedMlp(c.mlp_dim, c.dropout_rate, c.dtype, name=name)


class GatedConvolution(nn.Module):
  """A gated convolution over time, each channel for itself.

  Attributes:
    kernel_size: Number of frames that it sees, odd.
    dtype: Type of the computation; parameters stay float32.
  """

  kernel_size: int
  dtype: jnp.dtype

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """dtype[b, frames, emb_dim] -> the same."""
    width = x.shape[-1]
    dense = layers.normal(width**-0.5, axes.EMBED, axes.MLP)
    gate, linear_map = (
      self.param(name, dense, (width, width)).astype(self.dtype)
      for name in ('wi_0', 'wi_1')
    )
    kernel = self.param(
      'kernel',
      layers.normal(self.kernel_size**-0.5, axes.LENGTH, axes.MLP),
      (self.kernel_size, width),
    ).astype(self.dtype)
    out = self.param(
      'wo', layers.normal(width**-0.5, axes.MLP, axes.EMBED), (width, width)
    ).astype(self.dtype)
    y = jax.nn.sigmoid(layers.widen(x, gate)) * layers.widen(x, linear_map)
    # A few shifted products: a CPU's depthwise convolution is slower.
    half = self.kernel_size // 2
    padded = jnp.pad(y, ((0, 0), (half, half), (0, 0)))
    frames = x.shape[1]
    y = sum(
      padded[:, i : i + frames] * kernel[i] for i in range(self.kernel_size)
    )
    y = nn.swish(layers.RMSNorm(self.dtype, name='norm')(y))
    return y @ out
