"""Losses and scores of a stage, and what it refuses."""

import dataclasses
import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.fakes import tiny_transformer
from tests.fakes import token_stage
from v2meow_jax import tokens
from v2meow_jax.inference import restore

pytestmark = pytest.mark.slow

make, random_batch = tiny_transformer.make, tiny_transformer.random_batch
logits = tiny_transformer.logits
MIXED, TOKENS = tiny_transformer.MIXED, tiny_transformer.TOKENS
EVERYTHING = tiny_transformer.EVERYTHING
BOTH_KINDS = tiny_transformer.BOTH_KINDS


def train_loss(model):
  """Compiled; nothing random."""
  return jax.jit(functools.partial(model.train_loss, rng=None))


def _uniform(params):
  return params | {'logits': jnp.zeros_like(params['logits'])}


@pytest.mark.parametrize(
  ('legal', 'choices'), [(False, tokens.IdSpace(MIXED).vocab_size), (True, 24)]
)
def test_loss_at_chance_is_log_of_the_choices(legal, choices):
  model, params = make(legal=legal)
  batch = random_batch(model)
  _, (metrics, extras) = train_loss(model)(_uniform(params), {}, batch)
  assert extras == {}
  for name in ('loss', 'loss_level_0', 'loss_level_1', 'loss_level_2'):
    chance = pytest.approx(np.log(choices), rel=1e-5)
    assert float(metrics[name]) == chance, name


@BOTH_KINDS
def test_score_is_the_log_likelihood_under_the_logits(spec, config):
  model, params = make(spec, config)
  batch = random_batch(model)
  log_p = jax.nn.log_softmax(logits(model, params, batch))
  targets = batch['decoder_target_tokens'][:, -30:]
  wanted = [
    sum(float(log_p[b, i, targets[b, i]]) for i in range(30)) for b in range(2)
  ]
  np.testing.assert_allclose(
    jax.jit(model.score_batch)(params, batch), wanted, rtol=1e-5
  )


def test_the_legal_softmax_is_the_full_one_without_the_illegal_ids():
  model, params = make()
  legal = make(legal=True)[0]
  batch = random_batch(model)
  masks = token_stage.level_masks(MIXED)
  masks = np.tile(masks, (10, 1))
  legal_logits = np.where(masks, logits(model, params, batch), -np.inf)
  log_p = jax.nn.log_softmax(legal_logits)
  targets = batch['decoder_target_tokens'][..., None]
  wanted = np.take_along_axis(np.asarray(log_p), targets, -1).sum((1, 2))
  np.testing.assert_allclose(
    jax.jit(legal.score_batch)(params, batch), wanted, rtol=1e-5
  )


def test_each_level_is_summed_over_its_own_ids_by_their_weights():
  model, params = make()
  batch = random_batch(model)
  batch['decoder_loss_weights'][:, 20:] = 0
  batch['decoder_loss_weights'][0, 4] = 3
  _, (metrics, _) = train_loss(model)(params, {}, batch)
  given = logits(model, params, batch)
  targets = batch['decoder_target_tokens']
  log_p = np.asarray(jax.nn.log_softmax(given))
  loss = -np.take_along_axis(log_p, targets[..., None], -1)[..., 0]
  values = {'loss': loss, 'accuracy': given.argmax(-1) == targets}
  for name, value in values.items():
    for suffix, ids in (('', range(30)), *_levels()):
      wanted = np.average(
        value[:, ids], weights=batch['decoder_loss_weights'][:, ids]
      )
      assert float(metrics[name + suffix]) == pytest.approx(wanted, rel=1e-4)
  assert len(metrics) == 8


def _levels():
  return [(f'_level_{k}', range(k, 30, 3)) for k in range(3)]


def test_summed_loss_is_the_mean_times_the_summed_weights():
  model, params = make()
  batch = random_batch(model)
  batch['decoder_loss_weights'][:, 20:] = 0
  total, metrics = jax.jit(model.loss_fn)(params, batch, None)
  mean, (scalars, _) = train_loss(model)(params, {}, batch)
  assert metrics['loss'].count == 40
  assert float(total) == pytest.approx(40 * float(mean), rel=1e-5)
  assert set(metrics) == set(scalars)
  for name, average in metrics.items():
    wanted = pytest.approx(float(scalars[name]), rel=1e-5)
    assert float(average.compute()) == wanted, name


