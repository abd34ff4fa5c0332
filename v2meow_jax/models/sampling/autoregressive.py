"""Autoregressive sampling: one id at a time, with a cache in two levels.

The keys and values of the past live in a big cache, which does not change
while a block of steps runs, and in a recent one, as long as the block. A step
writes into the recent cache only, and a block ends by copying it into the big
one. With one cache, XLA copies all of it at every step.
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
from v2meow_jax.models.sampling import drawing
from v2meow_jax.models.sampling import guidance
from v2meow_jax.models.sampling import options

# Steps between two flushes of the recent cache; performance, not results.
BLOCK_STEPS = 50
# The big cache grows by doubling from this many positions.
_FIRST_CACHE_LENGTH = 512

Caches = tuple[layers.KeyValue, ...]


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

  def __init__(self, module, params, inputs, first_target, length):
    spec = module.spec
    self.module, self.params = module, params
    self.first_target = first_target  # Position of the first target id.
    self.length = first_target + length
    self.cross = self.time_biases = None
    streams = spec.token_streams
    if inputs is not None:
      encoded = self._apply('encode', inputs)
      self.cross = self._apply('cross_keys_values', encoded)
      self.time_biases = self._apply('time_biases')
      streams = (spec.target,)
    self.levels = jnp.asarray(positions.token_levels(spec, streams))
    # [heads, 2 * length - 1], by length - 1 + key - query
    self.relative = self._apply('relative_biases', self.length)

  def _apply(self, method, *args, **kwargs):
    variables = {'params': self.params}
    return self.module.apply(variables, *args, method=method, **kwargs)

  def prefill(self, ids: jax.Array) -> Caches:
    """Keys and values of the first positions, in one pass."""
    n = ids.shape[1]
    middle = self.length - 1
    diagonals = self.relative[:, middle - (n - 1) : middle + n]
    bias = self.time_biases
    _, own = self._apply(
      'decode',
      ids,
      self.levels[:n],
      (position_bias.toeplitz(diagonals, n),),
      cross=self.cross,
      cross_bias=None if bias is None else bias[:, :n],
    )
    return own

  def _row(self, position, first_key, num_keys):
    """Bias of one query on consecutive keys, float32[heads, 1, keys]."""
    start = self.length - 1 - position + first_key
    padded = jnp.pad(
      self.relative,
      ((0, 0), (0, self.length)),
      constant_values=layers.NEG_INF,
    )
    row = jax.lax.dynamic_slice_in_dim(padded, start, num_keys, axis=1)
    return row[:, None]

  def step(self, ids, position, big, recent, block_start):
    """One position after the caches.

    Args:
      ids: int32[b], what stands before the position.
      position: int32[], of the decoder.
      big: Caches, filled below `block_start`.
      recent: Caches, filled from `block_start` to before `position`.
      block_start: int32[].

    Returns:
      dtype[b, emb_dim], and keys and values of this position.
    """
    num_big, num_recent = big[0][0].shape[2], recent[0][0].shape[2]
    big_bias = jnp.where(
      jnp.arange(num_big) < block_start,
      self._row(position, 0, num_big),
      layers.NEG_INF,
    )
    recent_bias = jnp.where(
      jnp.arange(num_recent) < position - block_start,
      self._row(position, block_start, num_recent),
      layers.NEG_INF,
    )
    own_bias = self._row(position, position, 1)
    bias = self.time_biases
    if bias is not None:
      bias = jax.lax.dynamic_slice_in_dim(bias, position, 1, axis=1)
    x, own = self._apply(
      'decode',
      ids[:, None],
      jax.lax.dynamic_slice_in_dim(self.levels, position, 1),
      (big_bias, recent_bias, own_bias),
      past=tuple(zip(big, recent, strict=True)),
      cross=self.cross,
      cross_bias=bias,
    )
    return x[:, 0], own

  def level_logits(self, hidden, target_position):
    """Logits of the ids that may stand at a position of the target."""
    level = target_position % self.module.spec.target.num_codebooks
    return self._apply('level_logits', hidden, level)


def _blocks(start: int, end: int) -> list[tuple[int, int, int]]:
  """(first position, blocks, steps a block) that cover [start, end).

  Blocks of one group have one length and one size of the big cache, so each
  group is compiled once. Lengths that divide the way are preferred.
  """
  lengths = range(BLOCK_STEPS, BLOCK_STEPS // 2, -1)
  even = [n for n in lengths if (end - start) % n == 0]
  steps = even[0] if even else min(BLOCK_STEPS, end - start)
  groups = []
  rest = (end - start) % steps
  if rest:
    groups.append((start, 1, rest))
    start += rest
  limit = _FIRST_CACHE_LENGTH
  while start < end:
    while limit < start + steps:
      limit *= 2
    count = (min(limit, end) - start) // steps
    groups.append((start, count, steps))
    start += count * steps
  return groups


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
  decoder = _Decoder(module, params, inputs, first_target, length)
  # Position i reads id i - 1 of the sequence, position 0 the padding id.
  read = jnp.pad(known, ((0, 0), (1, 0)), constant_values=specs.PAD_ID)
  start, end = known.shape[1], first_target + length
  big = decoder.prefill(read[:, :-1]) if start else _empty(module, read, 0)
  last = read[:, -1]
  runs = None
  if sampling.max_run is not None:
    target = module.spec.target
    frames = prefix.reshape(len(rngs), -1, target.num_codebooks)
    offsets = tokens.IdSpace(module.spec).level_offsets(target)
    runs = drawing.runs(frames - jnp.asarray(offsets, jnp.int32))
  drawn = []
  for first, count, steps in _blocks(start, end):
    big = _resize(big, first + count * steps)

    def run_block(carry, block_start, steps=steps):
      big, last, runs = carry
      recent, last, runs, ids = _run_steps(
        decoder, big, last, runs, block_start, steps, rngs, sampling, weights
      )
      return (_flush(big, recent, block_start), last, runs), ids

    starts = first + steps * jnp.arange(count)
    (big, last, runs), ids = jax.lax.scan(run_block, (big, last, runs), starts)
    # [blocks, steps, b] -> [b, blocks * steps]
    drawn.append(ids.reshape(-1, ids.shape[-1]).T)
  return jnp.concatenate([prefix, *drawn], 1)


def _run_steps(
  decoder, big, last, runs, block_start, steps, rngs, sampling, weights
):
  """A block of steps: the recent cache, last id, runs, int32[steps, b] ids."""
  spec = decoder.module.spec
  offset = tokens.IdSpace(spec).offset(spec.target)

  def run_step(carry, r):
    recent, last, runs = carry
    position = block_start + r
    hidden, own = decoder.step(last, position, big, recent, block_start)
    place = position - decoder.first_target
    level = place % spec.target.num_codebooks
    logits = guidance.combine(decoder.level_logits(hidden, place), weights)
    logits = drawing.without_long_runs(logits, runs, level, sampling.max_run)
    code = draw(logits, rngs, place, sampling)
    runs = runs and runs.add(level, code)
    ids = offset + level * spec.target.codebook_size + code
    here = (jnp.arange(steps) == r)[:, None]
    recent = jax.tree.map(lambda c, new: jnp.where(here, new, c), recent, own)
    return (recent, guidance.repeat(ids, weights), runs), ids

  recent = _empty(decoder.module, last, steps)
  (recent, last, runs), ids = jax.lax.scan(
    run_step, (recent, last, runs), jnp.arange(steps)
  )
  return recent, last, runs, ids


def _empty(module, like: jax.Array, length: int) -> Caches:
  c = module.config
  shape = (like.shape[0], c.num_heads, length, c.head_dim)
  pair = (jnp.zeros(shape, c.dtype), jnp.zeros(shape, c.dtype))
  return (pair,) * c.num_decoder_layers


def _resize(caches: Caches, length: int) -> Caches:
  def pad(x):
    grow = length - x.shape[2]
    return jnp.pad(x, ((0, 0), (0, 0), (0, grow), (0, 0)))

  return jax.tree.map(pad, caches)


def _flush(big: Caches, recent: Caches, start: jax.Array) -> Caches:
  return jax.tree.map(
    lambda b, r: jax.lax.dynamic_update_slice_in_dim(b, r, start, axis=2),
    big,
    recent,
  )
