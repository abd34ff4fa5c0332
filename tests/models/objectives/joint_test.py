"""A joint loss is the sum of its parts, rises as it says, and skips what is absent."""

import functools
from typing import Any

import jax
import numpy as np
import pytest

from tests.fakes import delayed_stage
from tests.fakes import virtual_devices
from v2meow_jax.models.objectives import joint
from v2meow_jax.models.objectives import next_token
from v2meow_jax.training import accumulation

pytestmark = pytest.mark.slow

ROWS = 6


def loss(objective, batch=None, extras=None, rng=None):
  model = delayed_stage.make(objective)
  batch = delayed_stage.batch(ROWS) if batch is None else batch
  total, (metrics, extras) = delayed_stage.train_loss(
    model, delayed_stage.params(), extras or {}, batch, rng
  )
  return float(total), {k: float(v) for k, v in metrics.items()}, extras


def cosines(batch):
  names = ('video_embedding', 'music_embedding', 'pair_scale', 'pair_bias')
  model = delayed_stage.make()
  out = delayed_stage.outputs(model, delayed_stage.params(), batch, names)
  video, music, scale, bias = (
    np.asarray(out[name], np.float64) for name in names
  )
  return scale * video @ music.T, bias


def cross_entropies(scores):
  log_sums = np.log(np.exp(scores).sum(1))
  return log_sums - scores.diagonal()


@pytest.mark.parametrize('form', ['info_nce', 'sigmoid'])
def test_it_is_the_loss_of_the_ids_and_a_weight_times_that_of_the_pairs(form):
  batch = delayed_stage.batch(ROWS)
  plain, _, _ = loss(next_token.NextToken(legal=True))
  total, metrics, _ = loss(joint.Joint(weight=0.3, form=form))
  scores, bias = cosines(batch)
  if form == 'info_nce':
    rows = (cross_entropies(scores) + cross_entropies(scores.T)) / 2
  else:
    match = 2 * np.eye(ROWS) - 1
    rows = np.log1p(np.exp(-match * (scores + bias))).sum(1)
  assert total == pytest.approx(plain + 0.3 * rows.mean(), rel=1e-5)
  assert metrics['pair_loss'] == pytest.approx(rows.mean(), rel=1e-5)
  assert metrics['negatives'] == ROWS - 1
  found = (scores.argmax(1) == np.arange(ROWS)).mean()
  assert metrics['video_to_music'] == pytest.approx(found)


def test_a_row_without_video_is_in_no_pair():
  batch = delayed_stage.batch(ROWS)
  for name in ('patches', 'motion'):
    batch[f'encoder_inputs_{name}'][[1, 4]] = 0
  plain, _, _ = loss(next_token.NextToken(legal=True), batch)
  total, metrics, _ = loss(joint.Joint(weight=1.0), batch)
  kept = [0, 2, 3, 5]
  scores = cosines(batch)[0][np.ix_(kept, kept)]
  rows = (cross_entropies(scores) + cross_entropies(scores.T)) / 2
  assert total == pytest.approx(plain + rows.sum() / ROWS, rel=1e-5)
  assert metrics['negatives'] == 3


def test_the_weight_rises_with_the_examples():
  objective = joint.Joint(weight=1.0, ramp_examples=4 * ROWS)
  model = delayed_stage.make(objective)
  batch: Any = model.example_batch(1)
  variables = model.init(jax.random.key(0), batch)
  extras = {'progress': variables['progress']}
  assert int(extras['progress']['examples']) == 0
  plain, _, _ = loss(next_token.NextToken(legal=True))
  _, metrics, _ = loss(joint.Joint(weight=1.0))
  seen = []
  for _ in range(6):
    now, _, same = loss(objective, extras=extras)
    assert int(same['progress']['examples']) == int(
      extras['progress']['examples']
    )
    seen.append((now - plain) / metrics['pair_loss'])
    _, _, extras = loss(objective, extras=extras, rng=jax.random.key(1))
  np.testing.assert_allclose(seen, [0, 0.25, 0.5, 0.75, 1, 1], atol=1e-4)


def test_accumulated_gradients_say_that_negatives_are_those_of_a_microbatch():
  objective = joint.Joint(weight=1.0, ramp_examples=100)
  model = delayed_stage.make(objective)
  extras = {'progress': {'examples': np.int32(0)}}
  step = functools.partial(
    accumulation.loss_and_gradient, model, num_microbatches=3
  )
  _, metrics, extras, _ = jax.jit(step)(
    delayed_stage.params(), extras, delayed_stage.batch(ROWS), jax.random.key(0)
  )
  assert float(metrics['negatives']) == ROWS / 3 - 1
  # Examples count once, however many parts they come in.
  assert int(extras['progress']['examples']) == ROWS


def test_other_forms_and_weights_are_refused():
  with pytest.raises(ValueError, match="wanted 'info_nce' or 'sigmoid'"):
    joint.Joint(form='triplet')  # pyright: ignore
  with pytest.raises(ValueError, match='weight is -1'):
    joint.Joint(weight=-1)


def test_a_description_gives_the_objective_back():
  from v2meow_jax.models import descriptions

  objective = joint.Joint(weight=0.2, form='sigmoid', ramp_examples=7)
  data = descriptions.to_dict(objective)
  assert descriptions.from_dict(data, 'models.objectives') == objective


def test_on_a_mesh_negatives_are_those_of_all_devices(tmp_path):
  meshes = ('1,1,1', '2,4,1')
  losses = virtual_devices.run('tests.fakes.joint_losses', tmp_path, *meshes)
  alone = losses['1,1,1']
  assert [losses[m]['parts'] for m in meshes] == [1, 8]
  for mesh in meshes:
    assert losses[mesh]['negatives'] == 15
    for name in ('total', 'pairs'):
      np.testing.assert_allclose(losses[mesh][name], alone[name], rtol=2e-5)
