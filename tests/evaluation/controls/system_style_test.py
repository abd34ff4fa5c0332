"""The style embedding of a system scores as the system itself embeds."""

import dataclasses
import json
import shutil

import numpy as np
import pytest

from v2meow_jax import media
from v2meow_jax.evaluation.controls import system_style
from v2meow_jax.files import released
from v2meow_jax.inference import system
from v2meow_jax.synthetic import held_out

pytestmark = pytest.mark.slow


@pytest.fixture(scope='module')
def network():
  return system_style.load('tiny-style', None)


def unit(rows):
  return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def test_music_lies_nearest_the_words_of_its_genre(network):
  # Three scenes of each genre; chance is one in six.
  scenes = held_out.probe_scenes(11, 3, 10.0)
  music = np.stack([network(held_out.music(s)).mean(0) for s in scenes])
  names = list(held_out.PROMPTS)
  words = np.stack([network.embed_text(held_out.PROMPTS[n]) for n in names])
  nearest = (unit(music) @ unit(words).T).argmax(1)
  hits = [names[i] == s.genre for i, s in zip(nearest, scenes, strict=True)]
  assert np.mean(hits) > 0.6


def test_rows_are_the_vectors_that_the_system_s_stages_would_read(network):
  plays = system.load('tiny')
  rng = np.random.default_rng(0)
  noise = rng.normal(0, 0.1, 400_000).astype(np.float32)
  audio = media.Audio(samples=noise, rate_hz=16_000)
  rows = network(audio)
  assert rows.shape == (3, network.dim) == (3, 64)
  for row, start in zip(rows, (0, 160_000, 320_000), strict=True):
    window = dataclasses.replace(audio, samples=noise[start : start + 160_000])
    np.testing.assert_array_equal(row, plays.styles['style'](window)[0])
  np.testing.assert_array_equal(
    network.embed_text('calm piano'),
    plays.styles['style_text']('calm piano')[0],
  )
  assert network.digest == plays.digest


def test_another_system_names_it_and_must_be_whole(network, tmp_path):
  folder = tmp_path / 'mine'
  shutil.copytree(system.folder('tiny'), folder)
  mine = system_style.load('ignored', folder)
  assert (network.name, mine.name) == ('tiny-style', 'tiny-style')
  assert mine.digest == network.digest
  file = folder / 'config.json'
  config = json.loads(file.read_text()) | {'name': 'me'}
  config.pop('config_sha256', None)
  file.write_text(json.dumps(config))
  assert system_style.load('ignored', folder).name == 'me-style'
  (folder / 'extractors.safetensors').unlink()
  with pytest.raises(released.DamagedSystem, match='extractors.safetensors'):
    system_style.load('ignored', folder)
