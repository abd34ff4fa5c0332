"""Residual vector quantisation with codebooks that follow the data.

Codebooks are not parameters: no gradient reaches them. They live in the
collection 'codebooks', start from k-means on a batch and follow exponential
averages of the latents assigned to them; unused codes are replaced by latents of
the batch (SoundStream, https://arxiv.org/abs/2107.03312, section III-C).
"""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array
from jaxtyping import Float
from jaxtyping import Int

from v2meow_jax.codecs import arrays

# Keeps an average defined for a code without any latent yet.
_EPSILON = 1e-5
_ROWS_PER_CENTRE = 4


@dataclasses.dataclass(frozen=True, kw_only=True)
class RvqConfig:
  """Sizes and update rules of a `ResidualVectorQuantizer`.

  Attributes:
    num_levels: Number of codebooks; each quantises the residual of those before.
    codebook_size: Number of vectors in a codebook.
    code_dim: Width of the vectors; latents are projected to it and back.
    ema_decay: Decay per step of the averages that codebooks follow.
    dead_share: Share of the mean count below which a code is dead.
    kmeans_iterations: Number of iterations of the initialisation.
    warmup_steps: Number of steps without quantisation before k-means fits the
      codebooks to the batch of the next step.
    level_dropout_rate: Share of the examples to train with a random number of
      levels, uniform in 1..num_levels, instead of all.
  """

  num_levels: int
  codebook_size: int
  code_dim: int
  ema_decay: float = 0.99
  dead_share: float = 0.2
  kmeans_iterations: int = 10
  warmup_steps: int = 0
  level_dropout_rate: float = 1.0


def nearest(
  x: Float[Array, 'n dim'], vectors: Float[Array, 'size dim']
) -> Int[Array, 'n']:
  """Finds the index of the nearest vector (Euclidean) to each row."""
  dots = jnp.matmul(x, vectors.T, precision=jax.lax.Precision.HIGHEST)
  return jnp.argmin(jnp.sum(vectors**2, -1) - 2 * dots, axis=-1)


def quantize(
  vectors: Float[Array, 'levels size dim'], x: Float[Array, 'n dim']
) -> tuple[
  Int[Array, 'levels n'],
  Float[Array, 'levels n dim'],
  Float[Array, 'levels n dim'],
]:
  """Quantises latents level by level, by the coarsest codebook first.

  Returns:
    (codes, residuals, quantized): level k quantised `residuals[k]` to the
    vectors `quantized[k]`.
  """

  def level(residual, level_vectors):
    codes = nearest(residual, level_vectors)
    quantized = level_vectors[codes]
    return residual - quantized, (codes, residual, quantized)

  return jax.lax.scan(level, x, vectors)[1]


def lookup(
  vectors: Float[Array, 'levels size dim'],
  codes: Int[Array, '*b used_levels'],
) -> Float[Array, '*b dim']:
  """Sums the vectors of codes; fewer levels than all are allowed."""
  used = codes.shape[-1]
  if used > vectors.shape[0]:
    raise ValueError(
      f'codes have {used} levels but the quantiser has {vectors.shape[0]};'
      ' they come from another codec.'
    )
  return sum(vectors[k][codes[..., k]] for k in range(used))


