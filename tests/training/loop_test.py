"""The loop learns, logs what it used and resumes as if it had not stopped."""

import errno
import itertools
import json

import jax
import jax.numpy as jnp
import numpy as np
from orbax.checkpoint import future
import pytest

from tests.fakes import planted_model
from v2meow_jax import media
from v2meow_jax.training import loop
from v2meow_jax.training import schedules
from v2meow_jax.training.checkpoints import checkpoints
from v2meow_jax.training.checkpoints import digests
from v2meow_jax.training.monitoring import health

pytestmark = pytest.mark.slow


def run(model_dir, train_steps, tensorboard=False, **kwargs):
  return loop.train(
    model_dir=model_dir,
    model=planted_model.LinearModel(),
    train_batches=kwargs.pop('train_batches', planted_model.batches),
    eval_batches=planted_model.batches,
    schedule=schedules.warmup_rsqrt(0.05, 20),
    train_steps=train_steps,
    save_every=kwargs.pop('save_every', 1000),
    log_every=10,
    tensorboard=tensorboard,
    eval_every=50,
    **kwargs,
  )


def half(start_step, shard=(0, 1)):
  """Half of the rows."""
  del shard
  return planted_model.batches(start_step, (0, 2))


def test_the_loop_finds_the_planted_weights(tmp_path):
  state = run(tmp_path, 300, config_text='# gin')
  np.testing.assert_allclose(state.params['w'], planted_model.TRUTH, atol=0.05)
  assert float(state.extras['counter']['steps']) == 300
  assert (tmp_path / checkpoints.CONFIG_NAME).read_text() == '# gin'
  assert checkpoints.read_description(tmp_path) == {'model': 'LinearModel'}


def test_a_resumed_run_equals_an_undisturbed_one_bit_for_bit(tmp_path):
  straight = run(tmp_path / 'straight', 40)
  run(tmp_path / 'resumed', 25)
  resumed = run(tmp_path / 'resumed', 40)
  for a, b in zip(
    jax.tree.leaves(straight), jax.tree.leaves(resumed), strict=True
  ):
    np.testing.assert_array_equal(a, b)


def test_the_logged_learning_rate_is_the_one_used(tmp_path):
  run(tmp_path, 20)
  lines = (tmp_path / 'metrics.jsonl').read_text().splitlines()
  logged = {
    m['step']: m['train/learning_rate']
    for m in map(json.loads, lines)
    if 'train/learning_rate' in m
  }
  assert logged == pytest.approx({10: 0.025, 20: 0.05}, rel=1e-3)


def test_variables_of_a_run_are_read_without_its_optimiser(tmp_path):
  state = run(tmp_path, 10)
  variables, step = checkpoints.restore_variables(tmp_path)
  assert step == 10
  np.testing.assert_array_equal(variables['params']['w'], state.params['w'])
  assert float(variables['counter']['steps']) == 10


def test_the_average_is_what_is_read_and_released(tmp_path):
  state = run(tmp_path, 10, ema_decay=0.5)
  variables, _ = checkpoints.restore_variables(tmp_path)
  average = state.extras['ema_params']['w']
  np.testing.assert_array_equal(variables['params']['w'], average)
  assert not np.array_equal(average, state.params['w'])


def test_a_directory_without_checkpoints_is_named(tmp_path):
  with pytest.raises(checkpoints.CheckpointError, match='no checkpoint'):
    checkpoints.restore_variables(tmp_path)


def test_a_checkpoint_of_another_model_is_refused(tmp_path):
  run(tmp_path, 5)

  class Other(planted_model.LinearModel):
    def init(self, rng, batch):
      variables = super().init(rng, batch)
      variables['params']['w2'] = jnp.zeros(3)
      return variables

  with pytest.raises(checkpoints.CheckpointError, match='MODEL_DIR'):
    loop.train(
      model_dir=tmp_path,
      model=Other(),
      train_batches=planted_model.batches,
      schedule=schedules.warmup_rsqrt(0.05, 20),
      train_steps=6,
      tensorboard=False,
    )


@pytest.mark.parametrize(
  ('changed', 'said'),
  [
    ({'train_batches': half}, 'batch_size was 8 and is 4'),
    ({'seed': 3}, 'seed was 0 and is 3'),
  ],
)
def test_another_order_of_the_data_is_refused(tmp_path, changed, said):
  run(tmp_path, 5)
  with pytest.raises(checkpoints.CheckpointError, match=said):
    run(tmp_path, 10, **changed)
  assert int(run(tmp_path, 6).step) == 6


class DescribedBatches:
  """The planted batches, which say what their order follows from."""

  def __init__(self, **description):
    self._description = {
      'seed': 0,
      'parts': [{'split': 'train'}],
      **description,
    }

  def describe(self):
    return self._description

  def __call__(self, start_step, shard=(0, 1)):
    return planted_model.batches(start_step, shard)


