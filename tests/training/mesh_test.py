"""State lies on the mesh as the rules say, and the mesh changes no loss."""

import json
import socket

import jax
import numpy as np
import pytest

from tests.fakes import mesh_losses
from tests.fakes import virtual_devices
from v2meow_jax.training import distributed
from v2meow_jax.training import mesh as mesh_lib
from v2meow_jax.training import schedules
from v2meow_jax.training import train_state

P = jax.sharding.PartitionSpec
SCHEDULE = schedules.warmup_rsqrt(1e-3, 1)


def specs_on(sizes, make_optimizer=schedules.adamw):
  """Partition specs of the tiny stage's state, on a mesh of no devices."""
  mesh = jax.sharding.AbstractMesh(sizes, mesh_lib.AXES)
  model, optimizer = mesh_losses.MODEL, make_optimizer(SCHEDULE)
  batch = next(mesh_losses.batches(0))
  shapes = jax.eval_shape(
    lambda rng, b: train_state.create(model, optimizer, rng, b, ema=True),
    jax.random.key(0),
    batch,
  )
  places = mesh_lib.state_shardings(
    model, optimizer, shapes, batch, mesh, mesh_lib.DEFAULT_RULES
  )
  assert jax.tree.structure(places) == jax.tree.structure(shapes)
  return jax.tree.map(lambda place: place.spec, places), shapes


def test_parameters_follow_the_rules_and_moments_their_parameters():
  specs, _ = specs_on((2, 2, 2))
  assert specs.params['token_embedding'] == P('tensor', 'fsdp')
  attention = specs.params['decoder_0']['attention']
  assert attention['query'] == P('fsdp', 'tensor', None)
  assert attention['out'] == P('tensor', None, 'fsdp')
  assert specs.params['decoder_0']['mlp']['wi_0'] == P('fsdp', 'tensor')
  adam = specs.opt_state[1][0]
  assert adam.mu == adam.nu == specs.params
  assert specs.extras['ema_params'] == specs.params
  assert adam.count == specs.step == P()


def test_factored_moments_are_copied_and_whole_ones_are_not():
  def adafactor(schedule):
    return schedules.adafactor(schedule, min_dim_size_to_factor=16)

  specs, shapes = specs_on((2, 2, 2), adafactor)
  factored = specs.opt_state[1][0]
  assert shapes.opt_state[1][0].v_row['token_embedding'].shape == (16,)
  assert factored.v_row['token_embedding'] == P()
  norm = factored.v['decoder_norm']['scale']
  assert norm == specs.params['decoder_norm']['scale'] == P('fsdp')


def test_an_axis_that_does_not_divide_is_copied():
  specs, _ = specs_on((1, 1, 16))
  attention = specs.params['decoder_0']['attention']
  assert attention['query'] == P('fsdp', None, None)  # 8 heads
  assert specs.params['token_embedding'] == P('tensor', 'fsdp')  # 128 ids


@pytest.mark.parametrize(
  'sizes', [{'data': 3}, {'fsdp': 2}, {'data': -1, 'tensor': -1}, {'fsdp': 0}]
)
def test_a_mesh_that_does_not_fit_is_refused(sizes):
  with pytest.raises(ValueError, match='the mesh data='):
    mesh_lib.make_mesh(**sizes)


def test_rows_that_do_not_divide_are_refused():
  devices = jax.devices()
  split = mesh_lib.batch_sharding(mesh_lib.make_mesh(), mesh_lib.DEFAULT_RULES)
  whole = {'x': np.zeros((len(devices), 1))}
  assert mesh_lib.put_batch(whole, split)['x'].shape == (len(devices), 1)
  if len(devices) > 1:
    with pytest.raises(ValueError, match='BATCH_SIZE'):
      mesh_lib.put_batch({'x': np.zeros((len(devices) + 1, 1))}, split)


def test_a_process_alone_reads_every_row():
  split = mesh_lib.batch_sharding(mesh_lib.make_mesh(), mesh_lib.DEFAULT_RULES)
  assert mesh_lib.process_shard(split) == (0, 1)


def test_a_coordinator_without_numbers_is_refused():
  distributed.initialize({})
  with pytest.raises(ValueError, match='V2MEOW_NUM_PROCESSES'):
    distributed.initialize({'V2MEOW_COORDINATOR': 'localhost:1'})


# Two processes that fork from one, in which nothing has run yet.
_TWO_PROCESSES = """
import os, runpy, signal, sys

port, flags, *arguments = sys.argv[1:]
processes = set()
for number in range(2):
  pid = os.fork()
  if not pid:
    os.environ['XLA_FLAGS'] = flags
    os.environ['V2MEOW_COORDINATOR'] = f'localhost:{port}'
    os.environ['V2MEOW_NUM_PROCESSES'] = '2'
    os.environ['V2MEOW_PROCESS_ID'] = str(number)
    sys.argv[1:] = arguments
    runpy.run_module(
      'tests.fakes.mesh_losses', run_name='__main__', alter_sys=True
    )
    sys.exit()
  processes.add(pid)
while processes:
  pid, status = os.wait()
  processes.remove(pid)
  if status:
    for pid in processes:
      os.kill(pid, signal.SIGKILL)
    sys.exit(1)
print('null')
"""


def logged(folder):
  """Metrics of training, by step."""
  lines = map(json.loads, (folder / 'metrics.jsonl').read_text().splitlines())
  return {m['step']: m for m in lines if 'train/skipped' in m}


def losses(folder):
  """Of every step but the bad one, which is skipped."""
  metrics = logged(folder)
  skipped = [step for step, m in metrics.items() if m['train/skipped']]
  assert skipped == [mesh_losses.BAD_STEP]
  return [m['train/total_loss'] for m in metrics.values()
          if not m['train/skipped']]  # fmt: skip


@pytest.fixture(scope='module')
def eight(tmp_path_factory):
  """Folder and layouts of one process with eight devices."""
  out = tmp_path_factory.mktemp('eight')
  meshes = ('1,1,1', '8,1,1', '1,8,1', '2,2,2', '1,1,8')
  return out, virtual_devices.run('tests.fakes.mesh_losses', out, *meshes)


@pytest.mark.slow
@pytest.mark.timeout(1500)
@pytest.mark.parametrize(
  ('mesh', 'share'),
  [('8,1,1', 1), ('1,8,1', 1 / 8), ('2,2,2', 1 / 4), ('1,1,8', 1 / 8)],
)
def test_every_mesh_gives_the_losses_of_one_device(eight, mesh, share):
  out, layouts = eight
  wanted = losses(out / '1x1x1')
  assert len(wanted) == 5
  assert wanted[-1] < wanted[0]
  np.testing.assert_allclose(
    losses(out / mesh.replace(',', 'x')), wanted, rtol=1e-5
  )
  params = layouts[mesh]['params']
  assert params["['token_embedding']"] == share
  assert params["['decoder_0']['attention']['query']"] == share
  assert layouts[mesh]['moments'] == params == layouts[mesh]['average']


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_two_processes_give_the_losses_of_one(eight, tmp_path):
  with socket.socket() as free:
    free.bind(('localhost', 0))
    port = free.getsockname()[1]
  flags = virtual_devices.environment(4)['XLA_FLAGS']
  meshes = ('8,1,1', '1,1,8')
  virtual_devices.run_code(_TWO_PROCESSES, port, flags, tmp_path, *meshes)
  out, _ = eight
  for name in ('8x1x1', '1x1x8'):
    np.testing.assert_allclose(
      losses(tmp_path / name), losses(out / '1x1x1'), rtol=1e-5
    )
