"""Synchrony: windows and negatives are where they should be; a shift is told."""

import dataclasses
import functools

from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from v2meow_jax import specs
from v2meow_jax.models import batch_layouts
from v2meow_jax.models import dit
from v2meow_jax.models import warm_start
from v2meow_jax.models.adaptors import sync_windows
from v2meow_jax.models.adaptors import synchrony
from v2meow_jax.models.objectives import contrastive

pytestmark = pytest.mark.slow

PATCHES = specs.FeatureSpec(
  name='patches', dim=2, rate_hz=10.0, num_positions=3
)
LATENTS = specs.FeatureSpec(name='latents', dim=4, rate_hz=20.0)
SPEC = specs.StageSpec(
  name='music', inputs=(PATCHES,), target=LATENTS, crop_seconds=8.0
)
NEGATIVES = sync_windows.Negatives(window_seconds=3.0)
CONFIG = synchrony.SynchronyConfig(
  emb_dim=16,
  num_heads=2,
  head_dim=8,
  mlp_dim=32,
  num_layers=1,
  num_video_layers=1,
  joint_dim=8,
  negatives=NEGATIVES,
)


def numbered(rows=6):
  """Every frame of music holds its row and its time, every patch its time."""
  batch = batch_layouts.example_batch(batch_layouts.FRAMES, SPEC, rows)
  music, seen = batch['decoder_target_frames'], batch['encoder_inputs_patches']
  music[..., 0] = np.arange(rows)[:, None]
  music[..., 1] = np.arange(160) / 20
  seen[..., 0] = np.arange(80)[:, None] / 10
  batch['decoder_loss_weights'][:] = 1.0
  return batch


def planted(rng, rows, timed=True):
  """Pulses at random times, seen in one patch, heard in one channel."""
  batch = numbered(rows)
  seen = rng.normal(size=(rows, 80, 3, 2)).astype('f4') * 0.3
  music = rng.normal(size=(rows, 160, 4)).astype('f4') * 0.3
  genre = rng.normal(size=(rows, 1))
  seen[:, :, 0, 1] += genre
  music[..., 3] += genre
  if timed:
    pulses = rng.random((rows, 80)) < 0.12
    seen[:, :, 2, 0] += 3 * pulses
    music[:, ::2, 0] += 3 * pulses
  batch['encoder_inputs_patches'] = seen
  batch['decoder_target_frames'] = music
  return batch


def test_windows_begin_where_the_picture_s_do_and_shifts_are_far():
  cut = NEGATIVES.cut(SPEC, numbered(400), jax.random.key(0))
  music, shifted = np.asarray(cut.music), np.asarray(cut.shifted)
  seen = np.asarray(cut.inputs['encoder_inputs_patches'])
  assert music.shape == (400, 60, 4) and seen.shape == (400, 30, 3, 2)
  np.testing.assert_allclose(music[:, 0, 1], seen[:, 0, 0, 0], atol=1e-6)
  np.testing.assert_allclose(np.diff(music[..., 1], axis=1), 0.05, atol=1e-5)
  distance = np.abs(shifted[:, 0, 1] - music[:, 0, 1])
  assert distance.min() >= 2.0 - 1e-5 and distance.max() > 4.5
  np.testing.assert_array_equal(shifted[..., 0], music[..., 0])


def test_a_quarter_to_half_of_the_music_is_the_next_clip_s_at_its_place():
  cut = NEGATIVES.cut(SPEC, numbered(400), jax.random.key(1))
  replaced, own = np.asarray(cut.replaced), np.asarray(cut.music)
  other = replaced[..., 0] != own[..., 0]
  shares = other.mean(1)
  assert 0.25 - 0.01 <= shares.min() and shares.max() <= 0.5 + 0.01
  assert shares.max() - shares.min() > 0.2
  # One stretch each, of the row before in the batch.
  edges = np.abs(np.diff(other.astype(int), axis=1)).sum(1)
  assert edges.max() <= 2
  wanted = np.roll(np.arange(400), 1)[:, None]
  assert (replaced[..., 0] == np.where(other, wanted, own[..., 0])).all()


@functools.cache
def names(**changes):
  """Loss, and names of the metrics."""
  negatives = dataclasses.replace(NEGATIVES, **changes)
  model = synchrony.SynchronyModel(
    SPEC, dataclasses.replace(CONFIG, negatives=negatives)
  )
  params = nn.unbox(model.init(jax.random.key(0), numbered()))['params']
  batch = planted(np.random.default_rng(0), 6)
  loss, (metrics, _) = jax.jit(model.train_loss)(params, {}, batch, None)
  return float(loss), set(metrics)


@pytest.mark.parametrize(
  ('kind', 'metric'),
  [('temporal_shift', 'shift_auc'), ('random_replacement', 'replacement_auc')],
)
def test_each_negative_is_switched_on_and_off(kind, metric):
  loss, metrics = names()
  less, fewer = names(**{kind: False})
  assert metrics - fewer == {metric}
  assert less < loss  # One negative less in a sum over them.