@pytest.mark.parametrize(
  ('changed', 'said'),
  [
    ({'seed': 1}, 'data.seed was 0 and is 1'),
    ({'parts': [{'split': 'validation'}]}, 'data.parts.0.split was train and'),
    ({'parts': [{'split': 'train'}] * 2}, 'data.parts.1 was None and is'),
    ({'crop_seconds': 5.0}, 'data.crop_seconds was None and is 5.0'),
  ],
)
def test_batches_that_describe_another_order_are_refused(
  tmp_path, changed, said
):
  run(tmp_path, 5, train_batches=DescribedBatches())
  with pytest.raises(checkpoints.CheckpointError, match=said):
    run(tmp_path, 10, train_batches=DescribedBatches(**changed))
  assert int(run(tmp_path, 6, train_batches=DescribedBatches()).step) == 6
  # A run from before batches described themselves goes on.
  assert int(run(tmp_path, 7).step) == 7


class WeightedModel(planted_model.LinearModel):
  """The mean error over rows with weights."""

  def train_loss(self, params, extras, batch, rng):
    del rng
    error = (batch['x'] @ params['w'] - batch['y']) ** 2
    weights = batch['decoder_loss_weights']
    loss = (error * weights).sum() / weights.sum()
    return loss, ({}, extras)


def weighted(start_step, rows=(8, 2, 5)):
  """Batches of which only some rows count, as those at the end of a pass."""
  for step, batch in enumerate(planted_model.batches(start_step), start_step):
    counts = np.arange(8) < rows[step % len(rows)]
    yield {**batch, 'decoder_loss_weights': counts.astype(np.float32)}


def test_the_held_out_loss_is_the_mean_over_what_counts(tmp_path):
  state = loop.train(
    model_dir=tmp_path,
    model=WeightedModel(),
    train_batches=weighted,
    eval_batches=weighted,
    num_eval_batches=3,
    schedule=schedules.warmup_rsqrt(0.05, 20),
    train_steps=1,
    tensorboard=False,
  )
  batches = list(itertools.islice(weighted(0), 3))
  x, y, weights = (
    np.concatenate([b[k] for b in batches])
    for k in ('x', 'y', 'decoder_loss_weights')
  )
  error = (x @ np.asarray(state.params['w']) - y) ** 2
  wanted = (error * weights).sum() / 15
  lines = map(json.loads, (tmp_path / 'metrics.jsonl').read_text().splitlines())
  (found,) = [m['eval/loss'] for m in lines if 'eval/loss' in m]
  assert found == pytest.approx(wanted, rel=1e-5)
  means = np.average((error * weights).reshape(3, 8).sum(1) / [8, 2, 5])
  assert means != pytest.approx(wanted, rel=1e-2)


def poisoned(first, last):
  """Batches with a NaN in those of some steps."""

  def batches(start_step):
    for step, batch in enumerate(
      planted_model.batches(start_step), start_step + 1
    ):
      if first <= step <= last:
        batch['x'][0, 0] = np.nan
      yield batch

  return batches


def test_a_bad_batch_is_skipped_and_told(tmp_path):
  state = run(tmp_path, 30, train_batches=poisoned(13, 14))
  lines = (tmp_path / 'metrics.jsonl').read_text().splitlines()
  skipped = {
    m['step']: m['train/skipped'] for m in map(json.loads, lines)
    if 'train/skipped' in m
  }  # fmt: skip
  assert skipped == pytest.approx({10: 0.0, 20: 0.2, 30: 0.0})
  assert int(state.step) == 30
  assert float(state.extras['counter']['steps']) == 28
  assert np.isfinite(state.params['w']).all()


def test_bad_batches_in_a_row_end_the_run_with_their_names(tmp_path):
  with pytest.raises(health.Unhealthy, match='step_16.json'):
    run(tmp_path, 30, train_batches=poisoned(12, 30), save_every=10)
  dump = json.loads((tmp_path / 'health' / 'step_16.json').read_text())
  assert [s['step'] for s in dump['skipped']] == [12, 13, 14, 15, 16]
  first = dump['skipped'][0]
  assert first['loss'] == first['gradient_norms']['w'] == 'nan'
  assert first['example_ids'][3] == 'example 11-3'
  batch = next(planted_model.batches(11))
  del batch['example_ids']
  batch['x'][0, 0] = np.nan
  assert first['batch_sha256'] == health.batch_digest(batch)
  assert checkpoints.restore_variables(tmp_path)[1] == 10


def test_data_that_ends_too_early_is_refused(tmp_path):
  def short(start_step):
    return itertools.islice(planted_model.batches(start_step), 3)

  with pytest.raises(ValueError, match='before step 4 of 9'):
    run(tmp_path, 9, train_batches=short)


