"""Coincidences weigh more, onsets are predicted, and zeros change nothing."""

import dataclasses
from typing import Any

import jax
import numpy as np
import pytest

from tests.fakes import delayed_stage
from v2meow_jax.models.blocks import layer_stacking
from v2meow_jax.models.objectives import alignment
from v2meow_jax.models.objectives import joint
from v2meow_jax.models.objectives import next_token

pytestmark = pytest.mark.slow

ROWS, FRAMES, LEVELS = 3, 20, 3
PLAIN = next_token.NextToken(legal=True)


def guided(onset_frames, accent_frames):
  """A batch with one onset and one accent in each row."""
  batch = delayed_stage.batch(ROWS)
  for name, frames in (('onsets', onset_frames), ('accents', accent_frames)):
    batch[f'guide_{name}'] = np.zeros((ROWS, FRAMES, 1), np.float32)
    batch[f'guide_{name}'][np.arange(ROWS), frames] = 1
  return batch


def test_ids_near_a_coincidence_weigh_more_and_the_mean_stays():
  batch = guided([5, 5, 5], [6, 9, 4])
  weights = alignment.Alignment(accent_weight=3.0).id_weights(
    delayed_stage.STAGE, batch
  )
  weights = np.asarray(weights).reshape(ROWS, FRAMES, LEVELS)
  np.testing.assert_allclose(weights.mean((1, 2)), 1, rtol=1e-6)
  # The sound has as many frames a second as the guides here.
  for row in (0, 2):
    np.testing.assert_allclose(weights[row, 5] / weights[row, 0], 4, rtol=1e-5)
    assert (np.delete(weights[row], 5, 0) < 1).all()
  np.testing.assert_allclose(weights[1], 1, rtol=1e-6)


def test_the_loss_is_weighed_by_them():
  def values(objective):
    model = delayed_stage.make(objective)
    losses = jax.jit(model._losses)(delayed_stage.params(), batch, None)
    return losses.values

  batch = guided([5, 7, 9], [5, 7, 9])
  plain = values(joint.Joint(weight=0.0))
  parts = alignment.Alignment(accent_weight=3.0)
  near = values(joint.Joint(weight=0.0, alignment=parts))
  weights = parts.id_weights(delayed_stage.STAGE, batch)
  np.testing.assert_allclose(near, plain * weights, rtol=1e-6)


def test_onsets_are_predicted_by_cross_entropy():
  batch = delayed_stage.batch(ROWS)
  model, params = delayed_stage.make(), delayed_stage.params()
  logits = delayed_stage.outputs(model, params, batch, ('onset_logits',))[
    'onset_logits'
  ]
  assert logits.shape == (ROWS, FRAMES)
  shares = 1 / (1 + np.exp(-np.asarray(logits, np.float64)))
  onsets = batch['guide_onsets'][..., 0]
  wanted = -(onsets * np.log(shares) + (1 - onsets) * np.log(1 - shares))
  got = alignment.Alignment(onset_weight=1.0).onset_losses(
    delayed_stage.STAGE, {'onset_logits': logits}, batch
  )
  np.testing.assert_allclose(got, wanted.mean(1), rtol=1e-5)
  parts = alignment.Alignment(onset_weight=0.5)
  joined = delayed_stage.make(joint.Joint(weight=0.0, alignment=parts))
  total, (metrics, _) = delayed_stage.train_loss(
    joined, params, {}, batch, None
  )
  plain, _ = delayed_stage.train_loss(
    delayed_stage.make(PLAIN), params, {}, batch, None
  )
  assert float(total - plain) == pytest.approx(0.5 * wanted.mean(), rel=1e-4)
  assert float(metrics['onset_loss']) == pytest.approx(wanted.mean(), rel=1e-5)


