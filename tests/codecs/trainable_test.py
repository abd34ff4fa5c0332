import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from v2meow_jax.codecs import adversarial
from v2meow_jax.codecs import reconstruction
from v2meow_jax.codecs import rvq
from v2meow_jax.codecs import trainable
from v2meow_jax.codecs.embedded import patch
from v2meow_jax.codecs.soundstream import soundstream

pytestmark = pytest.mark.slow

_ADVERSARIAL = adversarial.AdversarialConfig(
  start_step=1,
  stft_channels=4,
  stft_max_channels=8,
  stft_num_blocks=2,
  window_samples=64,
  wave_channels=4,
  wave_max_channels=8,
  num_wave_scales=1,
)


def _model(**kwargs):
  config = soundstream.CodecConfig(
    ends=patch.PatchConfig(
      hop_samples=64,
      window_samples=64,
      frame_dim=32,
      subframe_dim=16,
      num_encoder_blocks=1,
      num_decoder_blocks=1,
      num_subframe_blocks=1,
      kernel_size=3,
      oscillators_per_octave=0,
    ),
    quantizer=rvq.RvqConfig(num_levels=3, codebook_size=32, code_dim=8),
  )
  losses = reconstruction.ReconstructionConfig(
    window_samples=(64, 256), num_mels=16, waveform_weight=1.0
  )
  return trainable.CodecModel(config=config, reconstruction=losses, **kwargs)


def _tones(seed=0):
  rng = np.random.default_rng(seed)
  hz = rng.uniform(200, 2000, size=(8, 1))
  t = np.arange(1024) / 16_000
  x = 0.3 * np.sin(2 * np.pi * hz * t + rng.uniform(0, 6, size=(8, 1)))
  return {'waveform': jnp.asarray(x, jnp.float32)}


def _start(model):
  variables = jax.jit(model.init)(jax.random.key(0), _tones())
  params = variables.pop('params')
  return params, variables


def _reconstruction(model, params, extras, x):
  variables = {
    'params': params['generator'],
    'codebooks': extras['codebooks'],
  }
  return jax.jit(soundstream.SoundStream(model.config).apply)(variables, x)[0]


@pytest.fixture(scope='module')
def trained():
  """(model, extras at the start, (params, extras) at the end, all metrics)."""
  model = _model()
  params, extras = _start(model)
  optimizer = optax.adam(3e-3, b1=0.8, b2=0.99)

  @jax.jit
  def step(params, extras, opt_state, batch, rng):
    grad_fn = jax.value_and_grad(model.train_loss, has_aux=True)
    (_, (metrics, extras)), grads = grad_fn(params, extras, batch, rng)
    updates, opt_state = optimizer.update(grads, opt_state)
    return optax.apply_updates(params, updates), extras, opt_state, metrics

  now, opt_state, history = (params, extras), optimizer.init(params), []
  for k in range(150):
    *now, opt_state, metrics = step(
      *now, opt_state, _tones(k), jax.random.key(k)
    )
    history.append({name: float(v) for name, v in metrics.items()})
  return model, extras, now, history


def test_a_hundred_steps_learn_to_code_tones(trained):
  history = trained[3]
  first, last = history[:10], history[-10:]
  for term, part in (('mel', 0.7), ('stft', 0.9)):
    before, after = (np.mean([m[term] for m in h]) for h in (first, last))
    assert after < part * before, (term, before, after)


def test_training_counts_steps_and_reports_each_level(trained):
  _, _, (_, extras), history = trained
  assert int(extras['counters']['step']) == 150
  for k in range(3):
    assert 1 <= history[-1][f'perplexity_{k}'] <= 32


def test_evaluation_changes_nothing_and_is_repeatable(trained):
  model, _, (params, extras), _ = trained
  evaluate = jax.jit(lambda *args: model.train_loss(*args, None))
  loss, (metrics, same) = evaluate(params, extras, _tones())
  again, _ = evaluate(params, extras, _tones())
  assert float(loss) == float(again)
  jax.tree.map(np.testing.assert_array_equal, same, extras)
  assert metrics['mel'] < loss


