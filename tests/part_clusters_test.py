"""Clusters are used with the encoder that they were fitted to, or not at all."""

import numpy as np
import pytest
from safetensors import numpy as st

from tests.fakes import folded_encoder
from v2meow_jax import parts
from v2meow_jax import specs
from v2meow_jax.extractors import clustered_tokens
from v2meow_jax.pretrained.audio import mert
from v2meow_jax.pretrained.audio import musicfm_weights

STREAM = specs.TokenSpec(name='semantic', codebook_size=6, rate_hz=25.0)
PARAMS = {
  'mean': np.zeros(4, np.float32),
  'std': np.ones(4, np.float32),
  'centroids': np.eye(6, 4, dtype=np.float32),
}


@pytest.fixture
def weights(tmp_path, monkeypatch):
  """Of networks that fold samples, whatever their layer."""

  def load(file, *, layer: int = 7):
    del file, layer
    return folded_encoder.Folded()

  monkeypatch.setattr(musicfm_weights, 'load_encoder', load)
  monkeypatch.setattr(mert, 'load', load)
  path = tmp_path / 'weights.safetensors'
  path.write_bytes(b'some')
  return path


@pytest.fixture
def network(weights, tmp_path):
  """A function that makes one, whose clusters were fitted at layer 7."""

  def make(kind='musicfm', file=weights, **settings):
    settings = {'clusters': str(tmp_path / 'clusters.safetensors')} | settings
    return parts.Part(
      kind=kind, stream='semantic', weights=str(file), settings=settings
    )

  fitted = make()
  clustered_tokens.write_clusters(
    tmp_path / 'clusters.safetensors', PARAMS, fitted.encoder_identity()
  )
  return make


def test_clusters_come_back_for_the_same_encoder(network):
  tokens = network().build(STREAM)
  np.testing.assert_array_equal(tokens.params['centroids'], PARAMS['centroids'])
  # What is a default may be said.
  assert network(layer=7).build(STREAM).params.keys() == PARAMS.keys()


def test_weights_may_be_called_otherwise(network, weights, tmp_path):
  other = tmp_path / 'renamed.safetensors'
  other.write_bytes(weights.read_bytes())
  tokens = network(file=other).build(STREAM)
  np.testing.assert_array_equal(tokens.params['centroids'], PARAMS['centroids'])


@pytest.mark.parametrize(
  ('changes', 'was', 'wanted'),
  [
    ({'layer': 9}, "'layer': 7", "'layer': 9"),
    ({'kind': 'mert'}, "'kind': 'musicfm'", "'kind': 'mert'"),
  ],
)
def test_clusters_of_another_encoder_are_refused(network, changes, was, wanted):
  with pytest.raises(ValueError, match='fitted to') as e:
    network(**changes).build(STREAM)
  assert was in str(e.value) and wanted in str(e.value)


def test_clusters_of_other_weights_are_refused(network, weights):
  weights.write_bytes(b'other')
  with pytest.raises(ValueError, match='were fitted to'):
    network().build(STREAM)


def test_clusters_that_do_not_say_of_what_they_are_are_refused(
  network, tmp_path
):
  st.save_file(PARAMS, tmp_path / 'clusters.safetensors')
  with pytest.raises(ValueError, match='fitted without saying to what'):
    network().build(STREAM)
