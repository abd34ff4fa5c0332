"""Every network is found by its name, or it is said how to get it."""

import importlib
import importlib.util

import numpy as np
import pytest

from v2meow_jax import media
from v2meow_jax.evaluation.listening import networks
from v2meow_jax.inference import system
from v2meow_jax.pretrained import ledger
from v2meow_jax.pretrained import store
from v2meow_jax.pretrained.text_music import segments


@pytest.fixture(autouse=True)
def nothing_here(tmp_path, monkeypatch):
  """No weights, and no hub cache."""
  monkeypatch.setenv(store.VARIABLE, str(tmp_path / 'weights'))
  monkeypatch.setenv('HF_HOME', str(tmp_path / 'hub'))
  monkeypatch.delenv('HF_HUB_CACHE', raising=False)
  return tmp_path


@pytest.mark.parametrize('entry', networks.ENTRIES, ids=lambda e: e.name)
def test_an_entry_names_what_there_is(entry):
  module, _, function = entry.loader.rpartition('.')
  assert callable(getattr(importlib.import_module(module), function))
  assert networks.find(entry.name) is entry
  assert all(ledger.find(a) for a in entry.artefacts)
  assert bool(entry.modules) == bool(entry.extra)
  assert bool(entry.folder) == bool(entry.url)


def test_names_are_unique_and_a_wrong_one_lists_them():
  names = [e.name for e in networks.ENTRIES]
  assert len(set(names)) == len(names)
  with pytest.raises(
    ValueError, match="'vgg'; there are tiny-style, clap-music,"
  ):
    networks.load('vgg')


@pytest.mark.parametrize('name', ['vggish', 'vggish-pca', 'panns-softmax'])
def test_weights_that_are_not_here_are_told_where_from(name):
  artefact = ledger.find(networks.find(name).artefacts[0])
  with pytest.raises(store.WeightsError) as caught:
    networks.load(name)
  assert f'v2meow weights fetch {artefact.name}' in str(caught.value)
  assert artefact.url in str(caught.value)
  assert networks.missing(name) == str(caught.value)


def test_a_folder_that_is_not_here_is_told_where_to_put(
  nothing_here, monkeypatch
):
  monkeypatch.setattr(importlib.util, 'find_spec', lambda name: name)
  said = networks.missing('trill')
  assert said is not None
  assert str(nothing_here / 'weights' / 'trill') in said
  assert 'tfhub.dev/google/nonsemantic-speech-benchmark/trill/3' in said
  with pytest.raises(store.WeightsError, match='elsewhere'):
    networks.load('trill', nothing_here / 'elsewhere')


@pytest.mark.parametrize(
  ('name', 'needs', 'extra'),
  [('trill', 'tensorflow', 'data'), ('ast-softmax', 'torch', 'hub')],
)
def test_a_package_that_is_missing_is_told_how_to_install(
  name, needs, extra, monkeypatch
):
  monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None)
  with pytest.raises(ImportError, match=rf'{needs}.*\[{extra}\]'):
    networks.load(name)
  said = networks.missing(name)
  assert said is not None and needs in said


def music(seconds):
  """Chords that change every two seconds, float32."""
  rng = np.random.default_rng(1)
  times = np.arange(round(seconds * 16_000)) / 16_000
  hertz = rng.choice([220.0, 277.2, 329.6, 440.0], size=1 + int(seconds) // 2)
  samples = 0.3 * np.sin(2 * np.pi * hertz[(times // 2).astype(int)] * times)
  samples += rng.normal(0, 0.02, len(samples))
  return media.Audio(samples=samples.astype(np.float32), rate_hz=16_000)


def test_the_style_of_the_embedded_system_needs_nothing():
  assert networks.missing('tiny-style') is None
  network = networks.load('tiny-style')
  whole = system.load('tiny')
  assert network.name == 'tiny-style' and network.output == 'embedding'
  assert network.digest == whole.digest
  assert 'not comparable' in networks.find('tiny-style').what
  audio = music(24.0)
  rows = network(audio)
  assert rows.shape == (2, network.dim) and rows.dtype == np.float32
  np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-4)
  for row, segment in zip(rows, segments.of_audio(audio), strict=True):
    np.testing.assert_array_equal(row, whole.styles['style'](segment)[0])


def test_the_style_of_another_system_is_named_after_it():
  network = networks.load('tiny-style', system.SHIPPED['tiny'])
  assert network.name == f'{system.load("tiny").config["name"]}-style'
