"""The two towers: their loss by hand, what they see, how they are split."""

import dataclasses
import functools
import math

from flax import linen as nn
import jax
import numpy as np
import pytest

from tests.fakes import contrastive_losses
from tests.fakes import virtual_devices
from v2meow_jax.models import logical_axes
from v2meow_jax.models import towers
from v2meow_jax.models.objectives import contrastive as contrastive_loss

pytestmark = pytest.mark.slow

CONFIG = contrastive_losses.CONFIG
MODEL = towers.ContrastiveModel(CONFIG)


@pytest.fixture(scope='module')
def params():
  batch = contrastive_losses.batch(0)
  return nn.unbox(MODEL.init(jax.random.key(0), batch))['params']


@functools.partial(jax.jit, static_argnames='kind')
def embed(params, kind, inputs):
  method = {
    'text': towers.TextMusicTowers.embed_text,
    'music': towers.TextMusicTowers.embed_music,
  }[kind]
  return towers.TextMusicTowers(CONFIG).apply(
    {'params': params}, inputs, method=method
  )


@functools.partial(jax.jit, static_argnames='model')
def evaluate(params, batch, key=None, model=MODEL):
  """Loss, metrics and extras, and the gradient."""
  loss_fn = jax.value_and_grad(model.train_loss, has_aux=True)
  (loss, (metrics, extras)), grads = loss_fn(params, {}, batch, key)
  return loss, metrics, extras, grads


def test_info_nce_by_hand():
  logits = np.log(np.array([[2, 1], [3, 4]], np.float32))
  rows = -np.log([2 / 3, 4 / 7])
  columns = -np.log([2 / 5, 4 / 5])
  wanted = (rows.mean() + columns.mean()) / 2
  info_nce = jax.jit(contrastive_loss.info_nce)
  assert float(info_nce(logits)) == pytest.approx(wanted, rel=1e-6)
  nothing = info_nce(np.zeros((32, 32), np.float32))
  assert float(nothing) == pytest.approx(math.log(32), rel=1e-6)


def test_the_loss_is_info_nce_of_scaled_cosines(params):
  batch = contrastive_losses.batch(1)
  loss, metrics, extras, _ = evaluate(params, batch)
  text = np.asarray(embed(params, 'text', batch['text_ids']))
  music = np.asarray(embed(params, 'music', batch['log_mel']))
  np.testing.assert_allclose(np.linalg.norm(text, axis=1), 1, rtol=1e-5)
  np.testing.assert_allclose(np.linalg.norm(music, axis=1), 1, rtol=1e-5)
  logits = text @ music.T / 0.07
  wanted = jax.jit(contrastive_loss.info_nce)(logits)
  assert float(loss) == pytest.approx(float(wanted), rel=1e-4)
  assert float(metrics['scale']) == pytest.approx(1 / 0.07, rel=1e-5)
  found = (logits.argmax(1) == np.arange(len(logits))).mean()
  assert float(metrics['text_to_music']) == found and extras == {}


def test_the_scale_stops_at_a_hundred(params):
  batch = contrastive_losses.batch(1)
  large = {**params, 'log_scale': np.float32(20.0)}
  _, metrics, _, grads = evaluate(large, batch)
  assert float(metrics['scale']) == pytest.approx(100, rel=1e-4)
  assert float(grads['log_scale']) == 0


def test_a_row_depends_on_itself_and_on_the_order_of_its_bytes(params):
  ids = contrastive_losses.batch(2)['text_ids']
  rows = np.asarray(embed(params, 'text', ids))
  alone = np.asarray(embed(params, 'text', ids[3:4]))
  np.testing.assert_allclose(rows[3:4], alone, atol=1e-5)
  swapped = ids.copy()
  swapped[:, [1, 2]] = swapped[:, [2, 1]]
  changed = np.abs(np.asarray(embed(params, 'text', swapped)) - rows).max(1)
  assert (changed[ids[:, 1] != ids[:, 2]] > 1e-4).all()


def test_music_is_seen_in_patches_of_time_and_pitch(params):
  spectra = contrastive_losses.batch(2)['log_mel']
  rows = np.asarray(embed(params, 'music', spectra))
  for axis in (1, 2):
    turned = np.asarray(embed(params, 'music', np.roll(spectra, 4, axis)))
    assert (np.abs(turned - rows).max(1) > 1e-4).all()


def test_patches_must_divide_the_spectrogram():
  uneven = dataclasses.replace(CONFIG, patch_frames=3)
  with pytest.raises(ValueError, match='16 frames.*patches of 3'):
    towers.ContrastiveModel(uneven).init(
      jax.random.key(0), contrastive_losses.batch(0)
    )


@pytest.mark.slow
def test_no_key_means_no_dropout_and_remat_changes_nothing(params):
  batch = contrastive_losses.batch(3)
  noisy = dataclasses.replace(CONFIG, dropout_rate=0.3)
  plain = evaluate(params, batch)[0]
  for config in (noisy, dataclasses.replace(noisy, remat=True)):
    model = towers.ContrastiveModel(config)
    found = evaluate(params, batch, model=model)[0]
    assert float(found) == pytest.approx(float(plain), rel=1e-6)
    random = evaluate(params, batch, jax.random.key(0), model=model)[0]
    assert float(random) != pytest.approx(float(plain), rel=1e-4)


def test_every_parameter_names_its_axes():
  boxed = jax.eval_shape(
    MODEL.init, jax.random.key(0), contrastive_losses.batch(0)
  )
  specs = jax.tree_util.tree_leaves_with_path(
    nn.get_partition_spec(boxed),
    is_leaf=lambda x: isinstance(x, jax.sharding.PartitionSpec),
  )
  shapes = jax.tree.leaves(nn.unbox(boxed))
  for (path, spec), shape in zip(specs, shapes, strict=True):
    assert len(spec) == len(shape.shape), path
    assert set(spec) <= set(logical_axes.NAMES), path


def test_full_size_has_the_parameters_that_the_recipe_tells():
  sizes = towers.TowerSizes(
    joint_dim=128,
    emb_dim=768,
    num_heads=12,
    head_dim=64,
    mlp_dim=2048,
    num_layers=12,
    patch_frames=20,
    patch_bands=16,
  )
  batch = {
    'text_ids': np.zeros((1, 256), np.int32),
    'log_mel': np.zeros((1, 1000, 128), np.float32),
  }
  model = towers.ContrastiveModel(sizes)
  shapes = jax.eval_shape(model.init, jax.random.key(0), batch)
  layer = 4 * 768 * 768 + 3 * 768 * 2048 + 2 * 768
  tower = 12 * layer + 768 + 768 * 128
  inputs = 384 * 768 + 20 * 16 * 768 + (256 + 400) * 768
  total = sum(math.prod(x.shape) for x in jax.tree.leaves(nn.unbox(shapes)))
  assert total == 2 * tower + inputs + 1


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_negatives_are_those_of_all_devices(tmp_path):
  meshes = ('1,1,1', '8,1,1', '2,2,2')
  found = virtual_devices.run(
    'tests.fakes.contrastive_losses', tmp_path, *meshes
  )
  assert len(found['1,1,1']) == 4
  # log(rows of a device) would be the loss at chance of what it sees alone.
  assert found['1,1,1'][0] > math.log(2) + 0.5
  for mesh in meshes[1:]:
    np.testing.assert_allclose(found[mesh], found['1,1,1'], rtol=1e-5)
