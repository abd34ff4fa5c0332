"""Autoregressive sampling: one id at a time, with a cache of keys and values.

A step writes its own keys and values in place and reads the cache whole, so the
cache grows with what is written: each size is compiled once.
"""

from collections.abc import Mapping
import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp

from v2meow_jax import specs
from v2meow_jax import tokens
from v2meow_jax.models import batch_layouts
from v2meow_jax.models import layers
from v2meow_jax.models import position_bias
from v2meow_jax.models import transformer
from v2meow_jax.models.adaptors import positions
from v2meow_jax.models.blocks import layer_stacking
from v2meow_jax.models.blocks import transformer_layers
from v2meow_jax.models.sampling import drawing
from v2meow_jax.models.sampling import guidance
from v2meow_jax.models.sampling import options

# The cache grows by doubling from this many positions; performance, not results.
_FIRST_CACHE_LENGTH = 512


@dataclasses.dataclass(frozen=True, kw_only=True)
class Autoregressive:
  """Samples a stage of tokens whose network is a `transformer.Transformer`.

  Attributes:
    sampling: Options that hold unless others are given.
    windows: Cover of a clip longer than a crop.
  """

  sampling: options.Sampling = options.AS_TRAINED
  windows: options.Windows = options.Windows()

  def sample(
    self,
    network: transformer.TransformerConfig,
    spec: specs.StageSpec,
    params: Any,
    inputs: Mapping[str, jax.Array],
    rngs: jax.Array,
    sampling: options.Sampling,
    *,
    prefix: jax.Array | None,
    num_frames: int,
    negative: Mapping[str, jax.Array] | None = None,
  ) -> jax.Array:
    """Draws the target, one id after the other; see `stage_model.Sampler`.

    The id at target position i of a row is drawn with fold_in(key of the row,
    i), from the ids of its level only. Stacked layers are taken apart first,
    at every call.
    """
    target = spec.target
    length = num_frames * target.num_codebooks
    if prefix is None:
      prefix = jnp.zeros((rngs.shape[0], 0), jnp.int32)
    inputs, weights = guidance.branches(spec, inputs, sampling, negative)
    return sample(
      dataclasses.replace(network, scan_layers=False).module(spec),
      layer_stacking.unstack(params),
      inputs if network.num_encoder_layers else None,
      batch_layouts.prompt(network.layout, spec, inputs),
      jnp.asarray(prefix, jnp.int32),
      rngs,
      sampling,
      weights,
      length=length,
    )


def draw(
  logits: jax.Array,
  rngs: jax.Array,
  position: jax.Array,
  sampling: options.Sampling,
) -> jax.Array:
  """One code per row, by the Gumbel trick; temperature 0 is the argmax.

  Args:
    logits: float32[b, codebook_size].
    rngs: key[b]; a row uses fold_in(its key, position).
    position: int32[], of the target.
    sampling: Options of the sampler.

  Returns:
    int32[b], in [0, codebook_size).
  """
  logits = drawing.among_likeliest(logits, sampling)

  def noise(rng):
    return jax.random.gumbel(
      jax.random.fold_in(rng, position), logits.shape[-1:]
    )

  noisy = logits + drawing.temperature(sampling) * jax.vmap(noise)(rngs)
  return jnp.argmax(noisy, -1).astype(jnp.int32)


class _Decoder:
  """What stays the same in every step of a sampling."""

  def __init__(self, module, params, inputs, length):
    spec = module.spec
    self.module, self.params = module, params
    self.cross = self.time_biases = None
    streams = spec.token_streams
    if inputs is not None:
      encoded = self._apply('encode', inputs)
      self.cross = self._apply('cross_keys_values', encoded)
      self.time_biases = self._apply('time_biases')
      streams = (spec.target,)
    self.levels = jnp.asarray(positions.token_levels(spec, streams))
    # Cut out in every step, rows are copied in every step.
    one_level = spec.target.num_codebooks == 1
    self.rows = self._apply('level_rows', 0) if one_level else None
    # [heads, 2 * length - 1], by length - 1 + key - query
    self.relative = self._apply('relative_biases', length)

  def _apply(self, method, *args, **kwargs):
    variables = {'params': self.params}
    return self.module.apply(variables, *args, method=method, **kwargs)

  def prefill(self, ids: jax.Array) -> transformer_layers.Caches:
    """Keys and values of the first positions, in one pass."""
    n, c = ids.shape[1], self.module.config
    caches = empty(c, c.num_decoder_layers, len(ids), n)
    if not n:
      return caches
    bias = self.time_biases
    return self._apply(
      'decode',
      ids,
      self.levels[:n],
      caches,
      0,
      first_biases(self.relative, n),
      cross=self.cross,
      cross_bias=None if bias is None else bias[:, :n],
    )[1]

  def step(self, ids, position, caches):
    """One position after those in the caches.

    Args:
      ids: int32[b], what stands before the position.
      position: int32[], of the decoder.
      caches: Keys and values of each layer, written before `position`.

    Returns:
      dtype[b, emb_dim], and the caches with this position.
    """
    bias = self.time_biases
    if bias is not None:
      bias = jax.lax.dynamic_slice_in_dim(bias, position, 1, axis=1)
    x, caches = self._apply(
      'decode',
      ids[:, None],
      jax.lax.dynamic_slice_in_dim(self.levels, position, 1),
      caches,
      position,
      step_biases(self.relative, position, caches),
      cross=self.cross,
      cross_bias=bias,
    )
    return x[:, 0], caches

  def level_logits(self, hidden, target_position):
    """Logits of the ids that may stand at a position of the target."""
    level = target_position % self.module.spec.target.num_codebooks
    rows = self.rows
    if rows is None:
      rows = self._apply('level_rows', level)
    return layers.row_logits(rows, hidden)


