"""A system lives in a bucket as in a folder, and half of one is none."""

import json
import pathlib

import pytest

from v2meow_jax.files import atomic
from v2meow_jax.files import released
from v2meow_jax.files import tensors
from v2meow_jax.inference import export
from v2meow_jax.inference import loading
from v2meow_jax.inference import system

pytestmark = pytest.mark.slow

URL = 'gs://bucket/systems/mine'
CONFIG = 'bucket/systems/mine/config.json'


def pack(out: str):
  """Packs the parts of the tiny system anew."""
  config = loading.upgraded(released.read_config(system.SHIPPED['tiny']))
  return export.pack(
    out,
    stages=[
      (
        {'model': 'StageModel', **row['model']},
        tensors.read(system.SHIPPED['tiny'] / f'{row["name"]}.safetensors'),
        row['trained_steps'],
      )
      for row in config['stages']
    ],
    parts=[
      part for part, _ in loading.read_parts(system.SHIPPED['tiny'], config)
    ],
    name='mine',
    weights='float16',
    licence='ours',
  )


@pytest.fixture
def packed(bucket) -> dict[str, bytes]:
  """The objects of a system in a bucket."""
  pack(URL)
  return dict(bucket.objects)


def test_a_system_is_exported_and_loaded_as_from_a_folder(
  packed, bucket, tmp_path
):
  here = pack(str(tmp_path / 'mine'))
  files = {p.name: p.read_bytes() for p in here.iterdir()}
  assert {pathlib.PurePath(n).name: c for n, c in packed.items()} == files
  loaded = system.load(URL)
  assert str(loaded.folder) == URL
  assert loaded.digest == system.load(here).digest
  # Notes of whoever published it stay.
  bucket.objects['bucket/systems/mine/README.md'] = b'notes'
  pack(URL)
  assert bucket.objects == {**packed, 'bucket/systems/mine/README.md': b'notes'}


def test_a_folder_that_is_no_system_is_not_replaced(bucket):
  bucket.objects['bucket/systems/mine/thesis.tex'] = b'1'
  with pytest.raises(ValueError, match='exists and is not a system'):
    pack(URL)
  assert list(bucket.objects) == ['bucket/systems/mine/thesis.tex']


def test_what_an_interrupted_export_leaves_is_no_system(packed, bucket):
  moved, undisturbed = [], bucket.before

  def before(operation, key):
    if operation == 'copy':
      moved.append(key)
      if len(moved) == 3:
        raise ConnectionError('gone')

  bucket.before = before
  with pytest.raises(ConnectionError):
    pack(URL)
  assert 0 < len(bucket.objects) < len(packed)
  with pytest.raises(released.DamagedSystem, match='mine is not a system'):
    system.load(URL)
  bucket.before = undisturbed
  pack(URL)
  assert bucket.objects == packed


def test_a_file_that_is_missing_or_another_is_named(packed, bucket):
  name = 'bucket/systems/mine/codec.safetensors'
  bucket.objects[name] = packed[name][:-1] + b'\xff'
  with pytest.raises(released.DamagedSystem, match=f'gs://{name} is damaged'):
    system.load(URL)
  del bucket.objects[name]
  with pytest.raises(released.DamagedSystem, match=f'gs://{name} is missing'):
    system.load(URL)
  config = json.loads(packed[CONFIG])
  assert config['files']['codec.safetensors'] != atomic.sha256(__file__)


def test_weights_of_a_part_come_out_of_a_bucket(packed):
  config = released.read_config_alone(system.folder(URL))
  for part, row in loading.read_parts(system.folder(URL), config):
    if not part.has_weights:
      continue
    assert part.weights.startswith(URL)
    loading.check_weights(part, row)
    arrays, _ = part.read()
    assert arrays
