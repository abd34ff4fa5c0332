"""The variational autoencoder: its KL, its rank, and its trained form."""

import dataclasses
from typing import Any

from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from v2meow_jax.codecs import adversarial
from v2meow_jax.codecs import autoencoding
from v2meow_jax.codecs import reconstruction
from v2meow_jax.codecs.embedded import patch
from v2meow_jax.codecs.soundstream import soundstream
from v2meow_jax.codecs.vae import vae

pytestmark = pytest.mark.slow

HOP, RANK = 16, 3
SMALL = patch.PatchConfig(
  hop_samples=64,
  window_samples=64,
  frame_dim=16,
  subframe_dim=8,
  num_encoder_blocks=1,
  num_decoder_blocks=1,
  num_subframe_blocks=1,
  kernel_size=3,
  oscillators_per_octave=0,
)


@pytest.mark.parametrize(('mean', 'std'), [(0.0, 1.0), (1.5, 0.2), (-2.0, 3.0)])
def test_the_kl_is_the_integral_that_defines_it(mean, std):
  x = np.linspace(mean - 12 * std, mean + 12 * std, 200_001)
  log_p = -((x - mean) ** 2) / std**2 / 2 - np.log(std)
  log_q = -(x**2) / 2
  p = np.exp(log_p) / np.sqrt(2 * np.pi)
  wanted = (p * (log_p - log_q)).sum() * (x[1] - x[0])
  found = vae.LatentGaussian(jnp.array(mean), jnp.log(jnp.array(std))).kl()
  assert float(found) == pytest.approx(wanted, abs=1e-4)


class Frames(nn.Module):
  """A linear map of each frame, one way or the other."""

  dim: int

  @nn.compact
  def __call__(self, x):
    if x.ndim == 2:
      return nn.Dense(self.dim)(x.reshape(len(x), -1, HOP))
    return nn.Dense(HOP)(x).reshape(len(x), -1)


@dataclasses.dataclass(frozen=True)
class LinearEnds:
  """Ends of which the best rank is known: that of Eckart and Young."""

  latent_dim: int = HOP
  hop_samples: int = HOP

  def encoder(self):
    return Frames(self.latent_dim)

  def decoder(self):
    return Frames(self.latent_dim)


def planted(rng, rows=32):
  """Waveforms whose frames lie in a space of three dimensions."""
  basis = np.linalg.qr(np.random.default_rng(0).normal(size=(HOP, HOP)))[0]
  z = jax.random.normal(rng, (rows, 4, RANK))
  return (z @ jnp.asarray(basis[:RANK], jnp.float32)).reshape(rows, -1)


def trained(latent_dim, kl_weight=1e-3):
  ends: Any = LinearEnds()
  model = autoencoding.AutoencoderModel(
    config=vae.VaeConfig(ends=ends, latent_dim=latent_dim),
    reconstruction=reconstruction.ReconstructionConfig(
      window_samples=(16,), num_mels=4, mel_weight=0.0, stft_weight=0.0,
      waveform_weight=1.0,
    ),
    kl_weight=kl_weight,
  )  # fmt: skip
  batch = {'waveform': planted(jax.random.key(0))}
  variables = model.init(jax.random.key(1), batch)
  params, extras = variables['params'], {'counters': variables['counters']}
  optimizer = optax.adam(optax.cosine_decay_schedule(1e-2, 1500))

  def step(i, carried):
    params, state = carried
    rng = jax.random.fold_in(jax.random.key(2), i)
    data, noise = jax.random.split(rng)
    batch = {'waveform': planted(data)}
    gradient = jax.grad(lambda p: model.train_loss(p, extras, batch, noise)[0])(
      params
    )
    updates, state = optimizer.update(gradient, state, params)
    return optax.apply_updates(params, updates), state

  carried = (params, optimizer.init(params))
  params, _ = jax.jit(lambda c: jax.lax.fori_loop(0, 1500, step, c))(carried)
  return model, params['generator']


def errors(model, params):
  """Share of the variance that is lost, and the Gaussians of the latents."""
  x = planted(jax.random.key(9), 400)
  again, found = jax.jit(model.config.module().apply)({'params': params}, x)
  return float(((again - x) ** 2).mean() / (x**2).mean()), found


