"""A step reads as it was written, or not at all."""

import shutil

import jax
import numpy as np
import pytest

from tests.fakes import planted_states
from v2meow_jax.training.checkpoints import checkpoints
from v2meow_jax.training.checkpoints import digests
from v2meow_jax.training.checkpoints import stored_step

STEP = 2


@pytest.fixture(scope='module')
def written(tmp_path_factory):
  """The folder of a committed step."""
  path = tmp_path_factory.mktemp('written')
  with checkpoints.Checkpoints(path) as saved:
    saved.save(planted_states.state(STEP), {})
  return path / 'checkpoints' / str(STEP)


@pytest.fixture
def step_path(written, tmp_path):
  """A copy of it, to damage."""
  return shutil.copytree(written, tmp_path / str(STEP))


def items():
  state = planted_states.state(0)
  return {'variables': state.variables, 'optimizer': state.opt_state}


def largest_data_file(path):
  return max(path.glob('ocdbt.process_0/d/*'), key=lambda p: p.stat().st_size)


def flip(path, bit):
  content = bytearray(path.read_bytes())
  content[bit // 8] ^= 1 << (bit % 8)
  path.write_bytes(content)


def flip_the_middle(path):
  flip(path, path.stat().st_size * 4)


def truncate(path):
  path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def zero(path):
  path.write_bytes(bytes(path.stat().st_size))


def empty(path):
  path.write_bytes(b'')


def delete(path):
  shutil.rmtree(path) if path.is_dir() else path.unlink()


@pytest.mark.parametrize('item', ['variables', 'optimizer'])
@pytest.mark.parametrize(
  'damage', [flip_the_middle, truncate, zero, empty, delete]
)
def test_a_damaged_data_file_is_noticed(step_path, item, damage):
  damage(largest_data_file(step_path / item))
  with pytest.raises(stored_step.DamagedError):
    stored_step.restore(step_path, items())


@pytest.mark.parametrize(
  'name, damage',
  [
    ('_METADATA', truncate),
    ('_METADATA', zero),
    ('manifest.ocdbt', flip_the_middle),
    ('manifest.ocdbt', truncate),
    ('manifest.ocdbt', delete),
    ('array_metadatas/process_0', truncate),
    ('array_metadatas/process_0', zero),
    ('d', delete),
    ('.', delete),
  ],
)
def test_damaged_metadata_is_noticed(step_path, name, damage):
  damage(step_path / 'variables' / name)
  with pytest.raises(stored_step.DamagedError):
    stored_step.restore(step_path, items())


def test_a_bucket_is_not_taken_for_a_folder(monkeypatch, tmp_path):
  monkeypatch.chdir(tmp_path)
  assert str(stored_step.absolute('gs://b/runs/x')) == 'gs://b/runs/x'
  assert stored_step.absolute('runs/x') == tmp_path / 'runs/x'


def test_a_scheme_that_orbax_cannot_keep_is_refused_with_the_way_out():
  with pytest.raises(stored_step.CheckpointError, match='aws s3 sync .*gs://'):
    stored_step.absolute('s3://b/runs/x')


def test_a_file_that_orbax_can_do_without_may_be_missing(step_path):
  delete(step_path / 'variables' / '_METADATA')
  found = jax.device_get(stored_step.restore(step_path, items()))
  np.testing.assert_equal(
    found['variables'], planted_states.state(STEP).variables
  )


@pytest.mark.parametrize('damage', [flip_the_middle, truncate, zero, delete])
def test_damaged_digests_are_noticed(step_path, damage):
  damage(step_path / digests.ITEM / 'process_0.json')
  with pytest.raises(stored_step.DamagedError):
    stored_step.restore(step_path, items())


def test_lost_digests_are_not_taken_for_an_old_checkpoint(step_path):
  delete(step_path / digests.ITEM)
  with pytest.raises(stored_step.DamagedError):
    stored_step.restore(step_path, items())


def test_a_step_under_the_name_of_another_is_noticed(step_path):
  renamed = step_path.rename(step_path.with_name('3'))
  with pytest.raises(stored_step.DamagedError, match='step 2'):
    stored_step.restore(renamed, items())


def test_one_flipped_bit_is_noticed_twenty_times_of_twenty(step_path):
  path = largest_data_file(step_path / 'optimizer')
  assert path.stat().st_size > planted_states.SIZE**2 * 3, (
    'holds the array itself'
  )
  rng = np.random.default_rng(0)
  for bit in rng.integers(path.stat().st_size * 8, size=20):
    flip(path, bit)
    with pytest.raises(stored_step.DamagedError):
      stored_step.restore(step_path, items())
    flip(path, bit)
  stored_step.restore(step_path, items())


def test_a_changed_value_names_its_leaf(step_path, written):
  """Valid files of another step in place of ours: orbax alone sees nothing."""
  with checkpoints.Checkpoints(step_path.parent / 'other') as saved:
    saved.save(planted_states.state(STEP + 1), {})
  other = step_path.parent / 'other' / 'checkpoints' / str(STEP + 1)
  delete(step_path / 'optimizer')
  shutil.copytree(other / 'optimizer', step_path / 'optimizer')
  with pytest.raises(
    stored_step.DamagedError, match='^optimizer/0/mu/kernel differs'
  ):
    stored_step.restore(step_path, items())


@pytest.mark.slow
def test_no_flipped_bit_in_any_file_restores_another_value(step_path):
  """Some bits change nothing (padding, time stamps); none changes a value."""
  rng = np.random.default_rng(0)
  files = sorted(p for p in step_path.rglob('*') if p.stat().st_size)
  files = [p for p in files if p.is_file()]
  wanted = planted_states.state(STEP)
  for path in rng.choice(np.array(files), size=150):
    bit = rng.integers(path.stat().st_size * 8)
    flip(path, bit)
    try:
      found = jax.device_get(stored_step.restore(step_path, items()))
    except stored_step.DamagedError:
      pass
    else:
      np.testing.assert_equal(found['variables'], wanted.variables)
      np.testing.assert_equal(found['optimizer'], wanted.opt_state)
    flip(path, bit)
