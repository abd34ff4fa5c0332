"""A patch that alone carries the beat is the one whose gate opens."""

import dataclasses

from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tests.fakes import fitting
from v2meow_jax import specs
from v2meow_jax.explain import effects
from v2meow_jax.explain import gates
from v2meow_jax.explain import influence
from v2meow_jax.extractors.embedded import patches as embedded
from v2meow_jax.inference import restore
from v2meow_jax.models import dit
from v2meow_jax.models import stage_model
from v2meow_jax.models.objectives import flow_matching
from v2meow_jax.models.sampling import flow
from v2meow_jax.models.sampling import options

RATE, SECONDS, NUM_PATCHES, PLANTED = 5.0, 2.0, 24, 9
FRAMES = round(RATE * SECONDS)
SPEC = specs.StageSpec(
  name='music',
  inputs=(
    specs.FeatureSpec(
      name='patches', dim=2, rate_hz=RATE, num_positions=NUM_PATCHES
    ),
  ),
  target=specs.FeatureSpec(name='latents', dim=2, rate_hz=RATE),
  crop_seconds=SECONDS,
)


def draw(rng, rows, frames=FRAMES):
  """Patches that flash at random, and music that goes with one of them."""
  flash, bright, noise = jax.random.split(rng, 3)
  is_on = jax.random.bernoulli(flash, 0.3, (rows, frames, NUM_PATCHES))
  other = jax.random.normal(bright, is_on.shape)
  seen = jnp.stack([is_on.astype(jnp.float32), other], -1)
  beats = 2.0 * is_on[..., PLANTED] - 0.6
  music = 0.3 * jax.random.normal(noise, (rows, frames, 2))
  return seen, music.at[..., 0].add(beats)


def trained():
  model = stage_model.StageModel(
    SPEC,
    dit.DitConfig(
      emb_dim=32, num_heads=2, head_dim=16, mlp_dim=64, num_layers=1
    ),
    flow_matching.FlowMatching(prefix_rate=0.0),
    flow.FlowSampling(steps=8),
  )  # fmt: skip
  params = nn.unbox(model.init(jax.random.key(0), model.example_batch(1)))

  def loss(params, rng):
    seen, music = draw(rng, 64)
    batch = {
      'encoder_inputs_patches': seen,
      'decoder_target_frames': music,
      'decoder_loss_weights': jnp.ones((64, FRAMES)),
    }
    return model.train_loss(params, {}, batch, rng)[0]

  params = fitting.fitted(loss, params['params'], optax.adam(5e-3), 400)
  return restore.ModelStage(model, params)


def explained(stage, seconds=3.0, **settings):
  """Windows of 2 s at 0 and 1.6 s, of which the second knows 0.4 s."""
  seen, music = draw(jax.random.key(5), 1, round(seconds * RATE))
  streams = {'patches': np.asarray(seen[0]), 'latents': np.asarray(music[0])}
  found = effects.measure(
    stage,
    streams,
    seconds=seconds,
    windows=options.Windows(prefix_seconds=0.4),
    settings=influence.Settings(**settings),
  )
  return streams, found


@pytest.mark.slow
def test_the_patch_that_alone_carries_the_beat_has_the_highest_gate():
  stage = trained()
  streams, found = explained(stage)
  opened = found.gates['patches']
  assert opened.shape == (15, NUM_PATCHES)
  np.testing.assert_allclose(opened.sum(1), 1, atol=1e-5)
  others = np.delete(opened, PLANTED, 1)
  # By chance 1 of 24.
  assert (opened.argmax(1) == PLANTED).mean() > 0.9
  assert opened[:, PLANTED].mean() > 5 * others.mean()
  # On a frame it is yellow, the others blue: red says which.
  heat = opened.mean(0) / opened.max()
  frame = np.full((40, 60, 3), 128, np.uint8)
  red = gates.tinted(frame, heat)[..., 0].astype(float)
  cells = red.reshape(4, 10, 6, 10).mean((1, 3)).ravel()
  assert cells.argmax() == PLANTED
  assert cells[PLANTED] > np.delete(cells, PLANTED).max() + 20
  # And without the picture of a second the flow goes elsewhere, then alone.
  assert not found.attention and found.unit == influence.MOVES
  table = found.without_bin['patches']
  share, chance = influence.near_share(table, reach=0)
  assert share > 0.8 > 2 * chance
  # A patch that carries nothing moves less than the one that does.
  moved = []
  for patch in (PLANTED, PLANTED + 1):
    changed = streams['patches'][None, :FRAMES].copy()
    changed[..., patch, :] = 0
    known = np.zeros(FRAMES, bool)
    music = streams['latents'][None, :FRAMES]
    before, after = (
      stage.velocities({'patches': x}, music, known)
      for x in (streams['patches'][None, :FRAMES], changed)
    )
    moved.append(((before - after) ** 2).mean())
  assert moved[0] > 5 * moved[1]


def test_patches_lie_where_the_encoder_saw_them():
  assert gates.EMBEDDED == (embedded.ROWS, embedded.COLUMNS)
  frame = np.zeros((40, 80, 3), np.uint8)
  square = np.zeros(16)
  square[5] = 1.0
  shown = gates.tinted(frame, square)
  # Four cells of 10 in the central square; the rest is as it was.
  assert not shown[:, :20].any() and not shown[:, 60:].any()
  assert (shown[10:20, 30:40, 0] > 100).all()
  assert (shown[20:, 20:60, 2] > shown[20:, 20:60, 0]).all()
  with pytest.raises(ValueError, match='18 patches'):
    gates.layout(18)


def test_there_is_nothing_to_explain_where_nothing_is_seen():
  spec = dataclasses.replace(SPEC, inputs=())
  stage = type('Stage', (), {'spec': spec})()
  with pytest.raises(ValueError, match='reads nothing of a video'):
    effects.check(stage, influence.Settings())


def test_a_flow_has_no_layer_to_show():
  stage = type('Stage', (), {'spec': SPEC})()
  with pytest.raises(ValueError, match='layer is 0.*follows a flow'):
    effects.check(stage, influence.Settings(layer=0))
