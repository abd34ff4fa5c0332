"""Parallel sampling: fills in a target level by level, all frames at once.

As SoundStorm (https://arxiv.org/abs/2305.09636, section 3.3), after MaskGIT
(https://arxiv.org/abs/2202.04200): each pass draws every hidden frame of a
level and keeps those it is surest of, by a cosine schedule; once a level is
whole, the next begins.
"""

from collections.abc import Mapping
import dataclasses
import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from v2meow_jax import specs
from v2meow_jax import tokens
from v2meow_jax.models.blocks import layer_stacking
from v2meow_jax.models.sampling import drawing
from v2meow_jax.models.sampling import guidance
from v2meow_jax.models.sampling import options

Inputs = Mapping[str, jax.Array]


@dataclasses.dataclass(frozen=True, kw_only=True)
class MaskedDecoding:
  """Samples a stage whose network fills in masked ids, as a `ParallelConformer`.

  Attributes:
    sampling: Options that hold unless others are given.
    windows: Cover of a clip longer than a crop.
    passes: Number of passes of each level, coarsest first; finer levels take
      the last number.
    order_noise: Weight of the noise on the confidence by which frames are kept,
      which falls to 0 over the passes of a level. A great one fills in frames
      in a random order.
    greedy_end: Whether the last of several passes of a level, and the only one
      of a level with one, take the likeliest codes.
  """

  sampling: options.Sampling = options.AS_TRAINED
  windows: options.Windows = options.Windows()
  passes: tuple[int, ...] = (16, 1)
  order_noise: float = 4.5
  greedy_end: bool = True

  def __post_init__(self):
    object.__setattr__(self, 'passes', tuple(self.passes))
    if not self.passes or min(self.passes) < 1:
      raise ValueError(
        f'passes are {self.passes}; wanted a number of 1 or more for each'
        ' level, such as (16, 1).'
      )
    if not (math.isfinite(self.order_noise) and self.order_noise >= 0):
      raise ValueError(
        f'order_noise is {self.order_noise}; wanted a finite number of 0 or'
        ' more.'
      )

  def sample(
    self,
    network: Any,
    spec: specs.StageSpec,
    params: Any,
    inputs: Inputs,
    rngs: jax.Array,
    sampling: options.Sampling,
    *,
    prefix: jax.Array | None,
    num_frames: int,
    negative: Inputs | None = None,
  ) -> jax.Array:
    """Draws the target, a level after the other; see `stage_model.Sampler`.

    A shorter target is the beginning of a whole crop.
    """
    if sampling.max_run is not None:
      raise ValueError(
        f'max_run is {sampling.max_run}, and stage {spec.name!r} writes all'
        ' frames of a level at once; leave it out.'
      )
    if prefix is None:
      prefix = jnp.zeros((rngs.shape[0], 0), jnp.int32)
    levels = spec.target.num_codebooks
    unknown = spec.target.num_frames(spec.crop_seconds)
    unknown -= prefix.shape[1] // levels
    inputs, weights = guidance.branches(spec, inputs, sampling, negative)
    ids = sample(
      dataclasses.replace(network, scan_layers=False).module(spec),
      layer_stacking.unstack(params),
      inputs,
      jnp.asarray(prefix, jnp.int32),
      rngs,
      sampling,
      weights,
      plan=plan(self, levels, unknown),
      order_noise=self.order_noise,
    )
    return ids[:, : num_frames * levels]


@dataclasses.dataclass(frozen=True)
class Pass:
  """One pass of the network.

  Attributes:
    level: Level that it fills in.
    num_hidden: Number of its frames that stay hidden after the pass.
    noise: Share of `order_noise` that is left, in [0, 1].
    greedy: Whether it takes the likeliest codes.
  """

  level: int
  num_hidden: int
  noise: float
  greedy: bool


