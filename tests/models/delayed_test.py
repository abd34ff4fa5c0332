"""Delayed levels: what a place of the target may know, and where streams lie."""

import dataclasses
import functools
from typing import Any

from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.fakes import delayed_stage
from v2meow_jax import specs
from v2meow_jax.models import batch_layouts
from v2meow_jax.models.blocks import layer_stacking
from v2meow_jax.models.objectives import alignment
from v2meow_jax.models.objectives import joint
from v2meow_jax.models.objectives import next_token
from v2meow_jax.models.readings import input_attention

pytestmark = pytest.mark.slow

FRAMES, LEVELS = 20, 3


@pytest.mark.parametrize('shape', [(2, 5, 3), (1, 1, 4), (3, 7, 1)])
def test_undelay_inverts_delay(shape):
  x = np.random.default_rng(0).integers(1, 9, shape)
  steps = batch_layouts.delay(jnp.asarray(x), 0)
  assert steps.shape == (shape[0], shape[1] + shape[2] - 1, shape[2])
  np.testing.assert_array_equal(batch_layouts.undelay(steps), x)
  # The corners, and they alone, are filled.
  assert (np.asarray(steps) == 0).sum() == shape[0] * shape[2] * (shape[2] - 1)


def test_a_crop_is_as_many_steps_as_frames_and_levels_but_one():
  model = delayed_stage.make()
  steps = batch_layouts.decoder_positions(model.layout, model.spec)
  assert steps == FRAMES + LEVELS - 1
  assert model.decoder_length == FRAMES * LEVELS


def test_a_place_knows_what_was_written_before_its_step_and_no_more():
  """Level k of frame t is written at step t + k."""
  model, params = delayed_stage.make(), delayed_stage.params()
  codes = np.random.default_rng(1).integers(0, 8, (1, FRAMES, LEVELS))
  logits = delayed_stage.logits(model, params, delayed_stage.batch(1, codes))
  step = np.add.outer(np.arange(FRAMES), np.arange(LEVELS))
  for frame, level in [(0, 0), (4, 0), (4, 2), (11, 1), (19, 0), (18, 2)]:
    others = codes.copy()
    others[0, frame, level] = (others[0, frame, level] + 1) % 8
    changed = delayed_stage.logits(
      model, params, delayed_stage.batch(1, others)
    )
    moved = np.abs(changed - logits)[0].reshape(FRAMES, LEVELS, -1).max(-1)
    np.testing.assert_array_equal(moved > 1e-7, step > frame + level)


def test_every_input_is_seen_and_has_its_time():
  model, params = delayed_stage.make(), delayed_stage.params()
  batch = delayed_stage.batch(1)
  logits = delayed_stage.logits(model, params, batch)
  for stream in delayed_stage.STAGE.inputs:
    key = f'encoder_inputs_{stream.name}'
    changed = {**batch, key: batch[key] + 1}
    assert (
      np.abs(delayed_stage.logits(model, params, changed) - logits).max() > 1e-4
    )
  times = delayed_stage.SIZES.input_times(delayed_stage.STAGE)
  patches = np.append((np.arange(10) + 0.5) / 5, np.nan)
  motion = (np.arange(10) + 0.5) / 5
  np.testing.assert_allclose(times, [*patches, *motion, np.nan])
  assert model.encoder_length == len(times)


def test_the_embedding_of_music_knows_no_picture_and_that_of_a_picture_no_music():
  model, params = delayed_stage.make(), delayed_stage.params()
  names = ('video_embedding', 'music_embedding')
  one, other = delayed_stage.batch(1, seed=1), delayed_stage.batch(1, seed=2)
  keys = [k for k in one if k.startswith('encoder')]
  mixed = {**one, **{k: other[k] for k in keys}}
  first, second, both = (
    delayed_stage.outputs(model, params, b, names) for b in (one, other, mixed)
  )
  for name, same, different in (
    ('music_embedding', first, second),
    ('video_embedding', second, first),
  ):
    np.testing.assert_allclose(both[name], same[name], atol=1e-6)
    assert np.abs(both[name] - different[name]).max() > 1e-2
    np.testing.assert_allclose((both[name] ** 2).sum(-1), 1, atol=1e-5)
  # A style is what a prompt says, not what is seen.
  styled = {**one, 'encoder_inputs_style': one['encoder_inputs_style'] + 1}
  np.testing.assert_allclose(
    delayed_stage.outputs(model, params, styled, names)['video_embedding'],
    first['video_embedding'],
    atol=1e-6,
  )


