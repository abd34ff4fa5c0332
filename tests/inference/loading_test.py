"""A system's config of an earlier format says the same as one of today's."""

import json
import pathlib
import shutil

import jax
import numpy as np
import pytest

from v2meow_jax import stages
from v2meow_jax.files import atomic
from v2meow_jax.files import released
from v2meow_jax.inference import loading
from v2meow_jax.inference import system

# The configs with which one tiny system was released, in both formats.
FAKES = pathlib.Path(__file__).parents[1] / 'fakes'
FORMAT_1 = FAKES / 'embedded_format_1.json'
FORMAT_2 = FAKES / 'embedded_format_2.json'
NETWORK = {
  'kind': 'clip',
  'stream': 'clip',
  'weights': 'clip-vit-l14',
  'settings': {'batch_size': 4},
}


def test_the_embedded_system_of_format_1_is_the_one_of_format_2():
  config = loading.upgraded(json.loads(FORMAT_1.read_text()))
  assert config == json.loads(FORMAT_2.read_text())


def test_networks_of_format_1_become_rows_with_their_digests():
  embedded = json.loads(FORMAT_1.read_text())
  row = {'network': NETWORK, 'sha256': 'ab', 'companions': {'a.json': 'cd'}}
  del embedded['codec']
  config = loading.upgraded({**embedded, 'networks': [row]})
  assert config['networks'] == [
    {**NETWORK, 'sha256': 'ab', 'companions': {'a.json': 'cd'}}
  ]
  assert config['sound'] == 'acoustic'
  assert 'acoustic' in config['streams']


def test_a_config_of_today_stays_as_it_is():
  config = released.read_config(system.SHIPPED['tiny'])
  assert loading.upgraded(config) == config


def test_a_folder_of_format_1_is_loaded(tmp_path):
  folder = tmp_path / 'system'
  shutil.copytree(system.SHIPPED['tiny'], folder)
  config = json.loads(FORMAT_1.read_text())
  # Stage 1 has been trained again since, and reads plans.
  name = 'semantic.safetensors'
  config['files'][name] = atomic.sha256(folder / name)
  (folder / released.CONFIG_NAME).write_text(json.dumps(config))
  old, new = loading.load(folder), loading.load(system.SHIPPED['tiny'])
  assert {*old.extractors, 'plan'} == {*new.extractors}
  assert old.codec.stream == stages.acoustic(stages.TINY)
  np.testing.assert_array_equal(
    old.styles['style_text']('calm piano'),
    new.styles['style_text']('calm piano'),
  )


@pytest.mark.parametrize('more', [0, 1])
def test_groups_that_the_devices_do_not_make_are_named(more):
  count = jax.local_device_count()
  tensor = (count + 1) * more
  with pytest.raises(ValueError, match=f'tensor is {tensor}, .*here: {count},'):
    loading.load(system.SHIPPED['tiny'], tensor=tensor)
