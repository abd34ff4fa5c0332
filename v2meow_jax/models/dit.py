"""A Diffusion Transformer that gives the velocity of continuous frames.

MuVi's generator (Li et al. 2024, https://arxiv.org/abs/2410.12957). Its frames
are the latents of music; what is seen is brought to their times and joins them
frame by frame, a style joins the time of the flow.
"""

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
from v2meow_jax.models.adaptors import alignment
from v2meow_jax.models.adaptors import linear
from v2meow_jax.models.adaptors import patches
from v2meow_jax.models.adaptors import transposition as transposition_lib
from v2meow_jax.models.blocks import dit_layers
from v2meow_jax.models.blocks import transformer_layers

# What `Dit.condition` gives: [b, frames, emb_dim] of the video, or 0.0;
# [b, emb_dim] of the style, or 0.0; and the tonics, int32[b], or None.
Condition = tuple[jax.Array | float, jax.Array | float, jax.Array | None]


@dataclasses.dataclass(frozen=True, kw_only=True)
class DitConfig:
  """Sizes of a `Dit`; names as of `transformer.TransformerConfig`.

  Attributes:
    emb_dim: Width of the residual stream.
    num_heads: Attention heads.
    head_dim: Width of one head, even.
    mlp_dim: Width of the hidden layer of the feed-forward blocks.
    num_layers: Number of layers.
    adaptor: Way in which the patches of a frame are joined.
    transposition: Reads and writes the notes of a target from the tonic that
      an input names; None: as they are.
    known_style: Whether what is known of the target also joins the time of the
      flow, as a style does: what it is like, whatever its length.
    dropout_rate: Share to drop in embeddings and blocks.
    dtype: Computation in 'float32' or 'bfloat16'; parameters, norms, softmax
      and velocities stay float32.
    scan_layers: Whether the layers are one loop, compiled once.
    remat: Whether a gradient computes each layer again instead of keeping it.
    fused_attention: Whether a GPU keeps no matrix of attention weights; wants
      bfloat16.
  """

  emb_dim: int
  num_heads: int
  head_dim: int
  mlp_dim: int
  num_layers: int
  adaptor: patches.PatchAdaptorConfig = patches.PatchAdaptorConfig()
  transposition: transposition_lib.Transposition | None = None
  known_style: bool = False
  dropout_rate: float = 0.0
  dtype: str = 'float32'
  scan_layers: bool = False
  remat: bool = False
  fused_attention: bool = False

  def __post_init__(self):
    layers.check_sizes(self, 'num_layers')
    if self.head_dim % 2:
      raise ValueError(
        f'head_dim is {self.head_dim}; wanted an even number, whose halves are'
        ' turned by positions.'
      )
    layers.check_dtype(self.dtype)

  @property
  def layout(self) -> str:
    """Name of the batches that the network reads: see `batch_layouts`."""
    return batch_layouts.FRAMES

  def module(self, spec: specs.StageSpec) -> 'Dit':
    """The network of a stage; ValueError when it cannot serve the stage."""
    target = spec.target
    if not isinstance(target, specs.FeatureSpec) or target.num_positions > 1:
      raise ValueError(
        f'stage {spec.name!r} writes {target.name!r}, which is not one vector a'
        ' frame; a Diffusion Transformer writes latents, so name another'
        ' network.'
      )
    if spec.token_inputs:
      raise ValueError(
        f'stage {spec.name!r} reads the codes'
        f' {[s.name for s in spec.token_inputs]}; a Diffusion Transformer reads'
        ' continuous streams, so name another network.'
      )
    self.adaptor.check(spec.feature_inputs)
    if self.transposition:
      self.transposition.check(spec)
    return Dit(spec=spec, config=self)