def test_a_signal_of_three_dimensions_wants_three_numbers_a_frame():
  lost, found = errors(*trained(RANK))
  assert lost < 0.01
  # Of the scale of the standard Gaussian, which nothing but the KL asks for.
  drawn = found.mean.var((0, 1)) + jnp.exp(2 * found.log_std).mean((0, 1))
  assert 0.5 < np.asarray(drawn).min() and np.asarray(drawn).max() < 2
  assert abs(np.asarray(found.mean.mean((0, 1)))).max() < 0.2
  # The best of two numbers loses a third, whatever is trained.
  lost, _ = errors(*trained(RANK - 1))
  assert 0.3 < lost < 0.45


def test_a_number_too_many_carries_nothing():
  _, found = errors(*trained(RANK + 2, kl_weight=1e-2))
  nats = np.sort(np.asarray(found.kl().mean((0, 1))))
  assert nats[:2].max() < 0.1 < 1.0 < nats[2:].min()


def model_of_patches(**kwargs):
  return autoencoding.AutoencoderModel(
    config=vae.VaeConfig(ends=SMALL, latent_dim=8),
    reconstruction=reconstruction.ReconstructionConfig(
      window_samples=(64,), num_mels=8
    ),
    **kwargs,
  )


def test_without_a_key_nothing_is_drawn_and_discriminators_have_a_part():
  model = model_of_patches(
    adversarial=adversarial.AdversarialConfig(
      stft_channels=4, stft_max_channels=8, stft_num_blocks=2,
      window_samples=64, wave_channels=4, wave_max_channels=8,
      num_wave_scales=1,
    )
  )  # fmt: skip
  rng = np.random.default_rng(0)
  batch = {'waveform': jnp.asarray(rng.normal(size=(2, 1024)), jnp.float32)}
  variables = model.init(jax.random.key(0), batch)
  params, extras = variables['params'], {'counters': variables['counters']}

  @jax.jit
  def loss(params, rng):
    return model.train_loss(params, extras, batch, rng)

  first, (metrics, _) = loss(params, None)
  assert first == loss(params, None)[0] != loss(params, jax.random.key(1))[0]
  assert {'kl', 'mel', 'adversarial', 'discriminator'} <= set(metrics)
  _, (_, after) = loss(params, jax.random.key(1))
  assert after['counters']['step'] == 1
  gradient = jax.grad(lambda p: loss(p, None)[0])(params)
  norms = jax.tree.map(lambda x: float(jnp.abs(x).max()), gradient)
  assert max(jax.tree.leaves(norms['discriminator'])) > 0
  assert max(jax.tree.leaves(norms['generator']['means'])) > 0


def test_a_description_builds_it_again_and_pieces_have_no_seams():
  model = model_of_patches()
  waveform = np.random.default_rng(1).normal(size=(1, 64 * 60)).astype('f4')
  variables = model.init(jax.random.key(0), {'waveform': waveform})
  data = model.describe()['config']
  config = vae.VaeConfig.from_dict(data)
  assert config == model.config
  weights = {'params': variables['params']['generator']}
  autoencoder = soundstream.TrainedLatents(config, weights)
  assert autoencoder.stream.dim == 8
  assert autoencoder.stream.rate_hz == 250.0
  latents = np.asarray(autoencoder.encode(waveform))
  assert latents.shape == (1, 60, 8)
  whole = np.asarray(autoencoder.decode(latents))
  pieces = np.concatenate(list(autoencoder.decode_in_pieces(latents, 13)), 1)
  np.testing.assert_allclose(pieces, whole, atol=1e-4)
  with pytest.raises(ValueError, match="kind 'nothing'"):
    vae.VaeConfig.from_dict({**data, 'kind': 'nothing'})
  with pytest.raises(ValueError, match='latent_dim is 0'):
    dataclasses.replace(config, latent_dim=0)
  with pytest.raises(ValueError, match='48000'):
    vae.VaeConfig(ends=SMALL, latent_dim=8, sample_rate_hz=48_000)
