"""Many frames of patches to few vectors, at a cost that is linear in the frames.

After VMAs (Lin et al. 2024, https://arxiv.org/abs/2409.07450), whose temporal
encoder reads densely sampled frames and is not public: the layout is ours. The
patches of a frame are pooled to one vector; layers of attention in windows
follow, and some of them are followed by a pooling of pairs of frames. A global
vector attends to every frame, and every frame to it, in each layer.
"""

import dataclasses

from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from v2meow_jax import specs
from v2meow_jax.models import layers
from v2meow_jax.models import logical_axes as axes
from v2meow_jax.models import position_bias
from v2meow_jax.models.adaptors import positions


@dataclasses.dataclass(frozen=True, kw_only=True)
class DenseTemporalSizes:
  """Sizes of a `DenseTemporal`; names as in `transformer.TransformerConfig`.

  Attributes:
    emb_dim: Width of the vectors.
    num_heads: Attention heads.
    head_dim: Width of one head.
    mlp_dim: Width of the hidden layer of the feed-forward blocks.
    num_layers: Number of layers.
    num_poolings: Number of layers, the first ones, after which pairs of frames
      become one.
    window_frames: Frames of a window; a frame attends to its own window and to
      both beside it. None: to all frames, at a cost that is quadratic.
    dropout_rate: Share to drop in attention and blocks.
    dtype: Type of the computation; parameters and softmax stay float32.
  """

  emb_dim: int
  num_heads: int
  head_dim: int
  mlp_dim: int
  num_layers: int = 4
  num_poolings: int = 2
  window_frames: int | None = 8
  dropout_rate: float = 0.0
  dtype: str = 'float32'

  def __post_init__(self):
    if not 0 <= self.num_poolings <= self.num_layers:
      raise ValueError(
        f'num_poolings is {self.num_poolings}; wanted 0 to num_layers ='
        f' {self.num_layers}: each follows a layer.'
      )
    if self.window_frames is not None and self.window_frames < 1:
      raise ValueError(
        f'window_frames is {self.window_frames}; wanted 1 or more, or None for'
        ' attention to all frames.'
      )

  def num_outputs(self, num_frames: int) -> int:
    """Number of vectors that so many frames become, the global one included."""
    return -(-num_frames // 2**self.num_poolings) + 1

  def times(self, stream: specs.FeatureSpec, seconds: float) -> np.ndarray:
    """Time of each vector in seconds; NaN of the global one, which is last."""
    count = self.num_outputs(stream.num_frames(seconds)) - 1
    middles = positions.frame_times(
      count, stream.rate_hz / 2**self.num_poolings
    )
    return np.append(middles, np.nan)


class DenseTemporal(nn.Module):
  """The encoder of one stream of patches.

  Attributes:
    config: Sizes.
    stream: Stream that it reads; positions are times at its rate.
  """

  config: DenseTemporalSizes
  stream: specs.FeatureSpec

  @nn.compact
  def __call__(
    self, x: jax.Array, deterministic: bool = True
  ) -> tuple[jax.Array, jax.Array]:
    """Encodes the frames of a crop.

    Args:
      x: float[b, frames, positions, dim], or float[b, frames, dim] of a stream
        of one position.
      deterministic: No dropout.

    Returns:
      dtype[b, outputs, emb_dim], the global vector last; and dtype[b, frames,
      emb_dim] after the first layer, at the rate of the stream.
    """
    c = self.config
    x = _PatchPooling(c, name='patches')(x)
    summary = self.param(
      'summary', layers.normal(1.0, axes.EMBED), (c.emb_dim,)
    )
    summary = jnp.broadcast_to(summary.astype(c.dtype), (len(x), 1, c.emb_dim))
    bias = _WindowBias(c, name='times')
    rate_hz, fine = self.stream.rate_hz, x
    for i in range(c.num_layers):
      window = c.window_frames or x.shape[1]
      reach = 0 if c.window_frames is None else 1
      x, summary = _WindowLayer(c, name=f'layer_{i}')(
        x, summary, bias(window, reach, rate_hz), window, reach, deterministic
      )
      if i == 0:
        fine = x
      if i < c.num_poolings:
        x = _PairPooling(c, name=f'pooling_{i}')(x)
        rate_hz /= 2
    x = jnp.concatenate([x, summary], 1)
    return layers.RMSNorm(c.dtype, name='norm')(x), fine


class _PatchPooling(nn.Module):
  """Patches of a frame to one vector, by attention from a learnt query a head."""

  config: DenseTemporalSizes

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """float[b, frames, positions, dim] -> dtype[b, frames, emb_dim]."""
    c = self.config
    x = x if x.ndim == 4 else x[:, :, None]
    dim, width = x.shape[-1], (c.num_heads, c.head_dim)
    kernel = self.param(
      'kernel',
      layers.normal(dim**-0.5, axes.INPUT_DIM, axes.EMBED),
      (dim, c.emb_dim),
    )
    places = self.param(
      'places',
      layers.normal(1.0, axes.LENGTH, axes.EMBED),
      (x.shape[2], c.emb_dim),
    )
    x = x.astype(c.dtype) @ kernel.astype(c.dtype) + places.astype(c.dtype)
    names = (axes.EMBED, axes.HEADS, axes.KV)
    init = layers.normal(c.emb_dim**-0.5, *names)
    key, value = (
      self.param(name, init, (c.emb_dim, *width)).astype(c.dtype)
      for name in ('key', 'value')
    )
    query = self.param(
      'query', layers.normal(c.head_dim**-0.5, axes.HEADS, axes.KV), width
    )
    # Not a key and a value of every patch: the query is the same for all, and
    # values are summed before they are made.
    asked = jnp.einsum('mhd,hd->mh', key, query.astype(c.dtype))
    scores = layers.einsum32('bfpm,mh->bfph', x, asked)
    weights = jax.nn.softmax(scores, 2).astype(c.dtype)
    y = jnp.einsum('bfph,bfpm->bfhm', weights, x)
    y = jnp.einsum('bfhm,mhd->bfhd', y, value)
    out = self.param(
      'out',
      layers.normal(
        (c.num_heads * c.head_dim) ** -0.5, axes.HEADS, axes.KV, axes.EMBED
      ),
      (*width, c.emb_dim),
    )
    # The mean keeps what every patch has, however attention is placed.
    return x.mean(2) + jnp.einsum('bfhd,hdm->bfm', y, out.astype(c.dtype))


class _PairPooling(nn.Module):
  """Pairs of frames to one; the last of an odd number counts twice."""

  config: DenseTemporalSizes

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """dtype[b, frames, emb_dim] -> dtype[b, ceil(frames / 2), emb_dim]."""
    c = self.config
    x = jnp.pad(x, ((0, 0), (0, x.shape[1] % 2), (0, 0)), mode='edge')
    # Two kernels of the width of the network, as an axis has one name.
    halves = [
      self.param(
        name,
        layers.normal((2 * c.emb_dim) ** -0.5, axes.INPUT_DIM, axes.EMBED),
        (c.emb_dim, c.emb_dim),
      ).astype(c.dtype)
      for name in ('first', 'second')
    ]
    mixed = x[:, ::2] @ halves[0] + x[:, 1::2] @ halves[1]
    return (x[:, ::2] + x[:, 1::2]) / 2 + mixed


class _WindowBias(nn.Module):
  """Bias by the seconds between a frame and those of the windows around it."""

  config: DenseTemporalSizes

  def setup(self):
    """Makes one table for all layers, whose frames differ in rate."""
    # 0.05 s tell neighbours apart at 20 Hz; from 6.4 s on distances are alike.
    self.bias = position_bias.TimeBias(self.config.num_heads, 32, 128, 20.0)

  def __call__(self, window: int, reach: int, rate_hz: float) -> jax.Array:
    """float32[heads, window, (1 + 2 * reach) * window + 1], global key last."""
    queries = np.arange(window) / rate_hz
    keys = np.arange(-reach * window, (1 + reach) * window) / rate_hz
    return self.bias(queries, np.append(keys, np.nan)).dense()


class _WindowAttention(layers.Attention):
  """Attention from the frames of each window to some windows and a vector."""

  def attend_windows(
    self,
    x: jax.Array,
    summary: jax.Array,
    bias: jax.Array,
    window: int,
    reach: int,
    deterministic: bool,
  ) -> jax.Array:
    """Attends from every frame to those around it and to the global vector.

    Args:
      x: dtype[b, frames, emb_dim].
      summary: dtype[b, 1, emb_dim].
      bias: float32[heads, window, keys] of `_WindowBias`.
      window: Frames of a window.
      reach: Number of windows on each side that are seen.
      deterministic: No dropout.

    Returns:
      dtype[b, frames, emb_dim].
    """
    batch, num_frames, _ = x.shape
    count = -(-num_frames // window)
    heads = (self.num_heads, self.head_dim)

    def in_windows(x, before, after):
      pad = ((0, 0), (before, after), (0, 0), (0, 0))
      return jnp.pad(x, pad).reshape(batch, -1, window, *heads)

    missing = count * window - num_frames
    query = in_windows(self._heads(x, self.query), 0, missing)
    around = reach * window

    def with_neighbours(kernel):
      padded = in_windows(self._heads(x, kernel), around, missing + around)
      near = [padded[:, i : i + count] for i in range(1 + 2 * reach)]
      own = jnp.broadcast_to(
        self._heads(summary, kernel)[:, None], (batch, count, 1, *heads)
      )
      # [b, windows, keys, heads, head_dim]
      return jnp.concatenate([*near, own], 2)

    key, value = with_neighbours(self.key), with_neighbours(self.value)
    scores = layers.einsum32('bwqhd,bwkhd->bwhqk', query, key)
    places = (
      np.arange(-around, window + around) + window * np.arange(count)[:, None]
    )
    there = (places >= 0) & (places < num_frames)
    there = np.pad(there, ((0, 0), (0, 1)), constant_values=True)
    mask = np.where(there, 0.0, layers.NEG_INF).astype(np.float32)
    scores = scores + bias + mask[:, None, None]
    weights = jax.nn.softmax(scores).astype(self.dtype)
    weights = self.dropout(weights, deterministic)
    y = jnp.einsum('bwhqk,bwkhd->bwqhd', weights, value)
    return self._merge(y.reshape(batch, -1, *heads)[:, :num_frames])


class _WindowLayer(nn.Module):
  """Attention and a feed-forward block; norms before, sums after."""

  config: DenseTemporalSizes

  @nn.compact
  def __call__(
    self,
    x: jax.Array,
    summary: jax.Array,
    bias: jax.Array,
    window: int,
    reach: int,
    deterministic: bool,
  ) -> tuple[jax.Array, jax.Array]:
    """Frames dtype[b, frames, emb_dim] and the global vector, both as before."""
    c = self.config
    drop = layers.Dropout(c.dropout_rate)
    norm = layers.RMSNorm(c.dtype, name='attention_norm')
    attention = _WindowAttention(
      c.emb_dim,
      c.num_heads,
      c.head_dim,
      c.dropout_rate,
      c.dtype,
      name='attention',
    )
    frames, vector = norm(x), norm(summary)
    y = attention.attend_windows(
      frames, vector, bias, window, reach, deterministic
    )
    everything = jnp.concatenate([frames, vector], 1)
    z = attention.attend(vector, everything, None, deterministic)
    x = x + drop(y, deterministic)
    summary = summary + drop(z, deterministic)
    both = jnp.concatenate([x, summary], 1)
    y = layers.RMSNorm(c.dtype, name='mlp_norm')(both)
    y = layers.GatedMlp(c.mlp_dim, c.dropout_rate, c.dtype, name='mlp')(
      y, deterministic
    )
    both = both + drop(y, deterministic)
    return both[:, :-1], both[:, -1:]