def test_a_step_down_the_gradient_lowers_the_loss():
  model, params = make()
  batch = random_batch(model)

  @jax.jit
  def loss(p):
    return model.train_loss(p, {}, batch, None)[0]

  before, gradient = jax.jit(jax.value_and_grad(loss))(params)
  lower = jax.tree.map(lambda p, g: p - 0.01 * g, params, gradient)
  assert loss(lower) < before
  for path, g in jax.tree_util.tree_leaves_with_path(gradient):
    assert jnp.any(g != 0), jax.tree_util.keystr(path)


def test_continuous_inputs_without_an_encoder_are_refused():
  with pytest.raises(ValueError, match="'picture', 'style'.*layers is 0"):
    token_stage.make(MIXED, tiny_transformer.DECODER_ONLY)


def test_an_encoder_without_inputs_is_refused():
  alone = dataclasses.replace(TOKENS, inputs=())
  with pytest.raises(ValueError, match='no inputs to encode'):
    token_stage.make(alone, tiny_transformer.SIZES)


@BOTH_KINDS
def test_a_model_is_rebuilt_from_its_description(spec, config):
  model = token_stage.make(spec, config, legal=True, history_drop_rate=0.5)
  description = json.loads(json.dumps(model.describe()))
  rebuilt = restore.build_model(description)
  assert rebuilt.describe() == description
  assert rebuilt.objective == model.objective
  assert rebuilt.sampler == model.sampler
  assert rebuilt.module == model.module


@pytest.mark.parametrize(
  'kind',
  ['next_token.Nothing', 'nothing.Nothing', 'losses.cross_entropy', 'os', None],
)
def test_a_description_of_an_unknown_part_is_refused(kind):
  description = make()[0].describe()
  description['objective'] = {'kind': kind}
  with pytest.raises(ValueError, match=f'{kind}.*no part of'):
    restore.build_model(description)


def test_a_batch_that_does_not_fit_is_refused_by_name():
  model, params = make()
  batch = random_batch(model)
  short = batch | {'encoder_inputs_picture': np.zeros((2, 3, 6))}
  with pytest.raises(ValueError, match=r"'encoder_inputs_picture'.*\[b, 4, 6"):
    logits(model, params, short)
  batch.pop('encoder_inputs_style')
  with pytest.raises(ValueError, match="no 'encoder_inputs_style'"):
    logits(model, params, batch)


@BOTH_KINDS
def test_hidden_history_is_that_of_the_target_in_some_rows(spec, config):
  model, _ = make(spec, config, history_drop_rate=0.5)
  ids = np.full((400, model.decoder_length), 7, np.int32)
  batch = {'decoder_input_tokens': ids}
  seen = model.objective.corrupt(spec, batch, jax.random.key(0))
  seen = seen['decoder_input_tokens']
  hidden = np.asarray(seen == 0)
  # The first of the target's positions reads an id from before it.
  first = model.decoder_length - model.target_length + 1
  assert not hidden[:, :first].any()
  share = hidden[:, first:].mean(1)
  # Half of the rows are whole, the others miss a share uniform in [0, 1].
  assert (share == 0).mean() == pytest.approx(0.5, abs=0.1)
  assert share[share > 0].mean() == pytest.approx(0.5, abs=0.08)
  assert share.max() > 0.9


def test_history_is_hidden_in_training_alone():
  model, params = make()
  batch = random_batch(model)
  whole = train_loss(model)(params, {}, batch)[0]
  plain = dataclasses.replace(model.network, dropout_rate=0.0)
  hiding, _ = make(config=plain, history_drop_rate=1.0)
  assert train_loss(hiding)(params, {}, batch)[0] == whole
  hidden = jax.jit(hiding.train_loss)
  losses = [
    float(hidden(params, {}, batch, jax.random.key(k))[0]) for k in (0, 1)
  ]
  assert losses[0] != losses[1]