class Dit(nn.Module):
  """The network of one stage.

  `__call__` trains; `condition` and `velocity` are its pieces, for sampling.

  Attributes:
    spec: Streams of the stage.
    config: Sizes.
  """

  spec: specs.StageSpec
  config: DitConfig

  def setup(self):
    """Makes the parameters and layers."""
    c, dim = self.config, self.spec.target.frame_shape[-1]
    places = c.transposition.num_places(dim) if c.transposition else dim
    self.adaptors = {
      s.name: linear.LinearAdaptor(c.emb_dim, c.dtype)
      if s.is_static
      else patches.PatchAdaptor(c.emb_dim, c.dtype, c.adaptor, s.num_positions)
      for s in self.spec.feature_inputs
    }
    self.frames_kernel = self.param(
      'frames',
      layers.normal(dim**-0.5, axes.INPUT_DIM, axes.EMBED),
      (places, c.emb_dim),
    )
    if c.transposition:
      self.keys_kernel = self.param(
        'keys', layers.normal(0.5, axes.INPUT_DIM, axes.EMBED), (12, c.emb_dim)
      )
    self.known = self.param(
      'known', layers.normal(1.0, axes.EMBED), (c.emb_dim,)
    )
    if c.known_style:
      self.known_style = _KnownStyle(c.emb_dim, name='known_style')
    self.time = _TimeEmbedding(c.emb_dim, name='time')
    self.modulation = _ZeroDense(
      dit_layers.NUM_MODULATIONS * c.emb_dim, name='modulation'
    )
    self.decoder = transformer_layers.stack(
      dit_layers.DitLayer, c, c.num_layers
    )
    self.dropout = layers.Dropout(c.dropout_rate)
    self.last_modulation = _ZeroDense(2 * c.emb_dim, name='last_modulation')
    self.last = _ZeroDense(places, name='last')

  def condition(
    self, inputs: Mapping[str, jax.Array], num_frames: int
  ) -> Condition:
    """What the inputs say about each frame of the target, and about all.

    Args:
      inputs: Holds 'encoder_inputs_<stream>' for each input of the stage.
      num_frames: Number of frames of the target.

    Returns:
      See `Condition`.
    """
    spec = self.spec
    transposition = self.config.transposition
    by_frame, whole, tonics = 0.0, 0.0, None
    for s in spec.feature_inputs:
      x = inputs[f'encoder_inputs_{s.name}']
      if s.is_static:
        whole += self.adaptors[s.name](linear.unit_rms(x))[:, 0]
        continue
      y = self.adaptors[s.name](x)
      if transposition and s.name == transposition.stream:
        tonics = transposition.tonics(x)
        relative = transposition.relative(x, tonics).astype(y.dtype)
        y += relative @ self.keys_kernel.astype(y.dtype)
      by_frame += alignment.brought(
        y, s.rate_hz, num_frames, spec.target.rate_hz
      )
    return by_frame, whole, tonics

  def velocity(
    self,
    condition: Condition,
    frames: jax.Array,
    is_known: jax.Array,
    times: jax.Array,
    lengths: jax.Array | None = None,
    deterministic: bool = True,
  ) -> jax.Array:
    """The velocity of the flow at some frames.

    Args:
      condition: Result of `condition`.
      frames: float32[b, frames, dim], of any number of frames; noise mixed with
        data by the time, and data where they are known.
      is_known: float32[b, frames], 1 where they are known.
      times: float32[b], from 0, noise, to 1, data.
      lengths: int32[b], frames of each row; what is beyond says nothing about
        the others. None: all.
      deterministic: Whether to leave dropout out.

    Returns:
      float32[b, frames, dim].
    """
    c = self.config
    by_frame, whole, tonics = condition
    if c.transposition and tonics is not None:
      frames = c.transposition.placed(frames, tonics)
    if c.known_style:
      whole += self.known_style(frames, is_known)
    x = frames.astype(c.dtype) @ self.frames_kernel.astype(c.dtype)
    x = x + is_known[..., None].astype(c.dtype) * self.known.astype(c.dtype)
    x = self.dropout(axes.split_rows(x + by_frame), deterministic)
    if lengths is None:
      lengths = jnp.full(len(frames), frames.shape[1], jnp.int32)
    signal = nn.silu(self.time(times) + jnp.asarray(whole, jnp.float32))
    modulation = self.modulation(signal)
    modulation = modulation.reshape(len(frames), -1, c.emb_dim)
    x = transformer_layers.through(
      self.decoder,
      x,
      modulation,
      dit_layers.rotation(frames.shape[1], c.head_dim),
      jnp.maximum(lengths, 1),
      deterministic,
    )
    last = self.last_modulation(signal)[:, None]
    shift, scale = jnp.split(last, 2, -1)
    values = self.last(dit_layers.modulated(x, shift, scale, 'float32'))
    if c.transposition and tonics is not None:
      values = c.transposition.taken(values, tonics)
    return values

  def __call__(
    self,
    batch: Mapping[str, jax.Array],
    wanted: Sequence[str] = ('velocity',),
    deterministic: bool = True,
  ) -> dict[str, jax.Array]:
    """Outputs at every frame of a batch that `FlowMatching` corrupted.

    Args:
      batch: Inputs, and the frames, times and lengths of the flow.
      wanted: Names of the outputs to compute: 'velocity' float32[b, frames,
        dim].
      deterministic: Whether to leave dropout out.

    Returns:
      The outputs by name.
    """
    frames = batch['decoder_input_frames']
    outputs = {
      'velocity': lambda: self.velocity(
        self.condition(batch, frames.shape[1]),
        frames,
        batch['decoder_is_known'],
        batch['flow_times'],
        batch['decoder_lengths'],
        deterministic,
      )
    }
    return {name: outputs[name]() for name in wanted}


class _TimeEmbedding(nn.Module):
  """float[b] -> float32[b, emb_dim]: two maps of sines and cosines."""

  emb_dim: int

  @nn.compact
  def __call__(self, times: jax.Array) -> jax.Array:
    x = dit_layers.time_features(times)
    for i, name in enumerate((axes.INPUT_DIM, axes.MLP)):
      init = layers.normal(x.shape[-1] ** -0.5, name, axes.EMBED)
      kernel = self.param(f'wi_{i}', init, (x.shape[-1], self.emb_dim))
      x = (nn.silu(x) if i else x) @ kernel
    return x


class _KnownStyle(nn.Module):
  """What known frames are like, float32[b, emb_dim]; zeros at first."""

  emb_dim: int

  @nn.compact
  def __call__(self, frames: jax.Array, is_known: jax.Array) -> jax.Array:
    init = layers.normal(frames.shape[-1] ** -0.5, axes.INPUT_DIM, axes.EMBED)
    kernel = self.param('kernel', init, (frames.shape[-1], self.emb_dim))
    x = nn.silu(frames.astype(jnp.float32) @ kernel) * is_known[..., None]
    num_known = is_known.sum(-1, keepdims=True)
    mean = x.sum(-2) / jnp.maximum(num_known, 1)
    # A bias would speak where nothing is known.
    out = layers.zeros(axes.EMBED, axes.MLP)
    return mean @ self.param('out', out, (self.emb_dim, self.emb_dim))


class _ZeroDense(nn.Module):
  """float32[..., m] -> float32[..., dim], all zeros at first."""

  dim: int

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    names = (axes.EMBED, axes.MLP)
    shape = (x.shape[-1], self.dim)
    kernel = self.param('kernel', layers.zeros(*names), shape)
    bias = self.param('bias', layers.zeros(axes.MLP), (self.dim,))
    return x @ kernel + bias