def plan(
  decoding: MaskedDecoding, num_levels: int, num_frames: int
) -> tuple[Pass, ...]:
  """Passes that fill in some frames; each pass fills in at least one.

  >>> [p.num_hidden for p in plan(MaskedDecoding(passes=(4, 1)), 2, 100)]
  [93, 71, 39, 0, 0]
  """
  made = []
  for level in range(num_levels):
    wanted = decoding.passes[min(level, len(decoding.passes) - 1)]
    count = min(wanted, num_frames)
    hidden = num_frames
    for i in range(1, count + 1):
      by_cosine = math.ceil(math.cos(math.pi / 2 * i / count) * num_frames)
      # The passes that follow need a frame each.
      hidden = max(min(by_cosine, hidden - 1), count - i)
      if i == count:
        hidden = 0
      made.append(
        Pass(
          level=level,
          num_hidden=hidden,
          noise=1 - i / count,
          greedy=decoding.greedy_end and i == count,
        )
      )
  return tuple(made)


@functools.partial(jax.jit, static_argnames=('module', 'plan'))
def sample(
  module: Any,
  params: Any,
  inputs: Inputs,
  prefix: jax.Array,
  rngs: jax.Array,
  sampling: options.Sampling,
  weights: jax.Array | None,
  *,
  plan: tuple[Pass, ...],
  order_noise: float,
) -> jax.Array:
  """Draws target ids; see `MaskedDecoding.sample`.

  Args:
    module: Network with the pieces of a `conformer.ParallelConformer`.
    params: Parameters of the network.
    inputs: Inputs of all branches.
    prefix: int32[b, n], ids of whole frames that are known.
    rngs: key[b]; a row uses fold_in(its key, pass).
    sampling: Options of the sampler.
    weights: float32[branches], as of `guidance.branches`; None: one branch.
    plan: Passes in their order.
    order_noise: Weight of the noise on confidence.

  Returns:
    int32[b, target length].
  """
  spec = module.spec
  target = spec.target
  offsets = jnp.asarray(tokens.IdSpace(spec).level_offsets(target))
  num_known = prefix.shape[1] // target.num_codebooks
  num_frames = target.num_frames(spec.crop_seconds)
  ids = jnp.full(
    (prefix.shape[0], num_frames, target.num_codebooks), specs.MASK_ID
  )
  ids = ids.at[:, :num_known].set(
    prefix.reshape(len(prefix), num_known, target.num_codebooks)
  )

  def apply(method, *args):
    return module.apply({'params': params}, *args, method=method)

  condition = apply('condition', inputs)
  temperature = drawing.temperature(sampling)

  def run_pass(ids, step):
    number, level, num_hidden, noise, greedy = step
    flat = guidance.repeat(ids.reshape(len(ids), -1), weights)
    hidden = apply('hidden', condition, flat)
    logits = guidance.combine(apply('level_logits', hidden, level), weights)
    codes, confidence = _draw(
      drawing.among_likeliest(logits, sampling),
      jax.vmap(jax.random.fold_in, (0, None))(rngs, number),
      jnp.where(greedy, 0.0, temperature),
      order_noise * noise * temperature,
    )
    own = jnp.take(ids, level, axis=2)
    open_frames = own == specs.MASK_ID
    confidence = jnp.where(open_frames, confidence, jnp.inf)
    rank = jnp.argsort(jnp.argsort(confidence, -1), -1)
    kept = open_frames & (rank >= num_hidden)
    own = jnp.where(kept, codes + offsets[level], own)
    return ids.at[:, :, level].set(own), None

  steps = (
    np.arange(len(plan)),
    np.array([p.level for p in plan]),
    np.array([p.num_hidden for p in plan]),
    np.array([p.noise for p in plan], np.float32),
    np.array([p.greedy for p in plan]),
  )
  ids, _ = jax.lax.scan(run_pass, ids, steps)
  return ids.reshape(len(ids), -1)


def _draw(logits, rngs, temperature, order_noise):
  """Codes int32[b, frames], and how sure they are, float32[b, frames]."""

  def noise(rng, place, shape):
    return jax.random.gumbel(jax.random.fold_in(rng, place), shape)

  shape = logits.shape[1:]
  of_codes = jax.vmap(lambda rng: noise(rng, 0, shape))(rngs)
  codes = jnp.argmax(logits + temperature * of_codes, -1)
  log_p = jax.nn.log_softmax(logits)
  sure = jnp.take_along_axis(log_p, codes[..., None], -1)[..., 0]
  of_frames = jax.vmap(lambda rng: noise(rng, 1, shape[:1]))(rngs)
  return codes.astype(jnp.int32), sure + order_noise * of_frames
