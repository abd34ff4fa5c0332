"""Towers from a file are those that were trained, less the centres of text and music."""

from flax import linen as nn
import jax
import numpy as np
import pytest

from v2meow_jax.extractors import tower_inputs
from v2meow_jax.extractors import trained_towers
from v2meow_jax.files import released
from v2meow_jax.files import tensors
from v2meow_jax.models import towers

pytestmark = pytest.mark.slow

SIZES = {
  'joint_dim': 6,
  'emb_dim': 8,
  'num_heads': 2,
  'head_dim': 4,
  'mlp_dim': 8,
  'num_layers': 1,
  'patch_frames': 500,
  'patch_bands': 64,
}
TEXT_LENGTH = 12
MODEL = towers.TextMusicTowers(towers.TowerSizes(**SIZES))
TEXTS = ['slow strings', 'a loud drum', 'jazz']


@pytest.fixture(scope='module')
def weights():
  ids = np.zeros((1, TEXT_LENGTH), np.int32)
  log_mel = np.zeros((1, 1000, 128), np.float32)
  params = jax.jit(MODEL.init)(jax.random.key(0), ids, log_mel)['params']
  rng = np.random.default_rng(0)
  centers = {
    kind: rng.normal(0, 0.2, 6).astype(np.float32) for kind in ('text', 'music')
  }
  params = jax.tree.map(np.asarray, nn.unbox(params))
  return {'params': params, 'centers': centers}


@pytest.fixture
def folder(weights, tmp_path):
  """What `v2meow export --towers` writes."""
  tensors.write(tmp_path / trained_towers.TENSORS, weights, None)
  released.write_config(
    tmp_path, {'model': trained_towers.MODEL, 'config': SIZES}
  )
  return tmp_path


def by_hand(rows, center):
  """Unit vectors of what is left of the rows beyond the centre."""
  rows = np.asarray(rows, np.float64) - center
  return rows / np.sqrt((rows**2).sum(1, keepdims=True))


def test_a_centre_is_taken_away_before_vectors_are_of_unit_length(
  weights, folder
):
  read, settings = trained_towers.read('style', folder)
  network = trained_towers.build(read, **settings)
  variables = {'params': weights['params']}
  ids = np.stack([tower_inputs.text_ids(t, TEXT_LENGTH) for t in TEXTS])
  apply = jax.jit(MODEL.apply, static_argnames='method')
  raw = apply(variables, ids, method=towers.TextMusicTowers.embed_text)
  wanted = by_hand(raw, weights['centers']['text'])
  found = network.embed_texts(TEXTS)
  np.testing.assert_allclose(found, wanted, atol=1e-5)
  assert np.abs(found - np.asarray(raw)).max() > 0.05
  waveforms = np.random.default_rng(1).normal(0, 0.1, (2, 160_000))
  spectra = np.stack([tower_inputs.log_mel(w) for w in waveforms])
  raw = apply(variables, spectra, method=towers.TextMusicTowers.embed_music)
  wanted = by_hand(raw, weights['centers']['music'])
  np.testing.assert_allclose(network.embed_music(waveforms), wanted, atol=1e-5)


def test_a_system_carries_them_below_the_name_of_their_stream(
  weights, folder, tmp_path
):
  read, settings = trained_towers.read('style', folder)
  file = tmp_path / 'extractors.safetensors'
  tensors.write(file, {'style': read, 'other': {'x': np.zeros(1)}}, None)
  again, same = trained_towers.read('style', file, **settings)
  assert same == settings == {'config': SIZES}
  flat, wanted = tensors.flatten(again), tensors.flatten(weights)
  assert sorted(flat) == sorted(wanted)
  for name, value in wanted.items():
    np.testing.assert_array_equal(flat[name], value)


def test_a_folder_of_something_else_is_refused(folder):
  released.write_config(folder, {'model': 'StageModel', 'config': SIZES})
  with pytest.raises(released.DamagedSystem, match='holds no towers'):
    trained_towers.read('style', folder)