def test_of_slower_patches_the_strongest_onset_counts():
  batch = guided([5, 6, 19], [0, 0, 0])
  logits = np.full((ROWS, 10), -8.0, np.float32)
  logits[[0, 1, 2], [2, 3, 9]] = 8.0
  got = alignment.Alignment(onset_weight=1.0).onset_losses(
    delayed_stage.STAGE, {'onset_logits': logits}, batch
  )
  assert np.asarray(got).max() < 1e-3
  with pytest.raises(ValueError, match='do not divide among the 7'):
    alignment.Alignment(onset_weight=1.0).onset_losses(
      delayed_stage.STAGE, {'onset_logits': logits[:, :7]}, batch
    )


def modulating():
  sizes = dataclasses.replace(delayed_stage.SIZES, modulates=True)
  model = delayed_stage.make(sizes=sizes)
  batch: Any = model.example_batch(1)
  from flax.core import meta

  params = meta.unbox(model.init(jax.random.key(0), batch))['params']
  return model, params


def test_modulation_starts_at_the_bits_of_the_model_without_it():
  model, params = modulating()
  plain, own = delayed_stage.make(), delayed_stage.params()
  extra = {*params} - {*own}
  assert extra == {'modulation'} and not any(
    np.any(x) for x in jax.tree.leaves(params['modulation'])
  )
  jax.tree.map(
    np.testing.assert_array_equal,
    {k: x for k, x in params.items() if k not in extra},
    dict(own),
  )
  batch = delayed_stage.batch(2)
  np.testing.assert_array_equal(
    delayed_stage.logits(model, params, batch),
    delayed_stage.logits(plain, own, batch),
  )
  rngs = jax.random.split(jax.random.key(1), 2)
  inputs = model.inputs_of(batch)
  np.testing.assert_array_equal(
    model.sample_batch(params, inputs, rngs),
    plain.sample_batch(own, inputs, rngs),
  )


def test_modulation_learns_and_samples_as_the_whole_pass_computes():
  model, params = modulating()
  batch = delayed_stage.batch(2)
  loss = lambda p: model.train_loss(p, {}, batch, None)[0]  # noqa: E731
  grads = jax.jit(jax.grad(loss))(params)
  assert all(np.abs(g).max() > 0 for g in jax.tree.leaves(grads['modulation']))
  rng = np.random.default_rng(0)
  params['modulation'] = jax.tree.map(
    lambda x: 0.3 * rng.normal(size=x.shape).astype(np.float32),
    params['modulation'],
  )
  from v2meow_jax import tokens
  from v2meow_jax.models.sampling import options

  batch = delayed_stage.batch(2)
  rngs = jax.random.split(jax.random.key(1), 2)
  cold = options.Sampling(temperature=0.0)
  ids = model.sample_batch(params, model.inputs_of(batch), rngs, cold)
  codes = tokens.IdSpace(delayed_stage.STAGE).ids_to_codes(
    np.asarray(ids), delayed_stage.SOUND
  )
  forced = {**delayed_stage.batch(2, codes), **model.inputs_of(batch)}
  best = delayed_stage.logits(model, params, forced).argmax(-1)
  np.testing.assert_array_equal(codes.reshape(2, -1), best)
  changed = delayed_stage.logits(
    delayed_stage.make(), delayed_stage.params(), forced
  )
  assert (
    np.abs(changed - delayed_stage.logits(model, params, forced)).max() > 1e-3
  )
  assert layer_stacking.unstack(params).keys() == params.keys()


def test_guides_that_are_missing_are_named():
  batch = delayed_stage.batch(1)
  del batch['guide_onsets']
  with pytest.raises(ValueError, match="reads 'onsets'; add it"):
    alignment.Alignment(accent_weight=1.0).id_weights(
      delayed_stage.STAGE, batch
    )
  with pytest.raises(ValueError, match='onset_weight is -1'):
    alignment.Alignment(onset_weight=-1)


def test_a_network_reads_no_guide():
  model, params = delayed_stage.make(), delayed_stage.params()
  batch = delayed_stage.batch(1)
  without = {k: x for k, x in batch.items() if not k.startswith('guide')}
  np.testing.assert_array_equal(
    delayed_stage.logits(model, params, batch),
    delayed_stage.logits(model, params, without),
  )