def test_warmup_cosine_ends_at_its_final_fraction():
  schedule = schedules.warmup_cosine(1.0, 10, 100, final_fraction=0.1)
  assert float(schedule(10)) == pytest.approx(1.0)
  assert float(schedule(55)) == pytest.approx(0.55, abs=0.01)
  assert float(schedule(100)) == pytest.approx(0.1)


def test_matrices_decay_and_vectors_do_not():
  params = {'matrix': jnp.ones((2, 2)), 'vector': jnp.ones(2)}
  optimizer = schedules.adamw(
    schedules.warmup_rsqrt(0.1, 1), weight_decay=0.5, clip_norm=None
  )
  zeros = jax.tree.map(jnp.zeros_like, params)
  updates, _ = optimizer.update(zeros, optimizer.init(params), params)
  np.testing.assert_allclose(updates['matrix'], -0.05, rtol=1e-5)
  np.testing.assert_array_equal(updates['vector'], 0.0)


@pytest.mark.data
def test_tensorboard_shows_what_was_logged_and_plays_what_it_got(tmp_path):
  from tensorboard.backend.event_processing import event_accumulator
  from tensorboard.util import tensor_util

  evaluated = []

  def on_eval(step, variables):
    evaluated.append((step, float(variables['counter']['steps'])))
    tone = np.sin(np.arange(8000, dtype=np.float32) / 5)
    return {
      'tone': media.Audio(samples=tone, rate_hz=8000),
      'picture': np.zeros((128, 100, 1), np.uint8),
    }

  run(tmp_path, 20, tensorboard=True, on_eval=on_eval)
  events = event_accumulator.EventAccumulator(str(tmp_path))
  events.Reload()
  shown = {
    e.step: float(tensor_util.make_ndarray(e.tensor_proto))
    for e in events.Tensors('train/loss')
  }
  lines = map(json.loads, (tmp_path / 'metrics.jsonl').read_text().splitlines())
  logged = {m['step']: m['train/loss'] for m in lines if 'train/loss' in m}
  assert shown == pytest.approx(logged)
  assert evaluated == [(20, 20.0)]
  wave, _ = tensor_util.make_ndarray(events.Tensors('tone')[0].tensor_proto)[0]
  assert wave.startswith(b'RIFF')
  picture = events.Tensors('picture')[0].tensor_proto
  width, height, png = tensor_util.make_ndarray(picture)
  assert (int(width), int(height)) == (100, 128)
  assert png.startswith(b'\x89PNG')


def failing_sums(monkeypatch, failures):
  """Makes the background half of saves fail, as often as `failures` says."""
  calls = iter(failures)
  real = digests.DigestHandler.async_save

  async def async_save(self, directory, args):
    if not next(calls, False):
      return await real(self, directory, args)

    async def write():
      raise OSError(errno.ENOSPC, 'No space left on device')

    signals = future.CommitFutureAwaitingContractedSignals
    return [signals(write(), name='digests')]

  monkeypatch.setattr(digests.DigestHandler, 'async_save', async_save)


def kept(model_dir):
  return sorted(p.name for p in (model_dir / 'checkpoints').iterdir())


def test_two_failed_saves_in_a_row_are_told_and_the_next_is_made(
  tmp_path, monkeypatch, caplog
):
  failing_sums(monkeypatch, [False, True, True, False, True, False])
  straight = run(tmp_path / 'straight', 30)
  # The first, which is the only one, is that of `straight`.
  run(tmp_path / 'run', 30, save_every=6)
  errors = [r.getMessage() for r in caplog.records if r.filename == 'loop.py']
  assert len(errors) == 3
  assert all('No space left' in e and 'the next save' in e for e in errors)
  # Those of 6, 12 and 24 failed; 18 and 30 are there, and nothing half written.
  assert kept(tmp_path / 'run') == ['18', '30']
  resumed = run(tmp_path / 'run', 30)
  np.testing.assert_array_equal(resumed.params['w'], straight.params['w'])


@pytest.mark.parametrize('save_every', [6, 1000])
def test_the_third_failed_save_in_a_row_ends_the_run(
  tmp_path, monkeypatch, save_every
):
  failing_sums(monkeypatch, itertools.repeat(True))
  with pytest.raises(checkpoints.CheckpointError, match='No space left'):
    run(tmp_path, 30, save_every=save_every)
  assert not any(name.isdigit() for name in kept(tmp_path))


def test_the_last_step_is_tried_again_until_it_is_saved(tmp_path, monkeypatch):
  failing_sums(monkeypatch, [True, True])
  run(tmp_path, 5)
  assert kept(tmp_path) == ['5']
  assert checkpoints.restore_variables(tmp_path)[1] == 5
