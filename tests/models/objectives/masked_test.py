"""Masked prediction: what is hidden, what it is scored by, what it learns."""

import functools

import jax
import numpy as np
import optax
import pytest
from scipy import stats

from tests.fakes import parallel_stage
from v2meow_jax import specs
from v2meow_jax.models.objectives import masked

pytestmark = pytest.mark.slow

STAGE = parallel_stage.STAGE


@functools.partial(jax.jit, static_argnums=0)
def corrupt(objective, batch, key):
  return objective.corrupt(STAGE, batch, key)


def corrupted(rows=2_000, objective=None, seed=0):
  """Batch, what was read bool[b, frames, levels], and what was asked for."""
  batch = parallel_stage.batch(rows)
  objective = objective or masked.MaskedPrediction()
  seen = corrupt(objective, batch, jax.random.key(seed))
  shape = (rows, 20, 3)
  known = np.asarray(seen['decoder_input_tokens']) != specs.MASK_ID
  asked = np.asarray(seen['decoder_loss_weights']) > 0
  return batch, known.reshape(shape), asked.reshape(shape)


def test_one_level_is_asked_for_and_finer_ones_are_hidden_with_it():
  _, known, asked = corrupted()
  assert (asked.any(1).sum(-1) == 1).all()
  level = asked.any(1).argmax(-1)
  assert np.abs(np.bincount(level) / 2_000 - 1 / 3).max() < 0.04
  for row in range(len(known)):
    hidden = ~known[row]
    assert not hidden[:, : level[row]].any()
    np.testing.assert_array_equal(
      hidden[:, level[row]], asked[row, :, level[row]]
    )
    finer = hidden[:, level[row] + 1 :]
    # From one frame on, and to the end.
    assert (finer == finer[:, :1]).all()
    assert (np.diff(finer.astype(int), axis=0) >= 0).all()


def test_the_share_that_is_hidden_follows_the_cosine():
  _, _, asked = corrupted(objective=masked.MaskedPrediction(prompt_rate=0.0))
  counts = asked.any(-1).sum(1)
  rates = np.cos(np.pi / 2 * (np.arange(1_000) + 0.5) / 1_000)
  wanted = stats.binom.pmf(np.arange(21)[:, None], 20, rates).mean(1)
  wanted[1] += wanted[0]  # One frame at least.
  wanted[0] = 0.0
  seen = np.bincount(counts, minlength=21)
  # Chi-square of 20 places: once in a thousand above 45.
  used = wanted > 0
  expected = wanted[used] * len(counts)
  assert ((seen[used] - expected) ** 2 / expected).sum() < 45
  assert seen[0] == 0


def test_what_is_hidden_does_not_act_on_what_is_asked_for():
  model, params = parallel_stage.make(), parallel_stage.params()
  batch, known, asked = corrupted(rows=8)
  rng = np.random.default_rng(1)
  codes = rng.integers(0, 8, known.shape)
  other = parallel_stage.ids_of(codes, STAGE.target).reshape(known.shape)
  ids = batch['decoder_target_tokens'].reshape(known.shape)
  changed = np.where(known | asked, ids, other).reshape(8, -1)
  assert (changed != batch['decoder_target_tokens']).any()
  objective = masked.MaskedPrediction()

  @jax.jit
  def losses(ids):
    told = {**batch, 'decoder_target_tokens': ids}
    seen = objective.corrupt(STAGE, told, jax.random.key(0))
    outputs = model.outputs(params, seen, ('code_logits',))
    return objective(STAGE, outputs, seen).values

  flat = asked.reshape(8, -1)
  np.testing.assert_array_equal(
    *(
      np.asarray(losses(ids))[flat]
      for ids in (batch['decoder_target_tokens'], changed)
    )
  )


def test_a_row_has_one_score_whatever_its_neighbours():
  model, params = parallel_stage.make(), parallel_stage.params()
  batch = parallel_stage.batch(4)
  score = jax.jit(model.score_batch)
  scores = np.asarray(score(params, batch))
  turned = {k: x[[2, 2, 0, 1]] for k, x in batch.items()}
  again = np.asarray(score(params, turned))
  np.testing.assert_allclose(again, scores[[2, 2, 0, 1]], rtol=1e-6)
  assert len(set(scores.tolist())) == 4


def test_the_mean_of_a_batch_is_that_of_its_parts():
  objective = masked.MaskedPrediction()
  batch = parallel_stage.batch(6)
  batch['decoder_loss_weights'][1, 30:] = 0.0  # A clip of half the length.
  seen = corrupt(objective, batch, None)
  np.testing.assert_allclose(
    seen['decoder_loss_weights'].sum(1),
    batch['decoder_loss_weights'].sum(1),
    rtol=1e-5,
  )
  model, params = parallel_stage.make(), parallel_stage.params()

  mean = jax.jit(lambda part: model.train_loss(params, {}, part, None)[0])

  def loss(rows):
    return float(mean({k: x[rows] for k, x in batch.items()}))

  counts = np.array([30.0 + 60.0, 120.0, 120.0])
  parts = [loss(slice(i, i + 2)) for i in (0, 2, 4)]
  assert loss(slice(None)) == pytest.approx(
    (counts * parts).sum() / counts.sum(), rel=1e-5
  )


def test_a_planted_mapping_is_learnt_and_sampled():
  """Each level of a sound is a function of the melody and the level above."""
  model = parallel_stage.make(passes=(4, 1))
  rng = np.random.default_rng(0)
  tables = [rng.permutation(8) for _ in range(3)]

  def planted(rows, seed):
    batch = parallel_stage.batch(rows, seed=seed)
    melody = (
      batch['encoder_inputs_melody'] - batch['encoder_inputs_melody'].min()
    )
    code, levels = np.repeat(melody, 2, 1), []
    for table in tables:
      code = table[code % 8]
      levels.append(code)
    return parallel_stage.batch(rows, np.stack(levels, -1), seed=seed)

  params, optimizer = parallel_stage.params(), optax.adam(1e-2)

  @jax.jit
  def update(params, state, batch, key):
    loss, grad = jax.value_and_grad(
      lambda p: model.train_loss(p, {}, batch, key)[0]
    )(params)
    updates, state = optimizer.update(grad, state)
    return optax.apply_updates(params, updates), state, loss

  state, losses = optimizer.init(params), []
  for step in range(150):
    batch = planted(16, step)
    params, state, loss = update(params, state, batch, jax.random.key(step))
    losses.append(float(loss))
  assert np.mean(losses[-10:]) < 0.1 * losses[0]
  held_out = planted(4, 10_000)
  ids = model.sample_batch(
    params,
    model.inputs_of(held_out),
    jax.random.split(jax.random.key(0), 4),
  )
  right = np.asarray(ids) == held_out['decoder_target_tokens']
  assert right.mean() > 0.95