def kmeans(
  rng: jax.Array, x: Float[Array, 'n dim'], size: int, num_iterations: int
) -> Float[Array, 'size dim']:
  """Finds centres by Lloyd's algorithm, from random rows.

  With fewer than four rows per centre, fits a centre per four rows and spreads
  the others around them by residuals of other rows: a centre for every row
  would leave the next level nothing to fit. One without rows stays in place.
  """
  fitted = max(1, min(size, x.shape[0] // _ROWS_PER_CENTRE))
  first_rng, spread_rng = jax.random.split(rng)
  first = jax.random.permutation(first_rng, x.shape[0])[:fitted]

  def iteration(_, centres):
    one_hot = jax.nn.one_hot(nearest(x, centres), fitted, dtype=x.dtype)
    counts = jnp.sum(one_hot, 0)[:, None]
    means = one_hot.T @ x / jnp.maximum(counts, 1)
    return jnp.where(counts > 0, means, centres)

  centres = jax.lax.fori_loop(0, num_iterations, iteration, x[first])
  residuals = x - centres[nearest(x, centres)]
  spread = residuals[
    jax.random.randint(spread_rng, (size - fitted,), 0, x.shape[0])
  ]
  around = centres[jnp.arange(size - fitted) % fitted] + spread
  return jnp.concatenate([centres, around])


def initial_state(config: RvqConfig) -> dict[str, Array]:
  """Creates codebooks of zeros; `age` counts training steps."""
  shape = (config.num_levels, config.codebook_size)
  return {
    'vectors': jnp.zeros((*shape, config.code_dim)),
    'sums': jnp.zeros((*shape, config.code_dim)),
    'counts': jnp.zeros(shape),
    'age': jnp.zeros((), jnp.int32),
  }


def kmeans_state(
  rng: jax.Array, x: Float[Array, 'n dim'], config: RvqConfig
) -> dict[str, Array]:
  """Fits codebooks level by level to a batch of latents."""
  share = x.shape[0] / config.codebook_size

  def level(residual, level_rng):
    vectors = kmeans(
      level_rng, residual, config.codebook_size, config.kmeans_iterations
    )
    return residual - vectors[nearest(residual, vectors)], vectors

  vectors = jax.lax.scan(level, x, jax.random.split(rng, config.num_levels))[1]
  return {
    'vectors': vectors,
    'sums': vectors * share,
    'counts': jnp.full(vectors.shape[:2], share),
  }


def ema_update(
  state: dict[str, Array],
  codes: Int[Array, 'levels n'],
  residuals: Float[Array, 'levels n dim'],
  decay: float,
) -> dict[str, Array]:
  """Updates the averages by a step: vector = decayed sum / decayed count."""
  size = state['vectors'].shape[1]
  one_hot = jax.nn.one_hot(codes, size, dtype=residuals.dtype)
  counts = decay * state['counts'] + (1 - decay) * one_hot.sum(1)
  sums = decay * state['sums'] + (1 - decay) * jnp.einsum(
    'lnk,lnd->lkd', one_hot, residuals
  )
  vectors = sums / jnp.maximum(counts, _EPSILON)[..., None]
  return {**state, 'vectors': vectors, 'sums': sums, 'counts': counts}


def revive(
  rng: jax.Array,
  state: dict[str, Array],
  residuals: Float[Array, 'levels n dim'],
  dead_share: float,
) -> dict[str, Array]:
  """Moves dead codes onto random latents of the batch, with a fresh count."""
  num_levels, size, _ = state['vectors'].shape
  share = residuals.shape[1] / size
  rows = jax.random.randint(rng, (num_levels, size), 0, residuals.shape[1])
  fresh = jnp.take_along_axis(residuals, rows[..., None], axis=1)
  dead = state['counts'] < dead_share * share
  return {
    **state,
    'vectors': jnp.where(dead[..., None], fresh, state['vectors']),
    'sums': jnp.where(dead[..., None], fresh * share, state['sums']),
    'counts': jnp.where(dead, share, state['counts']),
  }


def perplexity(counts: Float[Array, 'levels size']) -> Float[Array, 'levels']:
  """Computes exp(entropy) of each level's codes, from 1 to size (all alike)."""
  p = counts / jnp.maximum(counts.sum(-1, keepdims=True), _EPSILON)
  return jnp.exp(-jnp.sum(p * jnp.log(jnp.maximum(p, 1e-12)), -1))


def level_mask(
  rng: jax.Array, batch_size: int, config: RvqConfig
) -> Float[Array, 'b levels']:
  """Draws the levels to train each example with (1), or to drop (0)."""
  drop_rng, depth_rng = jax.random.split(rng)
  depth = jax.random.randint(depth_rng, (batch_size,), 1, config.num_levels + 1)
  is_dropped = jax.random.bernoulli(
    drop_rng, config.level_dropout_rate, (batch_size,)
  )
  depth = jnp.where(is_dropped, depth, config.num_levels)
  return (jnp.arange(config.num_levels) < depth[:, None]).astype(jnp.float32)


class ResidualVectorQuantizer(nn.Module):
  """Projects latents to `code_dim`, quantises them, projects back.

  Attributes:
    config: Sizes and update rules.
    latent_dim: Width of the encoder's output and the decoder's input.
  """

  config: RvqConfig
  latent_dim: int

  def setup(self):
    """Creates the projections and the collection of codebooks."""
    self.to_code = nn.Dense(self.config.code_dim)
    self.normalize = nn.LayerNorm(use_bias=False, use_scale=False)
    self.from_code = nn.Dense(self.latent_dim)
    self.state = self.variable('codebooks', 'state', initial_state, self.config)

  def __call__(
    self, latents: arrays.Latents, *, train: bool
  ) -> tuple[arrays.Latents, Float[Array, '']]:
    """Quantises latents, with straight-through gradients.

    Args:
      latents: Output of the encoder.
      train: Whether to drop levels and move the codebooks; needs the rng
        'codebooks' and the collection 'codebooks' to be mutable.

    Returns:
      (latents for the decoder, commitment loss: mean squared distance between
      the residuals and the chosen vectors of the levels in use).
    """
    z = self.project(latents)
    batch_size, num_frames, dim = z.shape
    flat = jax.lax.stop_gradient(z.reshape(-1, dim))
    mask = jnp.ones((batch_size, self.config.num_levels))
    active = jnp.ones(())
    if train:
      update_rng, drop_rng = jax.random.split(self.make_rng('codebooks'))
      mask = level_mask(drop_rng, batch_size, self.config)
      active = self.state.value['age'] >= self.config.warmup_steps
      self._fit_when_due(update_rng, flat)
    codes, residuals, vectors = quantize(self.state.value['vectors'], flat)
    if train:
      self._update(update_rng, codes, residuals)
    # [levels, n, dim] -> [b, frames, levels, dim], zero where dropped
    vectors = jnp.moveaxis(vectors, 0, 1)
    vectors = vectors.reshape(batch_size, num_frames, -1, dim)
    vectors = vectors * mask[:, None, :, None]
    error = jax.lax.stop_gradient(vectors.sum(2) - z)
    quantized = self.from_code(z + jnp.where(active, error, 0))
    return quantized, active * _commitment(z, vectors, mask)

  def encode(self, latents: arrays.Latents) -> arrays.Codes:
    """Returns codes of all levels."""
    z = self.project(latents)
    flat = z.reshape(-1, z.shape[-1])
    codes = quantize(self.state.value['vectors'], flat)[0]
    return codes.T.reshape(*z.shape[:2], -1).astype(jnp.int32)

  def decode(self, codes: arrays.Codes) -> arrays.Latents:
    """Returns latents of the first `levels` levels."""
    return self.from_code(lookup(self.state.value['vectors'], codes))

  def restore(self, z: Float[Array, 'b frames code_dim']) -> arrays.Latents:
    """Returns latents of what `project` gave, or what is like it."""
    return self.from_code(self.normalize(z))

  def project(
    self, latents: arrays.Latents
  ) -> Float[Array, 'b frames code_dim']:
    """Returns what the codebooks quantise, of unit variance in each frame."""
    # Unit variance per frame: latents can neither vanish, which would minimise
    # the commitment loss, nor outgrow the codebooks.
    return self.normalize(self.to_code(latents))

  def _fit_when_due(self, rng, flat):
    state = self.state.value
    fitted = jax.lax.cond(
      state['age'] == self.config.warmup_steps,
      lambda: kmeans_state(rng, flat, self.config),
      lambda: {k: v for k, v in state.items() if k != 'age'},
    )
    self.state.value = {**fitted, 'age': state['age']}

  def _update(self, rng, codes, residuals):
    state = ema_update(
      self.state.value, codes, residuals, self.config.ema_decay
    )
    state = revive(rng, state, residuals, self.config.dead_share)
    self.state.value = {**state, 'age': state['age'] + 1}


def _commitment(z, vectors, mask):
  # Gradients pull the encoder to the codes, which follow by averages, never the
  # codes. vectors: [b, frames, levels, dim], mask: [b, levels].
  residuals = z[:, :, None] - jax.lax.stop_gradient(jnp.cumsum(vectors, axis=2))
  distance = jnp.mean(residuals**2, axis=(1, 3))
  return jnp.sum(distance * mask) / jnp.sum(mask)