def test_codec_of_the_variables_equals_the_models_reconstruction(trained):
  model, _, (params, extras), _ = trained
  variables = {
    'params': params['generator'],
    'codebooks': extras['codebooks'],
  }
  codec = soundstream.TrainedCodec(model.config, variables)
  x = _tones()['waveform']
  out = _reconstruction(model, params, extras, x)
  decoded = codec.decode(codec.encode(x))
  # A codec lets its last frame go on, where training has it end.
  hop = codec.hop_samples
  np.testing.assert_allclose(decoded[:, :-hop], out[:, :-hop], atol=1e-5)


@pytest.fixture(scope='module')
def duel():
  """(gradients, discriminators' weights, recordings, reconstructions).

  Gradients are those of each adversarial term, a function of the step.
  """
  true, fake = _tones(0)['waveform'], _tones(1)['waveform']
  net = adversarial.Discriminators(_ADVERSARIAL)
  weights = jax.jit(net.init)(jax.random.key(0), true)['params']

  def terms(weights, output, step):
    return adversarial.terms(_ADVERSARIAL, weights, true, output, step)

  gradients = jax.jit(jax.jacrev(terms, argnums=(0, 1)))
  return lambda step: gradients(weights, fake, step), weights, true, fake


def test_discriminators_sleep_until_their_step(duel):
  asleep = duel[0](_ADVERSARIAL.start_step - 1)
  assert optax.global_norm(asleep) == 0
  awake = duel[0](_ADVERSARIAL.start_step)
  for name, grads in awake['discriminator'][0].items():
    assert optax.global_norm(grads) > 0, name


@pytest.mark.parametrize(('start_step', 'branches'), [(0, 0), (1, 1)])
def test_only_discriminators_that_wait_are_in_a_branch(start_step, branches):
  config = dataclasses.replace(_ADVERSARIAL, start_step=start_step)
  x = _tones()['waveform']
  net = adversarial.Discriminators(config)
  weights = jax.eval_shape(net.init, jax.random.key(0), x)['params']

  def terms(weights, step):
    return adversarial.terms(config, weights, x, x, step)

  # Convolutions in a branch are slow on the CPU.
  steps = jax.make_jaxpr(terms)(weights, 0).eqns
  assert sum(e.primitive.name == 'cond' for e in steps) == branches


def test_each_side_of_the_duel_moves_its_own_weights_only(duel):
  gradients = duel[0](_ADVERSARIAL.start_step)
  for term in ('adversarial', 'feature'):
    discriminators, generator = gradients[term]
    assert optax.global_norm(discriminators) == 0
    assert optax.global_norm(generator) > 0
  assert optax.global_norm(gradients['discriminator'][1]) == 0


def test_discriminators_get_the_gradient_of_the_hinge_loss(duel):
  gradients, weights, true, fake = duel
  net = adversarial.Discriminators(_ADVERSARIAL)

  @jax.jit
  @jax.grad
  def alone(weights):
    judged = (net.apply({'params': weights}, x) for x in (true, fake))
    return adversarial.discriminator_loss(*judged)

  ours = gradients(_ADVERSARIAL.start_step)['discriminator'][0]
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4),
    ours,
    alone(weights),
  )


def test_the_loss_is_the_weighted_sum_of_its_terms():
  duelling = dataclasses.replace(
    _ADVERSARIAL, start_step=0, adversarial_weight=2.0, feature_weight=3.0
  )
  model = _model(adversarial=duelling, commitment_weight=0.5)
  params, extras = _start(model)
  loss, (terms, _) = jax.jit(model.train_loss)(
    params, extras, _tones(), jax.random.key(1)
  )
  weights = {
    'mel': 1,
    'stft': 1,
    'waveform': 1,
    'commitment': 0.5,
    'adversarial': 2,
    'feature': 3,
    'discriminator': 1,
  }
  wanted = sum(w * float(terms[k]) for k, w in weights.items())
  assert float(loss) == pytest.approx(wanted, rel=1e-4)
  assert min(float(terms[k]) for k in weights) > 0
