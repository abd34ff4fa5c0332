"""Kept work comes back to the bit, or is refused by name."""

import os

import numpy as np
import pytest
from safetensors import numpy as safetensors_numpy

from v2meow_jax.clusters import snapshots

IDENTITY = {'k': 3, 'seed': 0}
TENSORS = {
  'centroids': np.random.default_rng(0).normal(size=(3, 4)),
  'counts': np.array([1, 2**40, 3]),
}


@pytest.fixture
def path(tmp_path):
  path = tmp_path / 'new' / 'state.safetensors'
  snapshots.write(
    path, TENSORS, identity=IDENTITY, progress={'position': 7, 'moved': 0.1}
  )
  return path


def test_comes_back_to_the_bit(path):
  found = snapshots.read(path, identity=IDENTITY)
  assert found is not None
  tensors, progress = found
  assert progress == {'position': 7, 'moved': 0.1}
  assert set(tensors) == set(TENSORS)
  for name, tensor in TENSORS.items():
    assert tensors[name].dtype == tensor.dtype
    np.testing.assert_array_equal(tensors[name], tensor)
  assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_no_file_is_no_work(tmp_path):
  assert snapshots.read(tmp_path / 'none', identity=IDENTITY) is None


def test_every_changed_byte_and_every_cut_is_noticed(path):
  content = path.read_bytes()
  header = content.rindex(b'}') + 1
  for at in (0, 20, header // 2, header, len(content) - 1):
    path.write_bytes(
      content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]
    )
    with pytest.raises(snapshots.SnapshotError, match='remove it'):
      snapshots.read(path, identity=IDENTITY)
  for length in (0, 5, header, len(content) - 1):
    path.write_bytes(content[:length])
    with pytest.raises(snapshots.SnapshotError, match='state.safetensors'):
      snapshots.read(path, identity=IDENTITY)


def test_tensors_of_another_kind_are_refused(path):
  safetensors_numpy.save_file(TENSORS, path)
  with pytest.raises(snapshots.SnapshotError, match='another kind'):
    snapshots.read(path, identity=IDENTITY)


def test_other_work_is_refused_by_what_differs(path):
  with pytest.raises(snapshots.SnapshotError, match=r'k 3 \(wanted 4\)'):
    snapshots.read(path, identity={**IDENTITY, 'k': 4})


def test_an_interrupted_write_leaves_the_one_before(path, monkeypatch):
  def full_disk(_):
    raise OSError('no space left')

  monkeypatch.setattr(os, 'fsync', full_disk)
  with pytest.raises(OSError, match='no space'):
    snapshots.write(path, TENSORS, identity=IDENTITY, progress={'position': 8})
  found = snapshots.read(path, identity=IDENTITY)
  assert found is not None and found[1]['position'] == 7
