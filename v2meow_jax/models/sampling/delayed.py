"""Sampling with delayed levels: all levels of a codec in one step a frame.

Level k of frame t is drawn at step t + k, so that frames + levels - 1 steps write
a crop. What a step reads, and the cache of keys and values, is as in
`autoregressive`.
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
from v2meow_jax.models import delayed
from v2meow_jax.models.blocks import delayed_network
from v2meow_jax.models.blocks import layer_stacking
from v2meow_jax.models.sampling import autoregressive
from v2meow_jax.models.sampling import drawing
from v2meow_jax.models.sampling import guidance
from v2meow_jax.models.sampling import options


@dataclasses.dataclass(frozen=True, kw_only=True)
class Delayed:
  """Samples a stage of tokens that a `delayed_network.DelayedDecoder` writes.

  Attributes:
    sampling: Options that hold unless others are given.
    windows: Cover of a clip longer than a crop.
  """

  sampling: options.Sampling = options.AS_TRAINED
  windows: options.Windows = options.Windows()

  def sample(
    self,
    network: delayed.DelayedDecoderConfig,
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
    """Draws the target, a step for each frame; see `stage_model.Sampler`.

    The id at target position i of a row is drawn with fold_in(key of the row,
    i), from the ids of its level only.
    """
    if prefix is None:
      prefix = jnp.zeros((rngs.shape[0], 0), jnp.int32)
    inputs, weights = guidance.branches(spec, inputs, sampling, negative)
    return sample(
      dataclasses.replace(network, scan_layers=False).module(spec),
      layer_stacking.unstack(params),
      inputs,
      jnp.asarray(prefix, jnp.int32),
      rngs,
      sampling,
      weights,
      num_frames=num_frames,
    )


@functools.partial(jax.jit, static_argnames=('module', 'num_frames'))
def sample(
  module: delayed_network.DelayedDecoder,
  params: Any,
  inputs: Mapping[str, jax.Array],
  prefix: jax.Array,
  rngs: jax.Array,
  sampling: options.Sampling,
  weights: jax.Array | None = None,
  *,
  num_frames: int,
) -> jax.Array:
  """Draws target ids; see `Delayed.sample`.

  Args:
    module: The network.
    params: Parameters of the network.
    inputs: Inputs, of all branches.
    prefix: int32[b, n * levels], ids of whole frames that are known.
    rngs: key[b].
    sampling: Options of the sampler.
    weights: float32[branches], as of `guidance.branches`; None: one branch.
    num_frames: Number of frames to return, more than n.

  Returns:
    int32[b, num_frames * levels].
  """
  target = module.spec.target
  levels = target.num_codebooks
  offsets = jnp.asarray(tokens.IdSpace(module.spec).level_offsets(target))
  known = prefix.reshape(len(rngs), -1, levels)
  start, end = known.shape[1], num_frames + levels - 1
  decoder = _Decoder(module, params, inputs, end)
  # What every step writes, where that is known; -1: to be drawn. Fewer frames
  # are the beginning of a crop, whose coarse levels run on.
  crop_frames = target.num_frames(module.spec.crop_seconds)
  last_frame = min(crop_frames, end)
  blank = jnp.full((len(rngs), last_frame - start, levels), -1)
  steps = batch_layouts.delay(jnp.concatenate([known, blank], 1), specs.PAD_ID)
  steps = jnp.moveaxis(steps, 1, 0)[:end]  # [steps, b, levels]
  read = jnp.pad(steps[:start], ((1, 0), (0, 0), (0, 0)))
  caches = decoder.prefill(read[:-1], weights, len(rngs))
  runs = None
  if sampling.max_run is not None:
    codes = jnp.moveaxis(steps[:start], 0, 1)
    runs = drawing.runs(jnp.where(codes == specs.PAD_ID, -1, codes - offsets))

  def run_step(carry, at):
    caches, last, runs = carry
    number, given = at
    hidden, caches = decoder.step(
      guidance.repeat(last, weights), number, caches
    )
    logits = guidance.combine(decoder.logits(hidden), weights)
    frames = number - jnp.arange(levels)
    codes = []
    for k in range(levels):
      own = drawing.without_long_runs(logits[:, k], runs, k, sampling.max_run)
      place = jnp.maximum(frames[k], 0) * levels + k
      codes.append(autoregressive.draw(own, rngs, place, sampling))
    ids = jnp.where(given < 0, jnp.stack(codes, 1) + offsets, given)
    if runs is not None:
      written = runs
      for k in range(levels):
        written = written.add(k, ids[:, k] - offsets[k])
      inside = (frames >= 0) & (frames < crop_frames)
      runs = jax.tree.map(
        lambda new, old: jnp.where(inside, new, old), written, runs
      )
    return (caches, ids, runs), ids

  last, drawn = read[-1], []
  for first, stop in autoregressive.stretches(start, end):
    carry = autoregressive.grown(caches, stop), last, runs
    xs = jnp.arange(first, stop), steps[first:stop]
    (caches, last, runs), ids = jax.lax.scan(run_step, carry, xs)
    drawn.append(ids)
  written = jnp.concatenate([steps[:start], *drawn])
  frames = batch_layouts.undelay(jnp.moveaxis(written, 0, 1))
  return frames.reshape(len(rngs), -1)


class _Decoder:
  """What stays the same in every step of a sampling."""

  def __init__(self, module, params, inputs, length):
    self.module, self.params = module, params
    encoded, onset_features = self._apply('see', inputs)
    self.modulations = self._apply('modulations', onset_features)
    self.cross = self._apply('cross_keys_values', encoded)
    self.time_biases = self._apply('time_biases')
    # [heads, 2 * length - 1], by length - 1 + key - query
    self.relative = self._apply('relative_biases', length)

  def _apply(self, method, *args, **kwargs):
    variables = {'params': self.params}
    return self.module.apply(variables, *args, method=method, **kwargs)

  def prefill(self, read, weights, batch_size):
    """Caches after the first steps, in one pass; int32[steps, b, levels]."""
    n, c = len(read), self.module.config
    rows = batch_size * (1 if weights is None else len(weights))
    caches = autoregressive.empty(c, c.num_layers, rows, n)
    if not n:
      return caches
    return self._apply(
      'decode',
      guidance.repeat(jnp.moveaxis(read, 0, 1), weights),
      caches,
      0,
      autoregressive.first_biases(self.relative, n),
      self.cross,
      self.time_biases[:, :n],
      None if self.modulations is None else self.modulations[:, :n],
    )[1]

  def step(self, ids, number, caches):
    """One step after those in the caches; `ids` is int32[b, levels]."""
    slice_in_dim = jax.lax.dynamic_slice_in_dim
    modulations = self.modulations
    if modulations is not None:
      modulations = slice_in_dim(modulations, number, 1, axis=1)
    x, caches = self._apply(
      'decode',
      ids[:, None],
      caches,
      number,
      autoregressive.step_biases(self.relative, number, caches),
      self.cross,
      slice_in_dim(self.time_biases, number, 1, axis=1),
      modulations,
    )
    return x[:, 0], caches

  def logits(self, hidden):
    """float32[b, levels, codebook_size] of a step."""
    return self._apply('level_logits', hidden)
