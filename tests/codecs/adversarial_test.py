import jax
import jax.numpy as jnp
import numpy as np
import pytest

from v2meow_jax.codecs import adversarial


def _features(seed, scale=1.0):
  # Two discriminators with two layers and logits each.
  rng = np.random.default_rng(seed)
  sizes = [(2, 8, 3), (2, 4, 3), (2, 4, 1)]
  return [[scale * rng.normal(size=s) for s in sizes] for _ in range(2)]


def test_discriminator_loss_equals_numpy_hinge():
  true, fake = _features(0), _features(1)
  wanted = np.mean(
    [
      np.maximum(0, 1 - t[-1]).mean() + np.maximum(0, 1 + f[-1]).mean()
      for t, f in zip(true, fake, strict=True)
    ]
  )
  ours = adversarial.discriminator_loss(true, fake)
  assert float(ours) == pytest.approx(wanted, rel=1e-5)


def test_generator_loss_equals_numpy_hinge():
  fake = _features(1)
  wanted = np.mean([np.maximum(0, 1 - f[-1]).mean() for f in fake])
  ours = adversarial.generator_loss(fake)
  assert float(ours) == pytest.approx(wanted, rel=1e-5)


def test_hinge_losses_at_chance_and_when_the_discriminator_is_sure():
  zero, one = ([[np.full((2, 2), v)]] for v in (0.0, 1.0))
  minus = [[-one[0][0]]]
  assert adversarial.discriminator_loss(zero, zero) == 2
  assert adversarial.discriminator_loss(one, minus) == 0
  assert adversarial.generator_loss(zero) == 1
  assert adversarial.generator_loss(one) == 0


def test_feature_loss_equals_numpy_and_leaves_out_the_logits():
  true, fake = _features(0), _features(1)
  wanted = np.mean(
    [
      np.abs(a - b).mean() / np.abs(a).mean()
      for t, f in zip(true, fake, strict=True)
      for a, b in zip(t[:-1], f[:-1], strict=True)
    ]
  )
  ours = adversarial.feature_loss(true, fake)
  assert float(ours) == pytest.approx(wanted, rel=1e-4)
  fake[0][-1] = fake[0][-1] + 100
  assert float(adversarial.feature_loss(true, fake)) == float(ours)


def test_feature_loss_does_not_move_the_features_of_recordings():
  true, fake = _features(0), _features(1)
  grads = jax.grad(adversarial.feature_loss, argnums=0)(true, fake)
  assert not any(np.any(g) for g in jax.tree.leaves(grads))


def _full_size_outputs():
  net = adversarial.Discriminators(adversarial.AdversarialConfig())
  wave = jax.ShapeDtypeStruct((2, 16_384), jnp.float32)
  return jax.eval_shape(
    lambda x: net.init_with_output(jax.random.key(0), x)[0], wave
  )


@pytest.mark.slow
def test_there_is_a_spectral_net_and_three_waveform_scales():
  spectral, *waves = _full_size_outputs()
  # 61 spectra, halved by three of the six blocks: 61, 31, 16, 8.
  assert spectral[-1].shape == (2, 8, 1, 1)
  assert len(spectral) == 8
  # Four strides of 4 at rates 1, 1/2 and 1/4.
  assert [w[-1].shape for w in waves] == [(2, 64, 1), (2, 32, 1), (2, 16, 1)]
  assert max(x.shape[-1] for x in waves[0]) == 1024
