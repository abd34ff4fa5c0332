"""A system's files come back as written, or the damaged one is named."""

import json

import numpy as np
import pytest

from v2meow_jax.files import atomic
from v2meow_jax.files import released
from v2meow_jax.files import tensors

TREE = {'a': {'w': np.zeros((2, 3), np.float32)}}


@pytest.fixture
def folder(tmp_path):
  tensors.write(tmp_path / 'm.safetensors', TREE)
  released.write_config(tmp_path, {'name': 'test'})
  return tmp_path


def test_the_config_comes_back(folder):
  assert released.read_config(folder)['name'] == 'test'


def test_one_flipped_bit_is_named_with_both_digests(folder):
  path = folder / 'm.safetensors'
  data = bytearray(path.read_bytes())
  wanted = atomic.sha256(path)
  data[-1] ^= 1
  path.write_bytes(data)
  with pytest.raises(released.DamagedSystem) as error:
    released.read_config(folder)
  assert 'm.safetensors' in str(error.value)
  assert wanted in str(error.value)
  assert atomic.sha256(path) in str(error.value)


def test_a_missing_file_is_named(folder):
  (folder / 'm.safetensors').unlink()
  with pytest.raises(released.DamagedSystem, match='m.safetensors'):
    released.read_config(folder)


def test_a_number_that_was_edited_in_the_config_is_noticed(tmp_path):
  released.write_config(tmp_path, {'sampling': {'temperature': 0.95}, 'é': 1})
  path = tmp_path / released.CONFIG_NAME
  text = path.read_text('utf-8')
  # Another layout of the same content is the same.
  path.write_text(json.dumps(json.loads(text), sort_keys=True), 'utf-8')
  assert released.read_config(tmp_path)['sampling'] == {'temperature': 0.95}
  path.write_text(text.replace('0.95', '0.96'), 'utf-8')
  with pytest.raises(
    released.DamagedSystem, match='was changed after'
  ) as error:
    released.read_config(tmp_path)
  assert "remove its line 'config_sha256'" in str(error.value)
  # As the error says, and as in systems from before.
  facts = json.loads(path.read_text('utf-8'))
  del facts['config_sha256']
  path.write_text(json.dumps(facts), 'utf-8')
  assert released.read_config(tmp_path)['sampling'] == {'temperature': 0.96}


@pytest.mark.parametrize(
  'text', ['', '[]', '{"format": 99}', 'not json', '[' * 100_000]
)
def test_a_config_that_is_none_is_refused(folder, text):
  (folder / released.CONFIG_NAME).write_text(text)
  with pytest.raises(released.DamagedSystem, match='config.json'):
    released.read_config(folder)


@pytest.mark.parametrize(
  'files', [None, 3, {'../outside': 'ab'}, {'/etc/passwd': 'ab'}]
)
def test_a_config_names_files_of_its_own_folder_alone(files, folder):
  text = json.dumps({'format': released.FORMAT, 'files': files})
  (folder / released.CONFIG_NAME).write_text(text)
  with pytest.raises(released.DamagedSystem, match='files of its folder'):
    released.read_config(folder)


def test_a_folder_without_config_is_no_system(tmp_path):
  with pytest.raises(released.DamagedSystem, match='v2meow export'):
    released.read_config(tmp_path)


def test_the_config_names_every_tensor_file(folder):
  config = json.loads((folder / released.CONFIG_NAME).read_text())
  assert list(config['files']) == ['m.safetensors']
