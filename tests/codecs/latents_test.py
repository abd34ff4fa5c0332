"""Autoencoders: codecs without their quantiser."""

import jax.numpy as jnp
import numpy as np
import pytest

from tests.fakes import random_system
from v2meow_jax import parts
from v2meow_jax import specs
from v2meow_jax import stages
from v2meow_jax.codecs import trained
from v2meow_jax.codecs.dac import dac
from v2meow_jax.codecs.dac import dac_network
from v2meow_jax.inference import system
from v2meow_jax.synthetic import held_out

pytestmark = pytest.mark.slow

RATE = 16_000


@pytest.fixture(scope='module')
def embedded():
  """The released codec, and the same as an autoencoder."""
  part = parts.Part(
    kind='embedded_latents',
    stream='latents',
    weights=str(system.SHIPPED['tiny']),
  )
  weights, settings = part.read()
  codec = trained.embedded_codec(weights, **settings)
  return codec, part.build(stages.TINY['latents'])


@pytest.fixture(scope='module')
def music():
  scene = held_out.scenes(7, 1, 4.0)[0]
  return held_out.music(scene).samples[: 4 * RATE][None]


def log_spectrum(x):
  frames = np.lib.stride_tricks.sliding_window_view(np.asarray(x)[0], 1024)
  power = np.abs(np.fft.rfft(frames[::256] * np.hanning(1024))) ** 2
  return np.log10(power + 1e-3)


def test_what_is_not_quantised_sounds_as_what_is(embedded, music):
  codec, autoencoder = embedded
  latents = autoencoder.encode(music)
  assert latents.shape == (1, 100, 64)
  spectrum = log_spectrum(music)
  errors = {
    name: np.abs(log_spectrum(x) - spectrum).mean()
    for name, x in (
      ('codes', codec.decode(codec.encode(music))),
      ('latents', autoencoder.decode(latents)),
      ('silence', np.zeros_like(music)),
    )
  }
  # The decoder was trained on codes: it gains nothing without them.
  assert errors['latents'] < 1.02 * errors['codes'] < errors['silence'] / 2


def test_latents_are_what_the_codebooks_quantise(embedded, music):
  """Codes of the latents, by the nearest vectors, are the codec's own."""
  codec, autoencoder = embedded
  residual = np.asarray(autoencoder.encode(music))[0]
  vectors = codec._variables['codebooks']['quantizer']['state']['vectors']
  codes = np.asarray(codec.encode(music))[0]
  for level in range(2):
    distance = ((residual[:, None] - np.asarray(vectors[level])) ** 2).sum(-1)
    same = (distance.argmin(1) == codes[:, level]).mean()
    assert same > 0.98
    residual = residual - np.asarray(vectors[level])[codes[:, level]]


def test_pieces_have_no_seams_and_scale_means_nothing(embedded, music):
  _, autoencoder = embedded
  latents = np.asarray(autoencoder.encode(music))
  whole = np.asarray(autoencoder.decode(latents))
  pieces = np.concatenate(list(autoencoder.decode_in_pieces(latents, 30)), 1)
  np.testing.assert_allclose(pieces, whole, atol=1e-4)
  # Each frame has unit variance, so what a stage writes is brought back to it.
  np.testing.assert_allclose(
    autoencoder.decode(1.3 * latents + 0.2), whole, atol=1e-3
  )


def test_a_dac_serves_as_one_too(tmp_path):
  random_system.dac_model(random_system.TINY_DAC).save_pretrained(tmp_path)
  config = dac_network.DacConfig(**random_system.TINY_DAC)
  codec = dac.load(tmp_path, config)
  autoencoder = dac.load_latents(tmp_path, config=random_system.TINY_DAC)
  assert autoencoder.stream == specs.FeatureSpec(
    name='latents', dim=config.latent_dim, rate_hz=50.0
  )
  rng = np.random.default_rng(0)
  x = rng.normal(size=(1, 320 * 40)).astype(np.float32) * 0.1
  latents = np.asarray(autoencoder.encode(x))
  np.testing.assert_allclose(
    autoencoder.encode_in_pieces(x, 7), latents, atol=1e-4
  )
  # Quantised latents decode as the codes do.
  quantised = dac.Dac(config).apply(
    codec._variables, codec.encode(x),
    method=lambda module, codes: module.quantizer.decode(codes),
  )  # fmt: skip
  np.testing.assert_allclose(
    autoencoder.decode(quantised), codec.decode(codec.encode(x)), atol=1e-5
  )
  np.testing.assert_allclose(
    np.concatenate(list(autoencoder.decode_in_pieces(latents, 7)), 1),
    autoencoder.decode(latents),
    atol=1e-4,
  )
  with pytest.raises(ValueError, match='latents have 3 channels'):
    autoencoder.decode(jnp.zeros((1, 4, 3)))


def test_records_of_another_width_and_systems_of_others_are_refused():
  wide = specs.FeatureSpec(name='latents', dim=32, rate_hz=25.0)
  part = parts.Part(
    kind='embedded_latents',
    stream='latents',
    weights=str(system.SHIPPED['tiny']),
  )
  with pytest.raises(ValueError, match='the autoencoder writes'):
    part.build(wide)

  seanet = parts.Part(
    kind='soundstream_latents',
    stream='latents',
    weights=str(system.SHIPPED['tiny']),
  )
  with pytest.raises(ValueError, match='has ends of kind'):
    seanet.build(stages.TINY['latents'])
