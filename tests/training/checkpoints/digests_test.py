"""Digests are those of the bytes, shard by shard, process by process."""

import json
import zlib

from etils import epath
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from v2meow_jax.training.checkpoints import digests


def test_a_digest_is_the_crc32_of_the_bytes_of_the_array(tmp_path):
  x = np.arange(6, dtype=np.float32).reshape(2, 3)
  written(tmp_path, {'x': x, 'y': jnp.ones(3, jnp.bfloat16)})
  saved = digests.read(tmp_path / '7')
  (region,) = saved['x'].regions
  assert region == digests.Region((0, 0), (2, 3), zlib.crc32(x.tobytes()))
  assert str(saved['y']) == 'bfloat16[3]'


@pytest.mark.parametrize(
  'x',
  [np.float32(1.5), np.zeros((0, 4)), np.arange(12.0).reshape(3, 4).T],
  ids=['scalar', 'empty', 'transposed'],
)
def test_arrays_of_any_layout_equal_their_digests(tmp_path, x):
  written(tmp_path, {'x': x})
  assert digests.differences({'x': x}, digests.read(tmp_path / '7')) == []


def test_a_leaf_that_changed_is_named_and_no_other(tmp_path):
  tree = {'a': np.ones(4), 'b': np.ones(4)}
  written(tmp_path, tree)
  tree['b'][2] = -0.0 + np.nextafter(1, 2)
  found = digests.differences(tree, digests.read(tmp_path / '7'))
  assert found == ['b differs from its digest']


def test_digests_of_several_processes_are_one_description(tmp_path):
  """The file of one process, cut in two as two would have written it."""
  x = np.arange(8, dtype=np.float32)
  halves = [(0, 4), (4, 8)]
  for process, (start, stop) in enumerate(halves):
    region = digests.Region(
      (start,), (stop,), zlib.crc32(x[start:stop].tobytes())
    )
    content = {
      'step': 7,
      'processes': 2,
      'leaves': {
        'x': {'shape': [8], 'dtype': 'float32', 'regions': [vars(region)]}
      },
    }
    folder = tmp_path / '7' / digests.ITEM
    folder.mkdir(parents=True, exist_ok=True)
    checksum = zlib.crc32(json.dumps(content, sort_keys=True).encode())
    (folder / f'process_{process}.json').write_text(
      json.dumps({'crc32': checksum, 'content': content})
    )
  saved = digests.read(epath.Path(tmp_path / '7'))
  assert digests.differences({'x': x}, saved) == []
  x[5] += 1
  assert digests.differences({'x': x}, saved) == ['x differs from its digest']
  (tmp_path / '7' / digests.ITEM / 'process_1.json').unlink()
  with pytest.raises(ValueError, match='of 1 processes, wanted 2'):
    digests.read(epath.Path(tmp_path / '7'))


def written(tmp_path, tree):
  folder = epath.Path(tmp_path / '7' / digests.ITEM)
  folder.mkdir(parents=True)
  tree = jax.tree.map(lambda x: x, tree)
  digests.DigestHandler().save(folder, digests.DigestArgs(7, tree))