def stretches(start: int, end: int) -> list[tuple[int, int]]:
  """Stretches of [start, end), each with a cache as long as its end.

  >>> stretches(500, 1500)
  [(500, 512), (512, 1024), (1024, 1500)]
  """
  stretches, limit = [], _FIRST_CACHE_LENGTH
  while start < end:
    if limit > start:
      stop = min(limit, end)
      stretches.append((start, stop))
      start = stop
    limit *= 2
  return stretches


@functools.partial(jax.jit, static_argnames=('module', 'length'))
def sample(
  module: transformer.Transformer,
  params,
  inputs: Mapping[str, jax.Array] | None,
  prompt: jax.Array | None,
  prefix: jax.Array,
  rngs: jax.Array,
  sampling: options.Sampling,
  weights: jax.Array | None = None,
  *,
  length: int,
) -> jax.Array:
  """Draws target ids; see `Autoregressive.sample`.

  Args:
    module: The network.
    params: Parameters of the network.
    inputs: Inputs of the encoder, of all branches; None for a decoder-only
      model.
    prompt: int32[branches * b, p], what the decoder reads first; None with an
      encoder.
    prefix: int32[b, n], the first ids of the target.
    rngs: key[b].
    sampling: Options of the sampler.
    weights: float32[branches], as of `guidance.branches`; None: one branch.
    length: Number of target ids to return, more than n.

  Returns:
    int32[b, length].
  """
  known = guidance.repeat(prefix, weights)
  if prompt is not None:
    known = jnp.concatenate([prompt, known], 1)
  first_target = 0 if prompt is None else prompt.shape[1]
  start, end = known.shape[1], first_target + length
  decoder = _Decoder(module, params, inputs, end)
  # Position i reads id i - 1 of the sequence, position 0 the padding id.
  read = jnp.pad(known, ((0, 0), (1, 0)), constant_values=specs.PAD_ID)
  caches = decoder.prefill(read[:, :-1])
  last = read[:, -1]
  target = module.spec.target
  runs = None
  if sampling.max_run is not None:
    frames = prefix.reshape(len(rngs), -1, target.num_codebooks)
    offsets = tokens.IdSpace(module.spec).level_offsets(target)
    runs = drawing.runs(frames - jnp.asarray(offsets, jnp.int32))
  offset = tokens.IdSpace(module.spec).offset(target)

  def run_step(carry, position):
    caches, last, runs = carry
    hidden, caches = decoder.step(last, position, caches)
    place = position - first_target
    level = place % target.num_codebooks
    logits = guidance.combine(decoder.level_logits(hidden, place), weights)
    logits = drawing.without_long_runs(logits, runs, level, sampling.max_run)
    code = draw(logits, rngs, place, sampling)
    runs = runs and runs.add(level, code)
    ids = offset + level * target.codebook_size + code
    return (caches, guidance.repeat(ids, weights), runs), ids

  drawn = []
  for first, stop in stretches(start, end):
    carry = grown(caches, stop), last, runs
    carry, ids = jax.lax.scan(run_step, carry, jnp.arange(first, stop))
    caches, last, runs = carry
    drawn.append(ids.T)
  return jnp.concatenate([prefix, *drawn], 1)


def first_biases(relative: jax.Array, count: int) -> jax.Array:
  """Biases of the first positions among themselves.

  Args:
    relative: float32[heads, 2 * length - 1], by length - 1 + key - query.
    count: Number of the positions.

  Returns:
    float32[heads, count, count].
  """
  middle = relative.shape[1] // 2
  diagonals = relative[:, middle - (count - 1) : middle + count]
  return position_bias.toeplitz(diagonals, count)


def step_biases(
  relative: jax.Array, position: jax.Array, caches: transformer_layers.Caches
) -> jax.Array:
  """float32[heads, 1, keys] of one position on all that caches have room for."""
  # What is not written yet lies in the future, which has no weight.
  middle, keys = relative.shape[1] // 2, caches[0][0].shape[1]
  first = middle - position
  return jax.lax.dynamic_slice_in_dim(relative, first, keys, axis=1)[:, None]


def empty(
  config: Any, num_layers: int, batch_size: int, length: int
) -> transformer_layers.Caches:
  """Caches of so many layers, of zeros.

  `config` has the sizes of attention, as `transformer.TransformerConfig`.
  """
  shape = (batch_size * config.num_heads, length, config.head_dim)
  pair = (jnp.zeros(shape, config.dtype), jnp.zeros(shape, config.dtype))
  return (pair,) * num_layers


def grown(
  caches: transformer_layers.Caches, length: int
) -> transformer_layers.Caches:
  """Caches with room for so many positions."""

  def pad(x):
    return jnp.pad(x, ((0, 0), (0, length - x.shape[1]), (0, 0)))

  return jax.tree.map(pad, caches)
