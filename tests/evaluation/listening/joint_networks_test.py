"""Published joint embeddings listen for the metrics as they do for a style."""

import numpy as np
import pytest

from tests.fakes import clap_files
from v2meow_jax import media
from v2meow_jax import specs
from v2meow_jax.evaluation.listening import networks
from v2meow_jax.extractors import text_music
from v2meow_jax.pretrained.text_music import clap

pytestmark = pytest.mark.torch


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  path = tmp_path_factory.mktemp('clap')
  clap_files.write(path)
  return path


def test_rows_and_texts_are_those_of_the_style(folder):
  heard = networks.load('clap-music', folder)
  network = clap.Clap(folder)
  stream = specs.FeatureSpec(name='style', dim=network.dim, rate_hz=0.0)
  pair = text_music.extractors(stream, network)
  audio = clap_files.music(20.0)
  rows = heard(audio)
  assert rows.shape == (2, network.dim)
  half = 10 * audio.rate_hz
  for row, samples in zip(
    rows, (audio.samples[:half], audio.samples[half:]), strict=True
  ):
    part = media.Audio(samples=samples, rate_hz=audio.rate_hz)
    np.testing.assert_allclose(row, pair['style'](part)[0], atol=1e-5)
  np.testing.assert_allclose(
    heard.embed_text('calm'), pair['style_text']('calm')[0], atol=1e-6
  )


def test_another_network_has_another_digest(folder, tmp_path):
  first = networks.load('clap-music', folder).digest
  clap_files.write(tmp_path, drop_path_rate=0.1, mlp_ratio=2.0)
  assert networks.load('clap-music', tmp_path).digest != first
