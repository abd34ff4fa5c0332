"""Layers of a T5.1.1 Transformer: no biases, no scaling, RMSNorm, gated GELU.

A decoder attends in two ways: in training from every position at once, and in
sampling from the next positions to a cache of keys and values, with the same
weights.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from typing import TYPE_CHECKING

from flax import linen as nn
import jax
import jax.numpy as jnp

from v2meow_jax import specs
from v2meow_jax import tokens
from v2meow_jax.models import logical_axes as axes

if TYPE_CHECKING:
  from v2meow_jax.models import position_bias

# Added to a score that must not count.
NEG_INF = -1e30

# float[batch * heads, length, head_dim], keys and values of some positions. With
# batch and heads apart, XLA copies the cache of a sampler twice in every step.
KeyValue = tuple[jax.Array, jax.Array]


def normal(stddev: float, *names: str):
  """A normal initialiser that names the axes of its parameter."""
  return nn.with_logical_partitioning(nn.initializers.normal(stddev), names)


def zeros(*names: str):
  """An initialiser of zeros that names the axes of its parameter."""
  return nn.with_logical_partitioning(nn.initializers.zeros, names)


def id_table(
  module: nn.Module, name: str, stddev: float, spec: specs.StageSpec, dim: int
) -> jax.Array:
  """A parameter float32[vocab_size, dim] with a row for each id of a stage."""
  shape = (tokens.IdSpace(spec).vocab_size, dim)
  return module.param(name, normal(stddev, axes.VOCAB, axes.EMBED), shape)


def unit(x: jax.Array) -> jax.Array:
  """Vectors of the last axis, scaled to length 1; zeros stay zeros."""
  return x * jax.lax.rsqrt(jnp.sum(x * x, -1, keepdims=True) + 1e-12)


def check_dtype(dtype: str) -> None:
  """Raises ValueError unless a network can compute in a type."""
  if dtype not in ('float32', 'bfloat16'):
    raise ValueError(f"dtype is {dtype!r}; it is 'float32' or 'bfloat16'.")


def check_sizes(config: Any, *names: str) -> None:
  """Raises ValueError unless the widths of a network are 1 or more.

  Args:
    config: Sizes of the network.
    names: Fields besides 'emb_dim', 'num_heads', 'head_dim' and 'mlp_dim'.
  """
  for name in ('emb_dim', 'num_heads', 'head_dim', 'mlp_dim', *names):
    if getattr(config, name) < 1:
      raise ValueError(f'{name} is {getattr(config, name)}; wanted 1 or more.')


def einsum32(subscripts: str, x: jax.Array, y: jax.Array) -> jax.Array:
  """`jnp.einsum` of two arrays of one type, summed and given in float32.

  Products of bfloat16 are exact in float32, so the fast units lose nothing
  but the rounding of their inputs.
  """
  # Says so for the gradient as well: its dots see one float32 operand, and
  # would be float32 dots.
  precision = None
  if x.dtype == jnp.bfloat16:
    precision = jax.lax.DotAlgorithmPreset.BF16_BF16_F32
  return jnp.einsum(
    subscripts, x, y, precision=precision, preferred_element_type=jnp.float32
  )


@jax.custom_vjp
def widen(x: jax.Array, kernel: jax.Array) -> jax.Array:
  """x[b, length, m] @ kernel[m, n], for a kernel that makes vectors wider.

  One of two activations is transposed for the gradient of the kernel. JAX takes
  the gradient of the result, the wide one, which on a CPU costs more than the
  product; this takes `x`.
  """
  return x @ kernel


def _widen_forward(x, kernel):
  return widen(x, kernel), (x, kernel)


def _widen_backward(saved, grad):
  x, kernel = saved
  return grad @ kernel.T, jnp.einsum('blm,bln->mn', x, grad)


widen.defvjp(_widen_forward, _widen_backward)


class RMSNorm(nn.Module):
  """Scales a vector to unit root mean square; no mean, no bias.

  Attributes:
    dtype: Type of the result; the statistic is float32.
    epsilon: Added to the mean square.
  """

  dtype: jnp.dtype
  epsilon: float = 1e-6

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """dtype[..., emb_dim] -> dtype[..., emb_dim]."""
    scale = self.param(
      'scale',
      nn.with_logical_partitioning(nn.initializers.ones, (axes.EMBED,)),
      (x.shape[-1],),
    )
    x = x.astype(jnp.float32)
    x = x * jax.lax.rsqrt(jnp.mean(x * x, -1, keepdims=True) + self.epsilon)
    return (x * scale).astype(self.dtype)


class Dropout(nn.Module):
  """Dropout that drops a channel at every position at once, as T5X does.

  Attributes:
    rate: Probability of dropping.
  """

  rate: float

  @nn.compact
  def __call__(self, x: jax.Array, deterministic: bool) -> jax.Array:
    """Any [..., length, channels]; the same shape."""
    dropout = nn.Dropout(self.rate, broadcast_dims=(-2,))
    return dropout(x, deterministic=deterministic)


def _repeated(bias: jax.Array, count: int) -> jax.Array:
  """A bias once for each row of a batch, [...] -> [count, ...].

  A product with ones: so is its gradient, where a broadcast's is a sum over the
  batch, on which a CPU spends thirty times as long.
  """
  ones = jnp.ones(count, bias.dtype)
  return jnp.einsum('b,hqk->bhqk', ones, bias, precision='highest')


class Attention(nn.Module):
  """Multi-head attention: `attend` to train, `extend` and `read` to sample.

  Where the collection 'intermediates' is mutable, `attend` sows 'weights'
  into it, float32[b, heads, queries, keys]; with `fused` there are none.

  Attributes:
    emb_dim: Width of the residual stream.
    num_heads: Heads.
    head_dim: Width of one head.
    dropout_rate: On the attention weights.
    dtype: Type of the computation; parameters and softmax stay float32.
    fused: Function with which `attend` keeps no matrix of weights, see
      `fused_attention.attend`; None: it keeps one.
  """

  emb_dim: int
  num_heads: int
  head_dim: int
  dropout_rate: float
  dtype: jnp.dtype
  fused: Callable[..., jax.Array] | None = None

  def setup(self):
    """Makes the parameters and layers."""
    shape = (self.emb_dim, self.num_heads, self.head_dim)
    names = (axes.EMBED, axes.HEADS, axes.KV)
    # The usual 1/sqrt(head_dim) of attention is folded into the query's scale.
    query_stddev = (self.emb_dim * self.head_dim) ** -0.5
    self.query = self.param('query', normal(query_stddev, *names), shape)
    stddev = self.emb_dim**-0.5
    self.key = self.param('key', normal(stddev, *names), shape)
    self.value = self.param('value', normal(stddev, *names), shape)
    out_stddev = (self.num_heads * self.head_dim) ** -0.5
    self.out = self.param(
      'out',
      normal(out_stddev, axes.HEADS, axes.KV, axes.EMBED),
      (self.num_heads, self.head_dim, self.emb_dim),
    )
    self.dropout = Dropout(self.dropout_rate)

  def _heads(self, x: jax.Array, kernel: jax.Array) -> jax.Array:
    """dtype[b, length, emb_dim] -> dtype[b, length, heads, head_dim]."""
    # As matrices: an einsum makes XLA transpose the weights in every step of
    # a decoder.
    flat = kernel.astype(self.dtype).reshape(self.emb_dim, -1)
    return (x @ flat).reshape(*x.shape[:2], self.num_heads, self.head_dim)

  def _merge(self, y: jax.Array) -> jax.Array:
    """dtype[b, length, heads, head_dim] -> dtype[b, length, emb_dim]."""
    flat = self.out.astype(self.dtype).reshape(-1, self.emb_dim)
    return y.reshape(*y.shape[:2], -1) @ flat

  def _rows(self, x: jax.Array, kernel: jax.Array) -> jax.Array:
    """dtype[b, length, emb_dim] -> dtype[b * heads, length, head_dim]."""
    heads = self._heads(x, kernel).swapaxes(1, 2)
    return heads.reshape(-1, *heads.shape[2:])

  def keys_values(self, x: jax.Array) -> KeyValue:
    """Keys and values of each position of dtype[b, length, emb_dim]."""
    return self._rows(x, self.key), self._rows(x, self.value)

  def extend(
    self,
    x: jax.Array,
    cache: KeyValue,
    first: jax.Array | int,
    bias: jax.Array,
  ) -> tuple[jax.Array, KeyValue]:
    """Attends from some positions to themselves and those before them.

    Args:
      x: dtype[b, queries, emb_dim], of consecutive positions.
      cache: Keys and values, those before `x` written.
      first: Position of the first query.
      bias: float32[heads, queries, keys], masks what is not written.

    Returns:
      dtype[b, queries, emb_dim], and the cache with the positions of `x`.
    """
    write = jax.lax.dynamic_update_slice_in_dim
    key, value = (
      write(old, new, first, axis=1)
      for old, new in zip(cache, self.keys_values(x), strict=True)
    )
    return self.read(x, (key, value), bias), (key, value)

  def read(
    self, x: jax.Array, source: KeyValue, bias: jax.Array | None
  ) -> jax.Array:
    """Attends from some positions to keys and values, without dropout.

    Args:
      x: dtype[b, queries, emb_dim].
      source: Result of `keys_values`, of any positions.
      bias: float32[heads | 1, queries, keys], or None.

    Returns:
      dtype[b, queries, emb_dim].
    """
    key, value = source
    scores = einsum32('nqd,nkd->nqk', self._rows(x, self.query), key)
    scores = scores.reshape(len(x), self.num_heads, *scores.shape[1:])
    weights = jax.nn.softmax(scores if bias is None else scores + bias)
    weights = weights.astype(self.dtype).reshape(-1, *weights.shape[2:])
    y = jnp.einsum('nqk,nkd->nqd', weights, value)
    y = y.reshape(len(x), self.num_heads, *y.shape[1:])
    return self._merge(y.swapaxes(1, 2))

  def attend(
    self,
    x: jax.Array,
    source: jax.Array,
    bias: position_bias.Bias | jax.Array | None,
    deterministic: bool,
    causal: bool = False,
  ) -> jax.Array:
    """Attends from every position of `x` to every position of `source`.

    Args:
      x: dtype[b, queries, emb_dim].
      source: dtype[b, keys, emb_dim].
      bias: Bias on the scores, which is float32[heads | 1, queries, keys]
        unless `fused`, or None.
      deterministic: No dropout.
      causal: `bias` masks every key after its query.

    Returns:
      dtype[b, queries, emb_dim].
    """
    query = self._heads(x, self.query)
    key, value = self._heads(source, self.key), self._heads(source, self.value)
    if self.fused is None:
      return self._merge(self._dense(query, key, value, bias, deterministic))
    if not deterministic:
      # `Dropout` drops a key for all queries, which is to drop its value.
      ones = jnp.ones((len(x), self.num_heads, 1, source.shape[1]), self.dtype)
      kept = self.dropout(ones, deterministic)
      value = value * kept.transpose(0, 3, 1, 2)
    return self._merge(self.fused(query, key, value, bias, causal))

  def _dense(self, query, key, value, bias, deterministic: bool) -> jax.Array:
    """Attention with a matrix of weights; all [b, length, heads, head_dim]."""
    query, key, value = (x.swapaxes(1, 2) for x in (query, key, value))
    scores = einsum32('bhqd,bhkd->bhqk', query, key)
    if bias is not None:
      scores = scores + _repeated(bias, len(scores))
    weights = jax.nn.softmax(scores)
    self.sow('intermediates', 'weights', weights)
    weights = self.dropout(weights.astype(self.dtype), deterministic)
    return jnp.einsum('bhqk,bhkd->bhqd', weights, value).swapaxes(1, 2)


class GatedMlp(nn.Module):
  """wo(gelu(wi_0 x) * wi_1 x), the feed-forward block of T5.1.1.

  Attributes:
    mlp_dim: Width of the hidden layer.
    dropout_rate: On the hidden layer.
    dtype: Type of the computation; parameters stay float32.
  """

  mlp_dim: int
  dropout_rate: float
  dtype: jnp.dtype

  @nn.compact
  def __call__(self, x: jax.Array, deterministic: bool) -> jax.Array:
    """dtype[..., emb_dim] -> dtype[..., emb_dim]."""
    width = x.shape[-1]
    init = normal(width**-0.5, axes.EMBED, axes.MLP)
    gate = self.param('wi_0', init, (width, self.mlp_dim))
    linear = self.param('wi_1', init, (width, self.mlp_dim))
    out = self.param(
      'wo',
      normal(self.mlp_dim**-0.5, axes.MLP, axes.EMBED),
      (self.mlp_dim, width),
    )
    gate, linear, out = (w.astype(self.dtype) for w in (gate, linear, out))
    hidden = nn.gelu(widen(x, gate), approximate=True) * widen(x, linear)
    hidden = Dropout(self.dropout_rate)(hidden, deterministic)
    return hidden @ out


def level_rows(
  table: jax.Array, spec: specs.StageSpec, level: jax.Array | int
) -> jax.Array:
  """Rows of the ids of one level of a stage's target.

  Args:
    table: float32[vocab_size, emb_dim], a row for each id.
    spec: Streams of the stage.
    level: int32[].

  Returns:
    float32[codebook_size, emb_dim].
  """
  target = spec.target
  first = tokens.IdSpace(spec).offset(target) + level * target.codebook_size
  return jax.lax.dynamic_slice_in_dim(table, first, target.codebook_size)


def row_logits(rows: jax.Array, hidden: jax.Array) -> jax.Array:
  """Logits float32[b, n] by rows float32[n, emb_dim], of dtype[b, emb_dim]."""
  return einsum32('bm,nm->bn', hidden, rows.astype(hidden.dtype))


def code_logits(
  table: jax.Array, spec: specs.StageSpec, hidden: jax.Array
) -> jax.Array:
  """Logits of the ids that may stand at each place of a stage's target.

  Args:
    table: float32[vocab_size, emb_dim], a row for each id.
    spec: Streams of the stage.
    hidden: dtype[b, frames, levels, emb_dim], or of whole frames dtype[b,
      frames, emb_dim].

  Returns:
    float32[b, frames * levels, codebook_size].
  """
  target = spec.target
  first = int(tokens.IdSpace(spec).level_offsets(target)[0])
  kernel = table[first : first + target.num_ids].astype(hidden.dtype)
  kernel = kernel.reshape(target.num_codebooks, target.codebook_size, -1)
  places = 'bflm' if hidden.ndim == 4 else 'bfm'
  logits = einsum32(f'{places},lcm->bflc', hidden, kernel)
  return logits.reshape(len(hidden), -1, target.codebook_size)
