"""What was saved comes back, or the step before it, or a clear error."""

import contextlib
import functools
import json
import os
import resource
import shutil
import subprocess
import sys
import threading

import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
import pytest

from tests.fakes import planted_states
from tests.fakes import virtual_devices
from v2meow_jax.training.checkpoints import checkpoints
from v2meow_jax.training.checkpoints import stored_step


@pytest.fixture(scope='module')
def two_steps(tmp_path_factory):
  """A model directory with the steps 1 and 2."""
  path = tmp_path_factory.mktemp('two_steps')
  with checkpoints.Checkpoints(path) as saved:
    saved.write_facts('# gin', {'model': 'planted'})
    for step in (1, 2):
      saved.save(planted_states.state(step), {'note': 'planted'})
  return path


@pytest.fixture
def model_dir(two_steps, tmp_path):
  """A copy of it, to change."""
  return shutil.copytree(two_steps, tmp_path / 'run')


def damage(model_dir, step):
  """Flips a bit in the largest data file, which holds an array."""
  folder = model_dir / 'checkpoints' / str(step) / 'variables'
  files = folder.glob('ocdbt.process_0/d/*')
  path = max(files, key=lambda p: p.stat().st_size)
  content = bytearray(path.read_bytes())
  content[len(content) // 2] ^= 1
  path.write_bytes(content)


def restore(model_dir, like=None):
  with checkpoints.Checkpoints(model_dir) as saved:
    return saved.restore(planted_states.state(0) if like is None else like)


def names(model_dir):
  return sorted(p.name for p in (model_dir / 'checkpoints').iterdir())


def test_the_newest_state_comes_back_bit_for_bit(two_steps):
  planted_states.assert_is_that_of_step(restore(two_steps), 2)


def test_a_state_that_is_donated_after_saving_is_saved_as_it_was(tmp_path):
  train_step = jax.jit(
    lambda tree: jax.tree.map(lambda x: x + 1, tree), donate_argnums=0
  )
  state = planted_states.state(1, put=jnp.asarray)
  with checkpoints.Checkpoints(tmp_path) as saved:
    saved.save(state, {})
    for _ in range(3):
      state = train_step(state)
    saved.wait()
    planted_states.assert_is_that_of_step(saved.restore(state), 1)


def test_the_facts_of_a_run_lie_beside_its_weights(two_steps, root):
  info = json.loads(
    (two_steps / 'checkpoints' / '2' / 'info' / 'metadata').read_text()
  )
  assert info['step'] == 2
  assert info['note'] == 'planted'
  # printf '# gin' | sha256sum
  assert info['config_sha256'].startswith('7e11d6e137368c91e2a518362900b90d')
  assert info['versions']['jax'] == jax.__version__
  assert info['versions']['numpy'] == np.__version__
  assert info['devices'] == jax.device_count()
  git = subprocess.run(
    ['git', 'rev-parse', 'HEAD'], capture_output=True, text=True
  )
  if git.returncode:
    assert info['git_commit'] is None
  else:
    assert info['git_commit'].removesuffix('-dirty') == git.stdout.strip()


def test_a_damaged_step_is_set_aside_and_the_one_before_is_used(
  model_dir, caplog
):
  damage(model_dir, 2)
  with checkpoints.Checkpoints(model_dir) as saved:
    planted_states.assert_is_that_of_step(
      saved.restore(planted_states.state(0)), 1
    )
    assert names(model_dir) == ['1', 'corrupt-2']
    saved.save(planted_states.state(2), {})
    saved.wait()
    damage(model_dir, 2)
    planted_states.assert_is_that_of_step(
      saved.restore(planted_states.state(0)), 1
    )
  assert names(model_dir) == ['1', 'corrupt-2', 'corrupt-2.2']
  logged = [r.getMessage() for r in caplog.records if r.levelname == 'ERROR']
  assert 'corrupt-2: ' in logged[-2]
  assert len(logged[-2].splitlines()) == 1


def test_a_run_whose_every_step_is_damaged_never_starts_afresh(model_dir):
  damage(model_dir, 1)
  damage(model_dir, 2)
  with pytest.raises(checkpoints.CheckpointError) as caught:
    restore(model_dir)
  for words in ('step 1: ', 'step 2: ', 'corrupt-1, corrupt-2', 'MODEL_DIR'):
    assert words in str(caught.value)
  assert names(model_dir) == ['corrupt-1', 'corrupt-2']
  for attempt in (
    restore,
    checkpoints.restore_variables,
    lambda path: checkpoints.Checkpoints(path).latest_step(),
  ):
    with pytest.raises(checkpoints.CheckpointError, match='corrupt-1'):
      attempt(model_dir)


def test_variables_alone_are_verified_and_nothing_is_moved(model_dir):
  variables, step = checkpoints.restore_variables(model_dir)
  assert step == 2
  np.testing.assert_equal(variables, planted_states.state(2).variables)
  damage(model_dir, 2)
  with pytest.raises(checkpoints.CheckpointError, match='differs|Error'):
    checkpoints.restore_variables(model_dir)
  assert names(model_dir) == ['1', '2']


def test_a_damaged_description_is_named(model_dir):
  assert checkpoints.read_description(model_dir) == {'model': 'planted'}
  path = model_dir / checkpoints.DESCRIPTION_NAME
  path.write_text(path.read_text()[:-4])
  with pytest.raises(checkpoints.CheckpointError, match=str(path)):
    checkpoints.read_description(model_dir)


def other_vocabulary(state):
  bias = np.zeros(planted_states.SIZE + 1, np.float32)
  return state.replace(params={**state.params, 'bias': bias})


def unscanned(state):
  kernel = np.zeros((planted_states.SIZE, planted_states.SIZE), np.float32)
  layers = {f'layers_{i}': {'kernel': kernel} for i in range(12)}
  return state.replace(params=layers)


def other_optimizer(state):
  moments = optax.adam(1e-3).init(state.params)
  return state.replace(opt_state=moments)


def half_precision(state):
  return state.replace(
    params=jax.tree.map(lambda x: x.astype(jnp.bfloat16), state.params)
  )


@pytest.mark.parametrize(
  'change, said',
  [
    (
      other_vocabulary,
      ['1 leaves are of another shape', 'variables/params/bias (float32[48]']
      + ['wanted float32[49])'],
    ),
    (
      unscanned,
      ['12 leaves are missing', 'variables/params/layers_0/kernel']
      + ['and 2 more', '2 leaves are unknown', 'variables/params/dense/kernel'],
    ),
    (
      other_optimizer,
      ['optimizer/0/mu/dense/kernel', 'optimizer/0/mu/kernel'],
    ),
    (half_precision, ['bias (float32[48], wanted bfloat16[48])']),
  ],
)
def test_another_structure_is_listed_and_is_no_damage(model_dir, change, said):
  with pytest.raises(checkpoints.CheckpointError) as caught:
    restore(model_dir, change(planted_states.state(0)))
  for words in said:
    assert words in str(caught.value)
  assert names(model_dir) == ['1', '2']


def test_a_step_written_without_digests_is_used_and_said_to_be(
  tmp_path, caplog
):
  """As orbax writes it when left alone."""
  state = planted_states.state(4)
  with ocp.CheckpointManager(
    tmp_path / 'checkpoints', item_names=('variables', 'optimizer', 'info')
  ) as manager:
    manager.save(
      4,
      args=ocp.args.Composite(
        variables=ocp.args.StandardSave(state.variables),
        optimizer=ocp.args.StandardSave(state.opt_state),
        info=ocp.args.JsonSave({'version': '0.1.0', 'step': 4}),
      ),
    )
  planted_states.assert_is_that_of_step(restore(tmp_path), 4)
  assert 'written without digests' in caplog.text
  with pytest.raises(checkpoints.CheckpointError, match='float32.49.'):
    restore(tmp_path, other_vocabulary(planted_states.state(0)))


@pytest.mark.slow
def test_old_steps_go_and_those_of_the_period_stay(tmp_path):
  with checkpoints.Checkpoints(tmp_path, keep_every=4) as saved:
    for step in range(3, 10):
      saved.save(planted_states.state(step), {})
  assert names(tmp_path) == ['4', '8', '9']


def test_no_step_goes_while_the_newest_cannot_be_relied_on(tmp_path):
  with checkpoints.Checkpoints(tmp_path) as saved:
    for step in (1, 2, 3):
      saved.save(planted_states.state(step), {})
    saved.wait()
    damage(tmp_path, 3)
    saved.save(planted_states.state(4), {})
  assert names(tmp_path) == ['2', '4', 'corrupt-3']
  planted_states.assert_is_that_of_step(restore(tmp_path), 4)


@pytest.mark.slow
def test_a_save_waits_for_no_reading_and_a_step_is_read_once(
  tmp_path, monkeypatch
):
  readers, may_read, verify = [], threading.Event(), stored_step.verify

  def slowly(path):
    readers.append((path.name, threading.current_thread()))
    assert may_read.wait(60)
    verify(path)

  monkeypatch.setattr(stored_step, 'verify', slowly)
  with checkpoints.Checkpoints(tmp_path) as saved:
    for step in (1, 2, 3, 4):
      saved.save(planted_states.state(step), {})
    saved.wait()
    # None goes before a newer one is known to be whole.
    assert names(tmp_path) == ['1', '2', '3', '4']
    assert [name for name, _ in readers] == ['1']
    may_read.set()
  assert names(tmp_path) == ['3', '4']
  assert [name for name, _ in readers] == ['1', '4']
  assert threading.current_thread() not in [thread for _, thread in readers]


def test_damage_found_in_the_background_is_set_aside_by_the_next_save(tmp_path):
  with checkpoints.Checkpoints(tmp_path) as saved:
    saved.save(planted_states.state(1), {})
    saved.wait()
    damage(tmp_path, 1)
    for step in range(2, 60):
      saved.save(planted_states.state(step), {})
      if 'corrupt-1' in names(tmp_path):
        break
    # Before the run ends, and steps that are whole are left alone.
    assert 'corrupt-1' in names(tmp_path)
    saved.wait()
  assert {str(step - 1), str(step)} <= set(names(tmp_path))


def test_two_trainers_do_not_share_a_directory(tmp_path):
  with checkpoints.Checkpoints(tmp_path):
    with pytest.raises(checkpoints.CheckpointError, match='another trainer'):
      checkpoints.Checkpoints(tmp_path)
  checkpoints.Checkpoints(tmp_path).close()


@contextlib.contextmanager
def small_files(model_dir):
  """No file may pass 16 kB: what a full disk does, for a process alone."""
  soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
  resource.setrlimit(resource.RLIMIT_FSIZE, (16_000, hard))
  try:
    yield
  finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextlib.contextmanager
def mounted(path, options):
  """A file system of its own at `path`."""
  path.mkdir(exist_ok=True)
  command = ['mount', '-t', 'tmpfs', '-o', options, 'none', str(path)]
  if os.getuid() or subprocess.run(command, capture_output=True).returncode:
    pytest.skip('this user may not mount a tmpfs')
  try:
    yield
  finally:
    subprocess.run(['umount', '--lazy', str(path)], check=True)


@contextlib.contextmanager
def full_disk(model_dir):
  """A file system with 100 kB left."""
  usage = shutil.disk_usage(model_dir)
  filler = model_dir / 'filler'
  filler.write_bytes(bytes(usage.free - 100_000))
  try:
    yield
  finally:
    filler.unlink()


@pytest.mark.parametrize(
  'limit, cause',
  [(small_files, 'File too large'), (full_disk, 'No space left on device')],
)
def test_a_save_that_fails_is_reported_and_costs_no_step(
  tmp_path, limit, cause
):
  state = functools.partial(planted_states.state, size=200)
  with contextlib.ExitStack() as stack:
    if limit is full_disk:
      stack.enter_context(mounted(tmp_path / 'run', 'size=4m'))
    with checkpoints.Checkpoints(tmp_path / 'run', max_to_keep=1) as saved:
      saved.save(state(1), {})
      saved.wait()
      with limit(tmp_path / 'run'):
        with pytest.raises(checkpoints.CheckpointError, match=cause):
          saved.save(state(2), {})
          saved.wait()
        assert saved.latest_step() == 1
        planted_states.assert_is_that_of_step(
          saved.restore(state(0)), 1, size=200
        )
      saved.save(state(3), {})
      saved.wait()
      assert saved.latest_step() == 3
      planted_states.assert_is_that_of_step(
        saved.restore(state(0)), 3, size=200
      )


def test_a_failed_save_surfaces_without_waiting(tmp_path):
  with checkpoints.Checkpoints(tmp_path) as saved:
    with small_files(tmp_path):
      saved.save(planted_states.state(1, size=200), {})
      with pytest.raises(checkpoints.CheckpointError, match='saving to'):
        while True:
          saved.check()
    assert saved.latest_step() is None


def test_a_directory_that_cannot_be_written_is_named_before_training(tmp_path):
  path = tmp_path / 'run'
  with contextlib.ExitStack() as stack:
    if os.getuid():
      path.mkdir(mode=0o555)
    else:
      stack.enter_context(mounted(path, 'ro,size=1m'))
    with pytest.raises(checkpoints.CheckpointError, match=str(path)):
      checkpoints.Checkpoints(path)


def test_processes_of_one_number_take_no_probe_from_each_other(
  tmp_path, monkeypatch
):
  """As in containers, where each is number 1."""
  write, probes = checkpoints.epath.Path.write_text, []

  def write_text(path, *args):
    write(path, *args)
    probes.append(path.name)
    if len(probes) == 1:
      checkpoints.Checkpoints(tmp_path).close()

  folder = type(checkpoints.epath.Path(tmp_path))
  monkeypatch.setattr(folder, 'write_text', write_text)
  checkpoints.Checkpoints(tmp_path).close()
  assert len(probes) == 2
  assert names(tmp_path) == []


_RESHARD = """
import sys
import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec as P
import numpy as np
from tests.fakes import planted_states
from v2meow_jax.training.checkpoints import checkpoints
from v2meow_jax.training.checkpoints import stored_step

def on(count):
  mesh = Mesh(np.array(jax.devices()[:count]).reshape(-1, 1, 1),
              ('data', 'fsdp', 'tensor'))
  def put(x):
    spec = P('data') if x.ndim and x.shape[0] % count == 0 else P()
    return jax.device_put(x, NamedSharding(mesh, spec))
  return put

step = 1
with checkpoints.Checkpoints(sys.argv[1]) as saved:
  saved.save(planted_states.state(step, put=on(8)), {})
for count in (1, 4):
  with checkpoints.Checkpoints(sys.argv[1]) as saved:
    restored = saved.restore(planted_states.state(0, put=on(count)))
    planted_states.assert_is_that_of_step(restored, step)
    kernel = restored.params['dense']['kernel']
    assert len(kernel.sharding.device_set) == count
    assert kernel.addressable_shards[0].data.shape[0] == planted_states.SIZE // count
    step += 1
    saved.save(planted_states.state(step, put=on(count)), {})
"""


@pytest.mark.slow
def test_eight_devices_then_one_then_four_hold_the_same_state(tmp_path, root):
  subprocess.run(
    [sys.executable, '-c', _RESHARD, tmp_path],
    cwd=root,
    check=True,
    env=virtual_devices.environment(8),
  )
  info = tmp_path / 'checkpoints' / '3' / 'info' / 'metadata'
  assert json.loads(info.read_text())['mesh'] == {
    'data': 4,
    'fsdp': 1,
    'tensor': 1,
  }
