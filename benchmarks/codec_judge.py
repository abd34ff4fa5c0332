"""Trains a judge to tell recordings from what a codec made of them."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Float
import numpy as np
import optax

from v2meow_jax.codecs import spectral

WINDOW_SAMPLES = 1024
HOP_SAMPLES = 256
# Fractions of full scale below it are silence, as in the loss of the codecs.
FLOOR = 1e-4
_NUM_FOLDS = 2
_NUM_STEPS = 400
_BATCH_SPECTRA = 512
_RATE = 2e-3


class Judge(nn.Module):
  """Two hidden layers on the log magnitudes of one window, 64 ms at 16 kHz.

  It shares nothing with the discriminators of a codec: they see samples and
  complex spectra, over longer stretches.
  """

  @nn.compact
  def __call__(
    self, spectra: Float[jax.Array, '*b bins']
  ) -> Float[jax.Array, '*b']:
    """Returns logits, above 0 for a recording."""
    x = spectra
    for _ in range(2):
      x = nn.gelu(nn.Dense(64)(x))
    return nn.Dense(1)(x)[..., 0]


@jax.jit
def log_spectra(
  clips: Float[jax.Array, 'clips samples'],
) -> Float[jax.Array, 'clips windows bins']:
  """Computes log magnitudes, scaled to about one."""
  magnitudes = spectral.magnitude(clips, WINDOW_SAMPLES, HOP_SAMPLES)
  return jnp.log(jnp.maximum(magnitudes, FLOOR)) / 3 + 2


def accuracy(
  true: Float[np.ndarray, 'clips samples'],
  coded: Float[np.ndarray, 'clips samples'],
  *,
  seed: int = 0,
) -> Float[np.ndarray, 'clips']:
  """Measures how often judges that never heard a clip tell which is which.

  The classifier two-sample test (Lopez-Paz & Oquab 2017,
  https://arxiv.org/abs/1610.06545). Clips are divided into two halves, and each
  half is judged by a judge that was trained on the other.

  Args:
    true: Recordings at 16 kHz, one clip a row, at least two.
    coded: What the codec made of each.
    seed: Seed of the halves and of the judges.

  Returns:
    Share of right answers for each clip, over its windows of both kinds: 0.5
    where they cannot be told apart, 1 where they always are.
  """
  if true.shape != coded.shape or len(true) < _NUM_FOLDS:
    raise ValueError(
      f'clips have shapes {true.shape} and {coded.shape}; wanted equal shapes,'
      f' of at least {_NUM_FOLDS} clips.'
    )
  both = [np.asarray(log_spectra(x)) for x in (true, coded)]
  order = np.random.default_rng(seed).permutation(len(true))
  shares = np.empty(len(true))
  for judged in np.array_split(order, _NUM_FOLDS):
    heard = np.setdiff1d(order, judged)
    params = _train(*(x[heard] for x in both), seed=seed)
    right, wrong = (np.asarray(_logits(params, x[judged])) for x in both)
    shares[judged] = ((right > 0).mean(1) + (wrong <= 0).mean(1)) / 2
  return shares


@jax.jit
def _logits(params, spectra):
  return Judge().apply({'params': params}, spectra)


def _train(true: np.ndarray, coded: np.ndarray, *, seed: int):
  rows, coded_rows = (
    jnp.asarray(x.reshape(-1, x.shape[-1])) for x in (true, coded)
  )
  optimizer = optax.adamw(
    optax.cosine_decay_schedule(_RATE, _NUM_STEPS), weight_decay=0.01
  )
  first, steps = jax.random.split(jax.random.key(seed))
  params = Judge().init(first, rows[:1])['params']
  return _fit(
    params, optimizer.init(params), rows, coded_rows, steps, optimizer=optimizer
  )


def _fit(params, moments, true, coded, rng, *, optimizer):
  def loss(params, rows):
    right, wrong = (_logits(params, x[rows]) for x in (true, coded))
    return jnp.mean(nn.softplus(-right)) + jnp.mean(nn.softplus(wrong))

  @jax.jit
  def step(carry, rng):
    params, moments = carry
    # The same stretches of both, so that music itself says nothing.
    rows = jax.random.randint(rng, (_BATCH_SPECTRA,), 0, len(true))
    updates, moments = optimizer.update(
      jax.grad(loss)(params, rows), moments, params
    )
    return (optax.apply_updates(params, updates), moments), None

  keys = jax.random.split(rng, _NUM_STEPS)
  return jax.lax.scan(step, (params, moments), keys)[0][0]