def test_every_parameter_has_a_gradient_and_names_its_axes():
  parts = alignment.Alignment(onset_weight=1.0)
  model = delayed_stage.make(joint.Joint(form='sigmoid', alignment=parts))
  batch: Any = model.example_batch(1)
  boxed = model.init(jax.random.key(0), batch)['params']
  specs_of = nn.get_partition_spec(boxed)
  for path, spec in jax.tree_util.tree_leaves_with_path(
    specs_of, is_leaf=lambda x: isinstance(x, jax.sharding.PartitionSpec)
  ):
    name = jax.tree_util.keystr(path)
    assert None not in tuple(spec), name
    assert len(tuple(spec)) or 'log_scale' in name or 'bias' in name
  batch = delayed_stage.batch(4)
  loss = lambda p: model.train_loss(p, {}, batch, None)[0]  # noqa: E731
  grads = jax.jit(jax.grad(loss))(delayed_stage.params())
  silent = [
    jax.tree_util.keystr(path)
    for path, g in jax.tree_util.tree_leaves_with_path(grads)
    if not np.abs(g).max() > 0
  ]
  assert not silent


def test_attention_to_the_inputs_is_shared_among_their_places():
  model, params = delayed_stage.make(), delayed_stage.params()
  batch = delayed_stage.batch(2)
  weights = jax.jit(functools.partial(input_attention.input_attention, model))(
    params, batch
  )
  lengths = {'patches': 20 * 3, 'motion': 10, 'style': 1}
  assert {k: x.shape for k, x in weights.items()} == {
    k: (2, 2, FRAMES * LEVELS, n) for k, n in lengths.items()
  }
  total = sum(np.asarray(x).sum(-1) for x in weights.values())
  np.testing.assert_allclose(total, 1, atol=1e-5)
  # Level 1 of a frame is written where level 0 of the next one is.
  places = np.asarray(weights['motion']).reshape(2, 2, FRAMES, LEVELS, -1)
  np.testing.assert_array_equal(places[:, :, :-1, 1], places[:, :, 1:, 0])
  shares = delayed_stage.SIZES.shares(
    delayed_stage.PATCHES, delayed_stage.STAGE
  )
  # Ten vectors of two frames of three patches, and one of all.
  np.testing.assert_allclose(shares.sum(1), 1)
  assert (shares[4] > 0).nonzero()[0].tolist() == list(range(24, 30))
  np.testing.assert_allclose(shares[10], 1 / 60)


def test_a_fused_attention_gives_the_same_logits():
  params, batch = delayed_stage.params(), delayed_stage.batch(2)
  fused = dataclasses.replace(delayed_stage.SIZES, fused_attention=True)
  np.testing.assert_allclose(
    delayed_stage.logits(delayed_stage.make(sizes=fused), params, batch),
    delayed_stage.logits(delayed_stage.make(), params, batch),
    atol=1e-4,
  )


def test_scanned_layers_compute_and_sample_the_same():
  params, batch = delayed_stage.params(), delayed_stage.batch(2)
  scanned = dataclasses.replace(delayed_stage.SIZES, scan_layers=True)
  model, plain = delayed_stage.make(sizes=scanned), delayed_stage.make()
  stacked = layer_stacking.stack(params)
  np.testing.assert_allclose(
    delayed_stage.logits(model, stacked, batch),
    delayed_stage.logits(plain, params, batch),
    atol=1e-5,
  )
  rngs = jax.random.split(jax.random.key(0), 2)
  np.testing.assert_array_equal(
    model.sample_batch(stacked, model.inputs_of(batch), rngs),
    plain.sample_batch(params, plain.inputs_of(batch), rngs),
  )


def test_what_it_cannot_serve_is_refused():
  latents = specs.FeatureSpec(name='latents', dim=3, rate_hz=10.0)
  spec = dataclasses.replace(delayed_stage.STAGE, target=latents)
  with pytest.raises(ValueError, match="continuous stream 'latents'"):
    delayed_stage.SIZES.module(spec)
  spec = dataclasses.replace(delayed_stage.STAGE, inputs=(delayed_stage.STYLE,))
  with pytest.raises(ValueError, match='at least one of them with a rate'):
    delayed_stage.SIZES.module(spec)
  model = delayed_stage.make(next_token.NextToken(legal=False))
  with pytest.raises(ValueError, match='legal=True'):
    model.train_loss(delayed_stage.params(), {}, delayed_stage.batch(1), None)
  for count in (0, 3):
    with pytest.raises(ValueError, match=f'num_music_layers is {count}'):
      dataclasses.replace(delayed_stage.SIZES, num_music_layers=count)