def test_the_loss_among_a_batch_is_that_of_the_whole_matrix():
  off = dataclasses.replace(
    NEGATIVES, temporal_shift=False, random_replacement=False
  )
  config = dataclasses.replace(CONFIG, negatives=off)
  model = synchrony.SynchronyModel(SPEC, config)
  batch = planted(np.random.default_rng(0), 8)
  params = nn.unbox(model.init(jax.random.key(0), batch))['params']
  loss, _ = jax.jit(model.train_loss)(params, {}, batch, None)
  draws, _ = jax.random.split(jax.random.key(0))

  @jax.jit
  def outputs(params, batch):
    return model.module.apply({'params': params}, off.cut(SPEC, batch, draws))

  found = outputs(params, batch)
  logits = found.scale * found.video @ found.music.T
  np.testing.assert_allclose(loss, contrastive.info_nce(logits), rtol=1e-4)
  lengths = jnp.linalg.norm(found.video, axis=1)
  np.testing.assert_allclose(lengths, 1.0, atol=1e-3)


@functools.cache
def training(num_video_layers):
  """Fresh parameters and state, a step, and what tells the metrics."""
  config = dataclasses.replace(CONFIG, num_video_layers=num_video_layers)
  model = synchrony.SynchronyModel(SPEC, config)
  params = nn.unbox(model.init(jax.random.key(0), numbered()))['params']
  optimizer = optax.adam(3e-3)

  @jax.jit
  def step(params, state, batch, rng):
    grads, metrics = jax.grad(
      lambda p: model.train_loss(p, {}, batch, rng), has_aux=True
    )(params)
    updates, state = optimizer.update(grads, state)
    return optax.apply_updates(params, updates), state

  evaluate = jax.jit(
    lambda p, batch: model.train_loss(p, {}, batch, None)[1][0]
  )
  return params, optimizer.init(params), step, evaluate


def trained(timed, num_video_layers=1, steps=250):
  params, state, step, evaluate = training(num_video_layers)
  rng = np.random.default_rng(0)
  held_out = planted(np.random.default_rng(1), 128, timed)
  before = {k: float(x) for k, x in evaluate(params, held_out).items()}
  for i in range(steps):
    batch = planted(rng, 32, timed)
    params, state = step(params, state, batch, jax.random.key(i))
  after = {k: float(x) for k, x in evaluate(params, held_out).items()}
  return params, before, after


@pytest.mark.parametrize('num_video_layers, least', [(0, 0.9), (1, 0.95)])
def test_two_seconds_of_shift_are_told_from_none_where_there_is_a_pulse(
  num_video_layers, least
):
  params, before, after = trained(True, num_video_layers)
  assert any('layer' in k for k in params['video_tower']) == num_video_layers
  assert 0.35 < before['shift_auc'] < 0.65
  assert after['shift_auc'] > least
  assert after['replacement_auc'] > 0.85
  assert after['retrieval'] > 0.6
  # The adaptor looks where the pulse is, and goes over into a generator.
  sizes = dit.DitConfig(
    emb_dim=16, num_heads=2, head_dim=8, mlp_dim=32, num_layers=1
  )
  fresh = jax.eval_shape(
    sizes.module(SPEC).init,
    jax.random.key(0),
    {
      'encoder_inputs_patches': jnp.zeros((1, 80, 3, 2)),
      'decoder_input_frames': jnp.zeros((1, 160, 4)),
      'decoder_is_known': jnp.zeros((1, 160)),
      'flow_times': jnp.zeros(1),
      'decoder_lengths': jnp.full(1, 160),
    },
  )
  empty = jax.tree.map(lambda x: jnp.zeros(x.shape), nn.unbox(fresh['params']))
  taken, names, _ = warm_start.warm_start(empty, params)
  assert {n for n in names if n.startswith('adaptors')} == {
    f'adaptors_patches/{part}' for part in ('bias', 'gate', 'kernel', 'places')
  }
  np.testing.assert_array_equal(
    taken['adaptors_patches']['gate'], params['adaptors_patches']['gate']
  )


def test_without_a_pulse_clips_are_found_and_shifts_are_not():
  _, _, after = trained(timed=False)
  assert after['retrieval'] > 10 / 128
  assert 0.4 < after['shift_auc'] < 0.6


@pytest.mark.parametrize(
  ('make', 'named'),
  [
    (
      lambda: synchrony.SynchronyModel(
        dataclasses.replace(SPEC, crop_seconds=4.0), CONFIG
      ),
      'no two windows of 3 s that are 2 s apart',
    ),
    (
      lambda: synchrony.SynchronyModel(
        dataclasses.replace(SPEC, inputs=()), CONFIG
      ),
      'wanted features of a video',
    ),
    (
      lambda: sync_windows.Negatives(replaced_shares=(0.5, 0.25)),
      'replaced_shares',
    ),
    (
      lambda: dataclasses.replace(CONFIG, batch_weight=0.0, hard_weight=0.0),
      'nothing is told apart',
    ),
  ],
)
def test_what_cannot_be_told_is_named(make, named):
  with pytest.raises(ValueError, match=named):
    make()
